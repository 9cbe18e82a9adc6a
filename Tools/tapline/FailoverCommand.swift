import Appliance
import CommandOptions
import Control
import Foundation

/// `tapline failover`, `tapline commit` and `tapline rollback`.
enum FailoverCommand {
  static let failover = Command(
    "failover", summary: "serve a group's disks at the recovery site, as they were at an instant",
    discussion: """
      At the recovery site. Its disks are served there under their own names, to be written to,
      within a second or so: nothing is copied. The site that owned the group refuses writes as soon
      as the two meet. What had arrived after the instant is kept aside, and can be opened.

      Until `tapline commit` the way back is open: `tapline rollback` takes all of it back. When the
      journal has no room for both, it commits itself. docs/recover.md says what to type, in order.

      \(ControlAddress.discussion)
      """,
    options: [
      .value("at", "INSTANT", help: "RFC 3339, -2h, checkpoint:TAG or latest; without, latest"),
      .value("commit", "WHEN", help: "now, manual or after:DURATION; without, manual"),
      .value("note", "TEXT", help: "why; kept with what is set aside"),
      .flag("dry-run", help: "say what would be lost and set aside, and do nothing"),
      .flag("json", help: "print JSON"),
    ] + ControlAddress.options,
    arguments: [CommandArgument("GROUP", help: "the group's name")])

  static let commit = Command(
    "commit", summary: "stay with a failover",
    discussion: """
      The group belongs to this site from now on, and there is no way back but another failover. Its
      clients notice nothing. The site that owned it before follows by itself once it is connected.

      \(ControlAddress.discussion)
      """,
    options: [.flag("json", help: "print JSON")] + ControlAddress.options,
    arguments: [CommandArgument("GROUP", help: "the group's name")])

  static let rollback = Command(
    "rollback", summary: "take a failover back that is not committed",
    discussion: """
      Clients here are cut off, and the site follows the owner again from where it stopped, without
      a copy. What was written here meanwhile is kept aside, and can be opened.

      \(ControlAddress.discussion)
      """,
    options: [
      .flag("discard", help: "do not keep what was written here meanwhile"),
      .flag("dry-run", help: "say what would be set aside, and do nothing"),
      .flag("json", help: "print JSON"),
    ] + ControlAddress.options,
    arguments: [CommandArgument("GROUP", help: "the group's name")])

  static let move = moving(
    "move", summary: "give a group to a site that follows, with nothing lost",
    discussion: """
      At the site that owns the group. Its clients wait while the other site, which must be in step,
      gets the last records and takes over; then they are cut off here, and are served there. If the
      other site does not take over, they go on here.

      """)

  static let failback = moving(
    "failback", summary: "move a group back to the site that it came from",
    discussion: """
      After a failover, when the other site is back and in step (`tapline status`): the same as
      `tapline move` to it.

      """)

  private static func moving(_ name: String, summary: String, discussion: String) -> Command {
    Command(
      name, summary: summary, discussion: discussion + ControlAddress.discussion,
      options: [
        .value("to", "SITE", help: "which follower; without, the only one"),
        .flag("dry-run", help: "say whether it can be and what the other site lacks; do nothing"),
        .flag("json", help: "print JSON"),
      ] + ControlAddress.options,
      arguments: [CommandArgument("GROUP", help: "the group's name")])
  }

  static func runMove(_ invocation: Invocation) throws -> ExitCode {
    let status = try ControlAddress.client(invocation).move(
      group: group(invocation),
      MoveRequest(to: invocation.value(of: "to"), isDryRun: invocation.hasFlag("dry-run")))
    Output.write(
      invocation.hasFlag("json")
        ? try ControlJSON.pretty(status) + "\n" : FailoverText.render(status))
    return .success
  }

  static func runFailover(_ invocation: Invocation) throws -> ExitCode {
    let commit = try invocation.value(of: "commit").map { text in
      do throws(SiteError) { return try CommitTime(parsing: text) } catch {
        throw CommandFailure(.usage, "--commit: \(error)")
      }
    }
    let request = FailoverRequest(
      at: invocation.value(of: "at"), commit: commit ?? .manual, user: NSUserName(),
      note: invocation.value(of: "note"), isDryRun: invocation.hasFlag("dry-run") ? true : nil)
    let status = try ControlAddress.client(invocation).failover(
      group: group(invocation), request)
    return try write(status, invocation, FailoverText.render(status))
  }

  static func runCommit(_ invocation: Invocation) throws -> ExitCode {
    let status = try ControlAddress.client(invocation).commit(group: group(invocation))
    return try write(status, invocation, FailoverText.render(status))
  }

  static func runRollback(_ invocation: Invocation) throws -> ExitCode {
    let status = try ControlAddress.client(invocation).rollback(
      group: group(invocation),
      RollbackRequest(
        isDryRun: invocation.hasFlag("dry-run"), discards: invocation.hasFlag("discard")))
    return try write(status, invocation, FailoverText.render(rollback: status))
  }

  private static func group(_ invocation: Invocation) -> String {
    invocation.argument("GROUP") ?? ""
  }

  private static func write(
    _ status: FailoverStatus, _ invocation: Invocation, _ text: String
  ) throws -> ExitCode {
    Output.write(invocation.hasFlag("json") ? try ControlJSON.pretty(status) + "\n" : text)
    return .success
  }
}
