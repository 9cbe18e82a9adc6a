import TestSupport
import Testing

/// Proves that a journal which is shorter than its history has room before anybody waits for it, at
/// both sites, and keeps all the history that fits beside that room.
@Suite(.scratch) struct ReserveTests {
  private static let size = 8 << 20
  /// Sixteen segments, of which two are kept free.
  private static let capacity = 16 << 16

  private static func shrink(_ site: Site) {
    site.configuration.groups[0].journalCapacity = "\(capacity)"
    site.configuration.groups[0].segmentSize = "64K"
  }

  /// Three times what the journal holds.
  private func write(_ site: Site, _ disk: String) throws {
    let client = try site.connect(disk)
    var generator = SeededGenerator(seed: testSeed(1))
    for index in 0..<96 {
      try client.write(generator.bytes(32_000), at: UInt64(index * 32_768))
    }
    try client.flush()
  }

  private func waitForReserve(_ site: Site) throws {
    try eventually("room is made at \(site.name)") {
      try site.counter("used_bytes") <= Self.capacity - 2 << 16
    }
    #expect(try site.counter("used_bytes") >= Self.capacity - 4 << 16)
  }

  @Test func `room is made before it is needed, and no more history given up than that`() throws {
    let site = try SingleSite(size: Self.size, history: "1h") { Self.shrink($0) }.site
    try write(site, "disk")
    try waitForReserve(site)
  }

  /// Its link has asked nobody yet when the group looks for room first.
  @Test func `a site that starts with a full journal asks its peer before it drops its records`()
    throws
  {
    let pair = try SitePair { east, west in
      east.configuration.groups[0].journalCapacity = "1M"
      east.configuration.groups[0].onFull = "degrade"
      east.configuration.groups[0].checkpointEvery = "0s"
      for site in [east, west] { site.configuration.groups[0].segmentSize = "256K" }
    }
    pair.cable.cut()
    let client = try pair.east.connect("disk")
    // Until the last segment is in use, and has room.
    for index in 0..<14 {
      try client.write([UInt8](repeating: 7, count: 60_000), at: UInt64(index) << 16)
    }
    try eventually("no segment is free") { try pair.east.counter("used_bytes") == 1 << 20 }
    try pair.east.crash()
    pair.cable.join()
    try pair.east.start()
    try pair.drain()
    #expect(!pair.east.allLogs.contains("they are dropped"), "\(pair.east.allLogs)")
    #expect(try pair.west.image("disk@latest") == pair.east.image("disk"))
  }

  @Test func `so it is at the recovery site`() throws {
    let pair = try SitePair { east, west in
      Self.shrink(east)
      Self.shrink(west)
    }
    try write(pair.east, "disk")
    try pair.drain()
    try waitForReserve(pair.west)
  }
}
