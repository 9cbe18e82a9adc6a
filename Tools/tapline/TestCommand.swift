import Appliance
import BlockModel
import CommandOptions
import Control
import Foundation

/// `tapline test`: a group's disks as they were at an instant, to be written to and thrown away.
enum TestCommand {
  static let command = Command(
    "test", summary: "try a group's machines as they were at an instant, and throw it away",
    discussion: """
      A test opens all disks of a group, at either site, as they were at an instant. Clients open
      them as DISK@NAME and may write; what they write is kept apart, survives restarts, and is
      deleted in the end. Replication and protection go on beneath. docs/test-failover.md shows it.
      """,
    subcommands: [start, stop, list])

  private static let start = Command(
    "start", summary: "open the disks of a group at an instant, to be written to",
    discussion: """
      Without --at it is the newest instant that there is. With --check the command is run with the
      test open, and the test is stopped when it ends: it finds the names of the exports in
      TAPLINE_EXPORTS, and in TAPLINE_TEST and TAPLINE_INSTANT what is tested. Its exit code is kept
      with the report; another than 0 fails this command, too.

      \(ControlAddress.discussion)
      """,
    options: [
      .value("at", "INSTANT", help: "RFC 3339, -2h, checkpoint:TAG or latest"),
      .value("name", "NAME", help: "what it is called; without, test, test2 and so on"),
      .value("for", "DURATION", help: "it ends by itself after that, such as 2h"),
      .value("limit", "SIZE", help: "it ends when more is written; else the journal's capacity"),
      .value("note", "TEXT", help: "kept with the report"),
      .value("check", "COMMAND", help: "run this by the shell, then stop the test"),
      .flag("dry-run", help: "say what would be opened, and open nothing"),
      .flag("json", help: "print JSON"),
    ] + ControlAddress.options,
    arguments: [CommandArgument("GROUP", help: "the group's name")])

  private static let stop = Command(
    "stop", summary: "end a test, and delete what was written to it",
    discussion: """
      Its clients are cut off. A report stays on the group's timeline.

      \(ControlAddress.discussion)
      """,
    options: [
      .flag("parked", help: "delete writes that a failover has parked, for good"),
      .flag("json", help: "print JSON"),
    ] + ControlAddress.options,
    arguments: [CommandArgument("NAME", help: "the test's name")])

  private static let list = Command(
    "list", summary: "show the tests that are open, and what is parked",
    discussion: ControlAddress.discussion,
    options: [.flag("json", help: "print JSON")] + ControlAddress.options)

  static func runStart(_ invocation: Invocation) throws -> ExitCode {
    let client = try ControlAddress.client(invocation)
    let request = TestRequest(
      name: invocation.value(of: "name"), at: invocation.value(of: "at"),
      seconds: try invocation.value(of: "for").map { text in
        do { return Double(try TimeSpan.parse(text)) / 1e9 } catch {
          throw CommandFailure(.usage, "--for: \(error)")
        }
      },
      limitBytes: try invocation.value(of: "limit").map { text in
        do { return try ByteCount.parse(text) } catch {
          throw CommandFailure(.usage, "--limit: \(error)")
        }
      },
      user: NSUserName(), note: invocation.value(of: "note"),
      isDryRun: invocation.hasFlag("dry-run") ? true : nil)
    let group = invocation.argument("GROUP") ?? ""
    let test = try client.startTest(group: group, request)
    let isJSON = invocation.hasFlag("json")
    guard let command = invocation.value(of: "check"), request.isDryRun != true else {
      Output.write(isJSON ? try ControlJSON.pretty(test) + "\n" : TestText.render(test))
      return .success
    }
    if !isJSON { Output.write(TestText.render(test)) }
    let check = try run(command, test)
    let report = try client.stopTest(test.name, check: check)
    Output.write(isJSON ? try ControlJSON.pretty(report) + "\n" : TestText.render(report))
    return check.exitCode == 0 ? .success : .failed
  }

  /// Its output is that of this command.
  private static func run(_ command: String, _ test: TestStatus) throws -> TestCheck {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", command]
    var environment = ProcessInfo.processInfo.environment
    environment["TAPLINE_TEST"] = test.name
    environment["TAPLINE_INSTANT"] = test.instant
    environment["TAPLINE_EXPORTS"] = test.exports.joined(separator: " ")
    process.environment = environment
    let start = Date()
    do { try process.run() } catch {
      return TestCheck(command: command, exitCode: 127, seconds: 0)
    }
    process.waitUntilExit()
    let code = Int(process.terminationStatus)
    return TestCheck(
      command: command, exitCode: process.terminationReason == .exit ? code : 128 + code,
      seconds: -start.timeIntervalSinceNow)
  }

  static func runStop(_ invocation: Invocation) throws -> ExitCode {
    let report = try ControlAddress.client(invocation).stopTest(
      invocation.argument("NAME") ?? "", parked: invocation.hasFlag("parked"))
    Output.write(
      invocation.hasFlag("json")
        ? try ControlJSON.pretty(report) + "\n" : TestText.render(report))
    return .success
  }

  static func runList(_ invocation: Invocation) throws -> ExitCode {
    let tests = try ControlAddress.client(invocation).tests()
    Output.write(
      invocation.hasFlag("json")
        ? try ControlJSON.pretty(tests) + "\n" : TestText.render(tests))
    return .success
  }
}
