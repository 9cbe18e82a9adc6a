import Foundation
import TestSupport
import Testing

/// Proves that a site that is asked to stop leaves the current disk in the raw file alone, and
/// carries on from there.
@Suite(.scratch) struct StopTests {
  @Test func `after SIGTERM the raw file alone is the disk`() throws {
    let single = try SingleSite(size: 2 << 20)
    var generator = SeededGenerator(seed: testSeed(1))
    var expected = PlainHistory(size: 2 << 20)
    let client = try single.site.connect("disk")
    try expected.drive(client, count: 100, maximumLength: 50_000, using: &generator)
    try single.site.stop()
    let file = try contents(single.site.rawFile("disk"))
    #expect(difference(file, expected.image()) == nil)
  }

  @Test func `SIGTERM during writes loses none that was acknowledged`() throws {
    let single = try SingleSite()
    let history = WriteHistory(sectors: 16384)
    let load = WriteLoad(single.uri, history: history)
    try load.makeProgress(200)
    try single.site.stop()
    try load.stop()
    let file = try contents(single.site.rawFile("disk"))
    #expect(history.violations(in: file) == [])
  }

  @Test func `a site that keeps history stops with the whole disk in the raw file`() throws {
    let single = try SingleSite(size: 2 << 20, history: "1h")
    var generator = SeededGenerator(seed: testSeed(2))
    var expected = PlainHistory(size: 2 << 20)
    try expected.drive(
      single.site.connect("disk"), count: 30, maximumLength: 50_000, using: &generator)
    try single.site.stop()
    #expect(difference(try contents(single.site.rawFile("disk")), expected.image()) == nil)
  }

  /// As on a full file system, or after the terminal was closed.
  @Test(.requires("sh")) func `a log that cannot be written ends nothing`() throws {
    let single = try SingleSite(size: 1 << 20)
    try single.site.stop()
    let daemon = try ChildProcess(
      "sh",
      [
        "-c", "exec \"$0\" site --config \"$1\" 2>/dev/full", try TaplineBinary.path(),
        single.site.configurationFile,
      ], name: "no-log", logs: single.scratch)
    try daemon.waitForLine(TaplineContract.readyLine)
    daemon.kill(SIGHUP)
    try single.site.connect("disk").write([1], at: 0, fua: true)
    #expect(try daemon.terminate() == .exited(0))
  }

  @Test func `a site starts again on its data, also over the sockets of a crash`() throws {
    let single = try SingleSite(size: 2 << 20)
    var generator = SeededGenerator(seed: testSeed(3))
    var expected = PlainHistory(size: 2 << 20)
    for round in 0..<4 {
      try expected.drive(
        single.site.connect("disk"), count: 20, maximumLength: 50_000, using: &generator)
      if round % 2 == 0 { try single.site.stop() } else { try single.site.crash() }
      try single.site.start()
      #expect(difference(try single.site.image("disk"), expected.image()) == nil)
    }
  }

  @Test func `a site stops while its peer cannot be reached`() throws {
    let pair = try SitePair(disks: ["disk": 1 << 20])
    pair.cable.cut()
    try pair.east.connect("disk").write([1, 2, 3], at: 77)
    try pair.east.stop()
    #expect(try contents(pair.east.rawFile("disk"))[77..<80] == [1, 2, 3])
    try pair.west.stop()
  }

  private func contents(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
  }
}
