import Foundation
import TestSupport
import Testing

/// Proves that a disk is the same wherever a configuration's list has it: at the other site, after
/// a reload, a restart and a hand-over.
@Suite(.scratch) struct DiskOrderTests {
  private static let size = 1 << 20
  private static let disks: KeyValuePairs = ["a": size, "b": size, "c": size]

  private func names(_ site: Site) throws -> [String?] {
    let disks = try TaplineContract.group("g", in: site.status())["disks"]?.elements ?? []
    return disks.map { $0["name"]?.string }
  }

  private func expectContents(_ site: Site, _ suffix: String, _ value: UInt8) throws {
    for (index, name) in ["a", "b", "c"].enumerated() {
      let bytes = try site.connect(name + suffix).read(at: 0, count: 2)
      #expect(bytes == [UInt8(index + 1), value], "\(site.name): \(name)\(suffix)")
    }
  }

  private func write(_ site: Site, _ value: UInt8) throws {
    for (index, name) in ["a", "b", "c"].enumerated() {
      try site.connect(name).write([UInt8(index + 1), value], at: 0, fua: true)
    }
  }

  @Test func `the two sites list their disks in different orders`() throws {
    let pair = try SitePair(disks: Self.disks) { east, west in
      east.configuration.groups[0].history = "1h"
      west.configuration.groups[0].disks.reverse()
    }
    try write(pair.east, 1)
    let early = quietInstant()
    try write(pair.east, 2)
    try pair.drain()
    #expect(try names(pair.west) == ["c", "b", "a"])
    // From the journal, and after a restart from what it left on the disks.
    for _ in 0..<2 {
      for site in [pair.east, pair.west] {
        try expectContents(site, "@\(rfc3339(early))", 1)
        try expectContents(site, "@latest", 2)
      }
      try pair.west.crash()
      try pair.west.start()
      try pair.drain()
    }
  }

  @Test func `an order that changes changes nothing else`() throws {
    let pair = try SitePair(disks: Self.disks) { east, _ in
      east.configuration.groups[0].history = "1h"
    }
    try write(pair.east, 1)
    let early = quietInstant()
    for site in [pair.east, pair.west] {
      site.configuration.groups[0].disks.swapAt(0, 1)
      let json = try JSON(try site.reload().checked().stdout)
      #expect(json["needs_restart"]?.elements.count == 0)
      #expect(try names(site) == ["b", "a", "c"])
    }
    try write(pair.east, 2)
    for site in [pair.east, pair.west] {
      site.configuration.groups[0].disks.swapAt(0, 2)
      try site.crash()
      try site.start()
    }
    try write(pair.east, 3)
    for site in [pair.east, pair.west] {
      site.configuration.groups[0].disks.reverse()
      try site.takeOver()
      #expect(try names(site) == ["b", "a", "c"])
    }
    try write(pair.east, 4)
    try pair.drain()
    for site in [pair.east, pair.west] {
      try expectContents(site, "@\(rfc3339(early))", 1)
      try expectContents(site, "@latest", 4)
    }
    try pair.east.stop()
    for (index, name) in ["a", "b", "c"].enumerated() {
      let file = try FileHandle(forReadingFrom: URL(filePath: pair.east.rawFile(name)))
      #expect(try file.read(upToCount: 2) == Data([UInt8(index + 1), 4]))
    }
  }

  @Test func `another name for a disk is refused with words`() throws {
    let single = try SingleSite(history: "1h")
    try single.site.stop()
    single.site.configuration.groups[0].disks[0].name = "other"
    let failed = try single.site.launch().wait(within: hangLimit)
    #expect(failed != .exited(0))
    #expect(single.site.log.contains("disk other has the backing of disk disk: a disk keeps its"))
  }
}
