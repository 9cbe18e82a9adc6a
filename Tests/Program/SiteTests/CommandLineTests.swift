import TestSupport
import Testing

/// Proves the conventions of the command line: help and version on standard output with exit code
/// 0, what is wrong on standard error with another.
@Suite struct CommandLineTests {
  @Test(arguments: [
    ["--help"], ["site", "--help"], ["status", "--help"], ["checkpoint", "--help"],
    ["timeline", "--help"], ["journal", "--help"], ["failover", "--help"], ["commit", "--help"],
    ["rollback", "--help"], ["--version"],
  ])
  func `help and version are printed`(arguments: [String]) throws {
    let finished = try run(try TaplineBinary.path(), arguments)
    #expect(finished.status == 0)
    #expect(finished.stdout.contains("tapline"))
    #expect(finished.stderr.isEmpty)
  }

  @Test(arguments: [
    [], ["no-such-command"], ["site"], ["site", "--no-such-option"], ["checkpoint"],
    ["journal", "no-such-verb", "/tmp"], ["status", "--control", "unix:/nowhere/control.sock"],
    ["failover"], ["failover", "g", "h"], ["failover", "g", "--at"], ["commit"], ["rollback"],
  ])
  func `a wrong command is refused on standard error`(arguments: [String]) throws {
    let finished = try run(try TaplineBinary.path(), arguments)
    #expect(finished.status != 0)
    #expect(finished.stdout.isEmpty)
    #expect(!finished.stderr.isEmpty)
  }

  @Test(arguments: ["later", "after:", "after:60", "after:0s", "now:1h"])
  func `a failover is committed at a time that can be`(text: String) throws {
    let finished = try run(try TaplineBinary.path(), ["failover", "g", "--commit", text])
    #expect(finished.status == 2 && finished.stderr.contains("--commit: "), "\(finished)")
  }
}
