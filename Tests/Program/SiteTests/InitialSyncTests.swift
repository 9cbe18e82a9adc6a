import Foundation
import TestSupport
import Testing

/// Proves that a disk that holds data before it is protected reaches the recovery site whole,
/// while writes go on.
@Suite(.scratch) struct InitialSyncTests {
  private static let size = 24 << 20

  enum Interruption: CaseIterable { case none, cableCut, protectedSiteKilled, recoverySiteKilled }

  @Test(arguments: Interruption.allCases)
  func `a disk with data is copied while writes go on`(interruption: Interruption) throws {
    let history = WriteHistory(sectors: Self.size / TaggedSectors.size)
    let pair = try SitePair(disks: ["disk": Self.size], start: false)
    try fill(pair.east, history)
    try pair.east.start()
    var load = WriteLoad(pair.east.uri("disk"), history: history)
    try load.makeProgress(50)
    switch interruption {
    case .none: break
    case .cableCut: pair.cable.cut(afterBytes: 5 << 20)
    case .protectedSiteKilled, .recoverySiteKilled: break
    }
    let before = pair.cable.forwardedBytes
    try pair.west.start()
    try eventually("the copy has begun") { pair.cable.forwardedBytes > before + (1 << 20) }

    switch interruption {
    case .none: break
    case .cableCut:
      try eventually("the cable is cut") { pair.cable.isCut }
      pair.cable.join()
    case .protectedSiteKilled:
      try pair.east.crash()
      try load.stop()
      try pair.east.start()
      history.settle(with: try pair.east.image("disk"))
      load = WriteLoad(pair.east.uri("disk"), history: history)
    case .recoverySiteKilled:
      try pair.west.crash()
      try pair.west.start()
    }
    try load.makeProgress(100)
    try load.stop()
    #expect(load.failure == nil)
    try pair.drain()
    let west = try pair.west.image("disk@latest")
    #expect(history.violations(in: west) == [])
    #expect(difference(west, try pair.east.image("disk")) == nil)
  }

  /// Each connection carries a third of the disk.
  @Test func `a copy that is cut off again and again goes on where it was`() throws {
    let history = WriteHistory(sectors: Self.size / TaggedSectors.size)
    let pair = try SitePair(disks: ["disk": Self.size], start: false)
    try fill(pair.east, history)
    try pair.west.start()
    pair.cable.cut(afterBytes: 8 << 20)
    try pair.east.start()
    func isDrained() throws -> Bool {
      try TaplineContract.isDrained(group: "g", status: pair.east.status())
    }
    var connections = 0
    while try !isDrained(), connections < 12 {
      try eventually("the cable is cut, or the copy is there") {
        try pair.cable.isCut || isDrained()
      }
      connections += 1
      if try isDrained() { break }
      pair.cable.join()
      pair.cable.cut(afterBytes: 8 << 20)
    }
    #expect(connections < 12)
    #expect(pair.west.log.contains("the full copy from east goes on"))
    #expect(difference(try pair.west.image("disk@latest"), try pair.east.image("disk")) == nil)
  }

  @Test func `zeros that the disk holds are told, and stay holes at the recovery site`() throws {
    let pair = try SitePair(disks: ["disk": Self.size], start: false)
    // What the recovery disk held before is gone as well.
    for (site, byte) in [(pair.east, UInt8(0)), (pair.west, 1)] {
      let count = site === pair.east ? Self.size : 2 << 20
      let file = try #require(FileHandle(forWritingAtPath: site.rawFile("disk")))
      try file.write(contentsOf: Data(repeating: byte, count: count))
      try file.close()
    }
    try pair.start()
    #expect(pair.cable.forwardedBytes < 1 << 20)
    #expect(try pair.west.image("disk@latest").allSatisfy { $0 == 0 })
    let blocks = try run("stat", ["-c", "%b", pair.west.rawFile("disk")]).checked().stdout
    #expect(try #require(Int(blocks.trimmingCharacters(in: .whitespacesAndNewlines))) < 256)
  }

  /// As an administrator carries it over.
  @Test func `of a copy that was carried over only what differs is sent`() throws {
    let history = WriteHistory(sectors: Self.size / TaggedSectors.size)
    let pair = try SitePair(disks: ["disk": Self.size], start: false)
    try fill(pair.east, history)
    try FileManager.default.removeItem(atPath: pair.west.rawFile("disk"))
    try FileManager.default.copyItem(
      atPath: pair.east.rawFile("disk"), toPath: pair.west.rawFile("disk"))
    // What both have, what only the protected site has, and what only the other one has.
    for (site, start) in [(pair.east, 5 << 20), (pair.west, 9 << 20)] {
      let file = try #require(FileHandle(forWritingAtPath: site.rawFile("disk")))
      try file.seek(toOffset: UInt64(start))
      try file.write(contentsOf: Data(repeating: 0x5A, count: 256 << 10))
      try file.close()
    }
    try pair.start()
    #expect(pair.cable.forwardedBytes < (1 << 20))
    #expect(pair.east.log.contains("initial sync sent to west, which had "))
    #expect(difference(try pair.west.image("disk@latest"), try pair.east.image("disk")) == nil)
  }

  /// The owner does not know any more what it has sent.
  @Test func `a copy that begins anew does not send again what is there`() throws {
    let history = WriteHistory(sectors: Self.size / TaggedSectors.size)
    let pair = try SitePair(disks: ["disk": Self.size], start: false)
    try fill(pair.east, history)
    try pair.west.start()
    pair.cable.cut(afterBytes: 12 << 20)
    try pair.east.start()
    try eventually("the cable is cut") { pair.cable.isCut }
    let before = pair.cable.forwardedBytes
    try pair.east.crash()
    pair.cable.join()
    try pair.east.start()
    try pair.drain()
    // Two thirds of the disk are data.
    #expect(pair.cable.forwardedBytes - before < (8 << 20))
    #expect(difference(try pair.west.image("disk@latest"), try pair.east.image("disk")) == nil)
  }

  @Test func `the site that starts second may be either`() throws {
    for eastFirst in [true, false] {
      let pair = try SitePair(disks: ["disk": 1 << 20], start: false)
      for site in eastFirst ? [pair.east, pair.west] : [pair.west, pair.east] { try site.start() }
      try pair.east.connect("disk").write([1, 2, 3], at: 5000)
      try pair.drain()
      #expect(try pair.west.connect("disk@latest").read(at: 5000, count: 3) == [1, 2, 3])
    }
  }

  /// Writes tagged sectors to two thirds of the raw file, as acknowledged writes of the history.
  private func fill(_ site: Site, _ history: WriteHistory) throws {
    let file = try #require(FileHandle(forWritingAtPath: site.rawFile("disk")))
    for first in stride(from: 0, to: history.sectors, by: 96) {
      let tag = history.begin(first: first, count: 64)
      try file.seek(toOffset: UInt64(first * TaggedSectors.size))
      try file.write(contentsOf: Data(TaggedSectors.make(tag: tag, first: first, count: 64)))
      history.acknowledge(tag)
    }
    try file.close()
  }
}
