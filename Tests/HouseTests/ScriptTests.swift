import Foundation
import TestSupport
import Testing

/// Proves that what the README tells people to run still runs: the demo, whose own checks decide,
/// and the benchmark, whose figures are not looked at here.
@Suite(.scratch, .serialized) struct ScriptTests {
  @Test(.requires("qemu-io", "nbdcopy", "jq", "mke2fs", "debugfs"))
  func `the demo's checks hold`() throws {
    let finished = try run(
      Tree.path("Tools/demo"), [], within: .seconds(240),
      environment: ["TAPLINE_BIN": try TaplineBinary.path()])
    #expect(finished.status == 0, "\(finished)")
  }

  @Test(.requires("fio", "nbdkit", "qemu-nbd"))
  func `the benchmark measures every server`() throws {
    let scratch = try ScratchDirectory()
    let results = scratch.path + "/results"
    let finished = try run(
      Tree.path("Benchmarks/run"),
      ["--quick", "--dir", scratch.path, "--results", results], within: .seconds(300),
      environment: ["TAPLINE_BIN": try TaplineBinary.path()])
    #expect(finished.status == 0, "\(finished)")
    let report = try String(contentsOfFile: results + "/report.md", encoding: .utf8)
    for server in ["nbdkit", "qemu-nbd", "tapline-plain", "tapline"] {
      #expect(report.contains("| \(server) "), "the report lacks \(server)")
    }
  }
}
