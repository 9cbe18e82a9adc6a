import Foundation
import TestSupport
import Testing

/// Proves that what is wrong with a configuration is said at start: file, line and reason on
/// standard error, and an exit code that is not 0.
@Suite(.scratch) struct RefusedConfigurationTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// The text that the first occurrence of `key` is replaced with.
    let key: String
    let replacement: String
    /// What the message must contain besides FILE:LINE.
    let names: String
    /// A parser may notice unfinished YAML only on a later line.
    var isOnThatLine = true
  }

  static let cases = [
    Case(
      testDescription: "an unknown key", key: "history: 0s", replacement: "histroy: 0s",
      names: "histroy"),
    Case(
      testDescription: "a size that disagrees with the file", key: "size: 1048576",
      replacement: "size: 2M", names: "disk"),
    Case(
      testDescription: "a file that is not there", key: "file:/", replacement: "file:/nowhere/",
      names: "/nowhere/"),
    Case(
      testDescription: "a role that does not exist", key: "role: protected",
      replacement: "role: guarded", names: "guarded"),
    Case(
      testDescription: "a duration without a unit", key: "apply_every: 200ms",
      replacement: "apply_every: 200", names: "200"),
    Case(
      testDescription: "an address without a scheme", key: "control: \"unix:",
      replacement: "control: \"", names: "control"),
    Case(
      testDescription: "text that is not YAML", key: "groups:", replacement: "groups: [",
      names: "YAML", isOnThatLine: false),
  ]

  @Test(arguments: cases)
  func `is refused with file, line and reason`(wrong: Case) throws {
    let (site, yaml) = try configuration()
    let range = try #require(yaml.range(of: wrong.key))
    let line = 1 + yaml[..<range.lowerBound].count { $0 == "\n" }
    let text = yaml.replacingCharacters(in: range, with: wrong.replacement)
    let finished = try start(site, with: text)
    #expect(finished.status != 0)
    #expect(!finished.stdout.contains(TaplineContract.readyLine))
    #expect(finished.stderr.contains(wrong.names))
    let location = wrong.isOnThatLine ? "\(line):" : ""
    #expect(finished.stderr.contains("\(site.configurationFile):\(location)"), "\(finished)")
  }

  @Test func `a configuration file that is not there is named`() throws {
    let finished = try run(
      try TaplineBinary.path(), TaplineContract.site("/nowhere/site.yaml"))
    #expect(finished.status != 0)
    #expect(finished.stderr.contains("/nowhere/site.yaml"))
  }

  @Test func `a second daemon on the same data is refused`() throws {
    let single = try SingleSite(size: 1 << 20)
    let finished = try run(
      try TaplineBinary.path(), TaplineContract.site(single.site.configurationFile))
    #expect(finished.status != 0)
    #expect(!finished.stderr.isEmpty)
    #expect(try single.site.connect("disk").read(at: 0, count: 1) == [0])
  }

  @Test func `the configuration that the cases spoil is itself accepted`() throws {
    let (site, _) = try configuration()
    try site.start()
    try site.stop()
  }

  private func configuration() throws -> (Site, yaml: String) {
    let site = try Site("east", in: try ScratchDirectory())
    try site.addDisk("disk", size: 1 << 20, role: .protected)
    return (site, site.configuration.yaml)
  }

  private func start(_ site: Site, with yaml: String) throws -> Finished {
    try yaml.write(toFile: site.configurationFile, atomically: false, encoding: .utf8)
    return try run(try TaplineBinary.path(), TaplineContract.site(site.configurationFile))
  }
}
