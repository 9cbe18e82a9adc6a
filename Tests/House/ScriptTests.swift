import Foundation
import FoundationXML
import TestSupport
import Testing

/// Proves that what the README tells people to run still runs: the demo, whose own checks decide,
/// and the benchmark, whose report must show every server; its figures are not looked at here.
@Suite(.scratch, .serialized) struct ScriptTests {
  @Test(.requires("qemu-io", "nbdcopy", "jq", "mke2fs", "debugfs"))
  func `the demo's checks hold`() throws {
    let finished = try run(
      Tree.path("Tools/demo"), [], within: .seconds(240),
      environment: ["TAPLINE_BIN": try TaplineBinary.path()])
    #expect(finished.status == 0, "\(finished)")
  }

  @Test(.requires("fio", "jq", "nbdinfo", "nbdkit", "python3", "qemu-nbd"))
  func `the benchmark measures every server and shows it`() throws {
    let scratch = try ScratchDirectory()
    let results = scratch.path + "/results"
    let finished = try run(
      Tree.path("Benchmarks/run"),
      ["--quick", "--dir", scratch.path, "--results", results], within: .seconds(300),
      environment: ["TAPLINE_BIN": try TaplineBinary.path()])
    #expect(finished.status == 0, "\(finished)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path) == ["results"])

    let page = try XMLDocument(contentsOf: URL(filePath: results + "/report.html"))
    let servers: Set = ["nbdkit", "qemu-nbd", "tapline-plain", "tapline"]
    let lines: [(figure: String, servers: Set<String>)] = [
      ("depth", servers), ("connections-d1", servers),
      ("disks-d1-fsync", servers.union(["file", "tapline-groups"])),
      ("latency-randwrite-4k-d32", servers),
      ("flush-randwrite-4k-d1+fsync", servers.union(["file"])),
    ]
    for (figure, expected) in lines {
      let drawn = "//figure[@id='\(figure)']//polyline[contains(@points, ' ')]"
      let shown = try page.nodes(forXPath: drawn)
      #expect(Set(shown.compactMap(Self.series)) == expected, "lines in figure \(figure)")
    }
    let bars = try page.nodes(forXPath: "//figure[@id='cpu-randwrite-4k-d32']//rect")
    #expect(Set(bars.compactMap(Self.series)) == servers, "bars of processor time")

    let report = try String(contentsOfFile: results + "/report.md", encoding: .utf8)
    for server in servers.union(["file (no server)", "tapline-groups"]) {
      #expect(report.contains("| \(server) "), "the report lacks \(server)")
    }
  }

  /// The server that a line or a bar of a chart stands for: the last of its classes.
  private static func series(_ shape: XMLNode) -> String? {
    (shape as? XMLElement)?.attribute(forName: "class")?.stringValue?
      .split(separator: " ").last.map(String.init)
  }
}
