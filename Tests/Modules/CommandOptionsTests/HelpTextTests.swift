import CommandOptions
import Testing

/// Proves that help is complete, aligned and not wider than 80 columns.
@Suite struct HelpTextTests {
  private func help(_ command: Command, _ words: [String]) throws -> String {
    guard case .help(let text) = try command.parse(words + ["--help"], version: "1.2") else {
      throw UsageError(program: "test", reason: "no help")
    }
    return text
  }

  @Test func showsAWholeCommand() throws {
    #expect(
      try help(sample, ["run"]) == """
        Usage: tool run --config FILE [OPTIONS]

        Runs it.

        Options:
          -c, --config FILE    the configuration (required)
          -s, --set KEY=VALUE  override a key (may be repeated)
          -j, --json           print JSON
          -h, --help           print this help and exit
          -V, --version        print the version and exit

        Exit codes:
          0  done
          2  usage error

        """)
  }

  @Test func showsCommandsAndArguments() throws {
    let journal = try help(sample, ["journal"])
    #expect(
      journal.contains(
        "\nCommands:\n  ls      Lists segments.\n  verify  Verifies journals.\n"))
    let list = try help(sample, ["journal", "ls"])
    #expect(list.contains("\nArguments:\n  DIR      a journal\n  SEGMENT  one segment\n"))
  }

  @Test func takesExitCodesFromTheNearestCommandThatHasThem() throws {
    #expect(try help(sample, ["journal", "ls"]).hasSuffix("  0  done\n  2  usage error\n"))
    #expect(try help(sample, ["journal", "verify"]).hasSuffix("Exit codes:\n  3  damaged\n"))
  }

  @Test func wrapsLongTexts() throws {
    let words = Array(repeating: "words of help", count: 20).joined(separator: " ")
    let command = Command(
      "tool", summary: words, discussion: "first\nline\n\n" + words,
      options: [
        .value("short", "X", help: words),
        .value("an-option-with-a-very-long-name", "PLACEHOLDER", help: words),
      ],
      arguments: [CommandArgument("FILE", .zeroOrMore, help: words)])
    let text = try help(command, [])
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.allSatisfy { $0.count <= 80 && $0.last != " " })
    #expect(lines.contains("first line"))
    #expect(lines.contains("      --an-option-with-a-very-long-name PLACEHOLDER"))
    let columns = lines.filter { $0.hasPrefix("      ") && !$0.contains("--") }
      .map { $0.prefix(while: { $0 == " " }).count }
    // The columns of arguments and of options.
    #expect(Set(columns) == [8, 17])
  }
}
