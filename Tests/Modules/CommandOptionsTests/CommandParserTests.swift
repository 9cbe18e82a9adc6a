import CommandOptions
import Testing

/// The declaration that the tests of the parser and of the help text use.
let sample = Command(
  "tool", summary: "Moves things.",
  options: [.flag("verbose", short: "v", help: "say more")],
  subcommands: [
    Command(
      "run", summary: "Runs it.",
      options: [
        .value("config", short: "c", "FILE", required: true, help: "the configuration"),
        .value("set", short: "s", "KEY=VALUE", repeatable: true, help: "override a key"),
        .flag("json", short: "j", help: "print JSON"),
      ]),
    Command(
      "journal", summary: "Looks into a journal.",
      subcommands: [
        Command(
          "ls", summary: "Lists segments.",
          arguments: [
            CommandArgument("DIR", help: "a journal"),
            CommandArgument("SEGMENT", .optional, help: "one segment"),
          ]),
        Command(
          "verify", summary: "Verifies journals.",
          options: [.value("at", "INSTANT", help: "an instant")],
          arguments: [CommandArgument("DIR", .oneOrMore, help: "journals")],
          exitCodes: [ExitCodeHelp(3, "damaged")]),
      ]),
  ],
  exitCodes: [ExitCodeHelp(0, "done"), ExitCodeHelp(2, "usage error")])

/// Proves that command lines are read by the conventions of getopt_long, and that what does not
/// fit the declaration is refused with the option or argument at fault.
@Suite struct CommandParserTests {
  private func parse(_ words: [String]) throws(UsageError) -> CommandLineRequest {
    try sample.parse(words, version: "1.2")
  }

  private func run(_ words: String...) throws -> Invocation {
    let request = try parse(words)
    guard case .run(let invocation) = request else {
      throw UsageError(program: "test", reason: "\(request) runs nothing")
    }
    return invocation
  }

  @Test(arguments: [
    ["run", "--config", "f"], ["run", "--config=f"], ["run", "-c", "f"], ["run", "-cf"],
    ["--", "run", "-cf"],
  ])
  func readsEverySpellingOfAValue(words: [String]) throws {
    guard case .run(let invocation) = try parse(words) else {
      Issue.record("\(words) runs nothing")
      return
    }
    #expect(invocation.command == ["run"])
    #expect(invocation.value(of: "config") == "f")
    #expect(!invocation.hasFlag("json"))
    #expect(!invocation.hasFlag("verbose"))
  }

  @Test func readsFlagsBeforeAndAfterTheCommandAndInClusters() throws {
    let invocation = try run("-v", "run", "-jcfile", "-s", "a=1", "--set=b=2=3")
    #expect(invocation.hasFlag("verbose"))
    #expect(invocation.hasFlag("json"))
    #expect(invocation.value(of: "config") == "file")
    #expect(invocation.values(of: "set") == ["a=1", "b=2=3"])
  }

  @Test func takesAValueThatStartsWithADash() throws {
    #expect(try run("journal", "verify", "--at", "-90s", "d").value(of: "at") == "-90s")
    #expect(try run("run", "--config=").value(of: "config") == "")
  }

  @Test func readsArgumentsAroundOptionsAndAfterTwoDashes() throws {
    let invocation = try run("journal", "verify", "a", "--at", "latest", "-", "--", "-x", "--help")
    #expect(invocation.command == ["journal", "verify"])
    #expect(invocation.arguments("DIR") == ["a", "-", "-x", "--help"])
  }

  @Test func readsAnOptionalArgument() throws {
    #expect(try run("journal", "ls", "d").argument("SEGMENT") == nil)
    #expect(try run("journal", "ls", "d", "7").argument("SEGMENT") == "7")
  }

  @Test(arguments: [
    ([], "tool", "a command is missing"),
    (["journal"], "tool journal", "a command is missing"),
    (["rnu"], "tool", "unknown command 'rnu'; did you mean 'run'?"),
    (["frobnicate"], "tool", "unknown command 'frobnicate'"),
    (["run", "--conifg", "f"], "tool run", "unknown option '--conifg'; did you mean '--config'?"),
    (["run", "--elephant=1"], "tool run", "unknown option '--elephant'"),
    (["run", "--conf=f"], "tool run", "unknown option '--conf'; did you mean '--config'?"),
    (["run", "-x"], "tool run", "unknown option '-x'"),
    (["run", "-jx"], "tool run", "unknown option '-x'"),
    (["--config", "f", "run"], "tool", "unknown option '--config'"),
    (["run", "--config"], "tool run", "option '--config' needs a value: FILE"),
    (["run", "-c"], "tool run", "option '-c' needs a value: FILE"),
    (["run"], "tool run", "option '--config FILE' is missing"),
    (["run", "-ca", "--config=b"], "tool run", "option '--config' is given twice"),
    (["run", "-cf", "--json=yes"], "tool run", "option '--json' takes no value"),
    (["run", "-cf", "more"], "tool run", "unexpected argument 'more'"),
    (["run", "-cf", "a\nb"], "tool run", "unexpected argument 'a?b'"),
    (["journal", "ls"], "tool journal ls", "the argument DIR is missing"),
    (["journal", "verify"], "tool journal verify", "the argument DIR is missing"),
    (["journal", "ls", "a", "b", "c"], "tool journal ls", "unexpected argument 'c'"),
    (
      ["journal", "ls", "-90s"], "tool journal ls",
      "unknown option '-9'; write '--' before an argument that starts with '-'"
    ),
  ])
  func refusesWhatDoesNotFit(words: [String], program: String, reason: String) {
    #expect(throws: UsageError(program: program, reason: reason)) { try parse(words) }
  }

  @Test func pointsToTheHelpOfTheCommand() {
    let error = UsageError(program: "tool run", reason: "no")
    #expect(error.description == "tool run: no\nTry 'tool run --help'.")
  }

  @Test(arguments: [
    ["-V"], ["--version"], ["run", "--version"], ["journal", "ls", "-V", "--nonsense"],
    ["run", "-jV"],
  ])
  func answersVersionAtEveryLevel(words: [String]) throws {
    #expect(try parse(words) == .version("tool 1.2"))
  }

  @Test(arguments: [
    (["-h"], "Usage: tool [OPTIONS] COMMAND"),
    (["--help"], "Usage: tool [OPTIONS] COMMAND"),
    (["journal", "-h"], "Usage: tool journal [OPTIONS] COMMAND"),
    (["run", "--help"], "Usage: tool run --config FILE [OPTIONS]"),
    (["journal", "ls", "-h"], "Usage: tool journal ls [OPTIONS] DIR [SEGMENT]"),
    (["journal", "verify", "-h"], "Usage: tool journal verify [OPTIONS] DIR..."),
  ])
  func answersHelpAtEveryLevel(words: [String], usage: String) throws {
    guard case .help(let text) = try parse(words) else {
      Issue.record("\(words) prints no help")
      return
    }
    #expect(text.hasPrefix(usage + "\n"))
    #expect(text.contains("-h, --help"))
    #expect(text.contains("-V, --version"))
  }
}
