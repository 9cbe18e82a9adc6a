import Foundation
import TestSupport
import Testing

/// Proves that a disk may be made larger between two starts of its site, and keeps its contents and
/// its history; and that it cannot be made smaller.
@Suite(.scratch) struct GrowingTests {
  private func resize(_ single: SingleSite, to size: Int) throws {
    #expect(unsafe truncate(single.site.rawFile("disk"), size) == 0)
    single.site.configuration.groups[0].disks[0].size = size
  }

  @Test func `a disk that grew has its old bytes, zeros behind them, and its history`() throws {
    let single = try SingleSite(size: 1 << 20, history: "1h")
    let client = try single.site.connect("disk")
    try client.write([1, 2, 3], at: (1 << 20) - 3)
    try single.site.crash()
    try resize(single, to: 3 << 20)
    try single.site.start()
    let before = quietInstant()
    let grown = try single.site.connect("disk")
    #expect(grown.size == 3 << 20)
    try grown.write([4], at: (3 << 20) - 1)
    var expected = [UInt8](repeating: 0, count: 3 << 20)
    expected.replaceSubrange((1 << 20) - 3..<1 << 20, with: [1, 2, 3])
    #expect(difference(try single.site.image("disk@\(rfc3339(before))"), expected) == nil)
    expected[(3 << 20) - 1] = 4
    #expect(difference(try single.site.image("disk"), expected) == nil)
  }

  @Test func `a disk that became smaller is refused`() throws {
    let single = try SingleSite(size: 2 << 20)
    try single.site.stop()
    try resize(single, to: 1 << 20)
    let daemon = try single.site.launch()
    #expect(try daemon.wait() != .exited(0))
    #expect(daemon.stderr.contains("is of disk disk with 2097152 bytes"))
  }

  @Test func `both sites go on after their disks grew`() throws {
    let pair = try SitePair(disks: ["disk": 1 << 20])
    try pair.east.connect("disk").write([1, 2, 3], at: 0)
    try pair.drain()
    try pair.east.stop()
    try pair.west.stop()
    for site in [pair.east, pair.west] {
      #expect(unsafe truncate(site.rawFile("disk"), 2 << 20) == 0)
      site.configuration.groups[0].disks[0].size = 2 << 20
    }
    try pair.start()
    let client = try pair.east.connect("disk")
    try client.write([4], at: (2 << 20) - 1)
    try pair.drain()
    let view = try pair.west.connect("disk@latest")
    #expect(try view.read(at: 0, count: 3) == [1, 2, 3])
    #expect(try view.read(at: (2 << 20) - 1, count: 1) == [4])
  }
}
