import Foundation
import FoundationXML
import TestSupport
import Testing

/// Proves that the benchmark's report says what was measured, on made-up measurements: ratios pair
/// by pair, targets met, missed and not measured, `--check`, processor time, and latency curves.
@Suite(.scratch) struct BenchmarkReportTests {
  private let results: ScratchDirectory

  init() throws {
    results = try ScratchDirectory()
    try FileManager.default.createDirectory(
      atPath: results.path + "/runs", withIntermediateDirectories: true)
    try "profile: standard\n".write(
      toFile: results.path + "/environment.txt", atomically: true, encoding: .utf8)
  }

  @Test func `ratios are made in each round, and their median decides`() throws {
    // The machine becomes slower from round to round; Tapline stays at 1.1, 1.2 and 0.5 of nbdkit.
    for (round, (nbdkit, tapline)) in [(100, 110), (50, 60), (20, 10)].enumerated() {
      try measurement(round: round + 1, server: "nbdkit", iops: nbdkit)
      try measurement(round: round + 1, server: "tapline", iops: tapline)
    }
    #expect(try report("--check").status == 0)
    let target = try #require(
      summary()["targets"]?.elements.first { $0["met"] == .boolean(true) })
    #expect(target["job"]?.string == "randwrite-4k-d32")
    #expect(target["baseline"]?.string == "nbdkit")
    #expect(try abs(#require(target["ratio"]?.number) - 1.1) < 1e-9)
    #expect(try abs(#require(target["lowest"]?.number) - 0.5) < 1e-9)
    #expect(try abs(#require(target["highest"]?.number) - 1.2) < 1e-9)
  }

  @Test func `a check fails when a target is missed, and when none was measured`() throws {
    try measurement(server: "nbdkit", iops: 100)
    #expect(try report("--check").status == 1)
    try measurement(server: "tapline", iops: 99)
    let finished = try report("--check")
    #expect(finished.status == 1)
    #expect(finished.stdout.contains("MISSED"))
    #expect(finished.stdout.contains("not measured"))
    #expect(try report().status == 0)
  }

  @Test func `processor time is charged to all requests, those of the ramp too`() throws {
    // 200 writes in 2 s, as many flushes, and half as much again in the ramp of 1 s.
    try measurement(server: "nbdkit", iops: 100, flushes: 200, cpuSeconds: 0.3)
    try report().checked()
    let run = try #require(summary()["runs"]?.elements.first)
    #expect(try abs(#require(run["cpu_s_per_million"]?.number) - 500) < 1e-9)
  }

  @Test func `of several clients counts what they did in one interval`() throws {
    // Two clients, the second a second late: together they wrote 70 times in the interval,
    // which is from one second to three seconds after the first line.
    let log = """
      5000, 1, 4096, 9, 0
      6000, 1, 4096, 10, 20
      6000, 1, 4096, 15, 15
      6500, 2, 4096, 99, 0
      7999, 1, 4096, 0, 10
      8000, 1, 4096, 50, 50
      """
    try measurement(server: "nbdkit", iops: 100, connections: 2, cpuSeconds: 0.2, log: log)
    try report().checked()
    let run = try #require(summary()["runs"]?.elements.first)
    #expect(run["iops"]?.number == 35)
    // Such clients have no ramp that fio leaves out: these are the 200 that it counted.
    #expect(try abs(#require(run["cpu_s_per_million"]?.number) - 1000) < 1e-9)
  }

  @Test func `a latency curve ends where there are no more requests to speak of`() throws {
    // The rarest of 200 requests has 2.3 nines, and there is a point for each tenth of a nine.
    try measurement(server: "nbdkit", iops: 100)
    try report().checked()
    let page = try XMLDocument(contentsOf: URL(filePath: results.path + "/report.html"))
    let drawn = "//figure[@id='latency-randwrite-4k-d32']//polyline/@points"
    let points = try #require(page.nodes(forXPath: drawn).first?.stringValue)
    #expect(points.split(separator: " ").count == 24)
  }

  /// One measurement of `randwrite-4k-d32`, of 200 writes in 2 s whatever `iops` says.
  private func measurement(
    round: Int = 1, server: String, iops: Int, flushes: Int = 0, connections: Int = 1,
    cpuSeconds: Double = 1, log: String = ""
  ) throws {
    let name = "\(results.path)/runs/\(round).randwrite-4k-d32.\(server)"
    try log.write(toFile: name + ".fio_clat_hist.log", atomically: true, encoding: .utf8)
    try """
    {"round": \(round), "job": "randwrite-4k-d32", "server": "\(server)", "disks": 1,
     "connections": \(connections), "depth": 32, "options": "--rw=randwrite --bs=4k",
     "load": 0.5, "ramp_ms": 1000, "runtime_ms": 2000, "cpu_seconds": \(cpuSeconds)}
    """.write(toFile: name + ".json", atomically: true, encoding: .utf8)
    try """
    {"jobs": [{"error": 0,
      "read": {"total_ios": 0, "iops": 0, "runtime": 0},
      "write": {"total_ios": 200, "iops": \(iops), "runtime": 2000, "lat_ns": \(latencies(200))},
      "sync": {"total_ios": \(flushes), "lat_ns": \(latencies(flushes))}}]}
    """.write(toFile: name + ".fio.json", atomically: true, encoding: .utf8)
  }

  /// Nine tenths of the requests take 10 µs, the others 1 ms.
  private func latencies(_ count: Int) -> String {
    """
    {"N": \(count), "percentile": {"50.000000": 10000, "99.000000": 1000000},
     "bins": {"10000": \(count - count / 10), "1000000": \(count / 10)}}
    """
  }

  @discardableResult
  private func report(_ options: String...) throws -> Finished {
    try run(Tree.path("Benchmarks/report.py"), options + [results.path])
  }

  private func summary() throws -> JSON {
    try JSON(String(contentsOfFile: results.path + "/results.json", encoding: .utf8))
  }
}
