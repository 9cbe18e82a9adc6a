import Foundation
import TestSupport
import Testing

/// Proves that the recovery site gets every record once and in order, whatever the link does.
@Suite(.scratch) struct LinkTests {
  private static let sectors = 16384

  @Test func `the recovery site shows what the protected site acknowledged`() throws {
    let pair = try SitePair()
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(pair.east.uri("disk"), history: history)
    try load.makeProgress(1000)
    try load.stop()
    try pair.drain()
    let west = try pair.west.image("disk@latest")
    #expect(history.violations(in: west) == [])
    #expect(difference(west, try pair.east.image("disk")) == nil)
  }

  /// Each list cuts the cable that many bytes after the connection has been joined again; the
  /// instants noted meanwhile must show what was acknowledged then.
  @Test(arguments: [[0], [1, 27, 28, 29], [4095, 100_000], [1_000_000, 3, 50_000]])
  func `a cable cut at any byte`(cuts: [Int]) throws {
    let pair = try SitePair()
    // History begins with the end of the initial sync.
    try pair.drain()
    let history = WriteHistory(sectors: Self.sectors)
    var shape = WriteLoad.Shape()
    shape.seed = testSeed(1)
    let load = WriteLoad(pair.east.uri("disk"), history: history, shape: shape)
    var instants: [UInt64] = []
    for count in cuts {
      pair.cable.cut(afterBytes: count)
      try load.makeProgress(100)
      try eventually("the cable is cut") { pair.cable.isCut }
      instants.append(wallClockNanoseconds())
      try load.makeProgress(100)
      pair.cable.join()
      instants.append(wallClockNanoseconds())
      #expect(history.cutViolations(in: try pair.west.image("disk@latest")) == [])
    }
    try load.makeProgress(100)
    try load.stop()
    #expect(load.failure == nil)
    try pair.drain()
    let west = try pair.west.image("disk@latest")
    #expect(history.violations(in: west) == [])
    #expect(difference(west, try pair.east.image("disk")) == nil)
    for instant in instants {
      let view = try pair.west.image("disk@\(rfc3339(instant))")
      #expect(history.violations(in: view, at: instant) == [])
    }
  }

  @Test func `a cable that is out for the whole load loses nothing`() throws {
    let pair = try SitePair()
    let history = WriteHistory(sectors: Self.sectors)
    pair.cable.cut()
    let load = WriteLoad(pair.east.uri("disk"), history: history)
    try load.makeProgress(1500)
    try load.stop()
    pair.cable.join()
    try pair.drain()
    #expect(history.violations(in: try pair.west.image("disk@latest")) == [])
  }

  @Test func `garbage on the link's port harms neither site`() throws {
    let pair = try SitePair()
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(pair.east.uri("disk"), history: history)
    var generator = SeededGenerator(seed: testSeed(2))
    for count in [0, 1, 100, 100_000] {
      let intruder = try RawConnection(port: pair.west.linkPort)
      intruder.send(generator.bytes(count))
      try load.makeProgress(50)
    }
    try load.stop()
    try pair.drain()
    #expect(history.violations(in: try pair.west.image("disk@latest")) == [])
  }

  @Test func `status shows the order of watermarks and that the link is up`() throws {
    let pair = try SitePair(disks: ["disk": 1 << 20])
    let client = try pair.east.connect("disk")
    for number in 0..<20 { try client.write([UInt8(number)], at: UInt64(number), fua: true) }
    try pair.drain()
    let status = try pair.east.status()
    let marks = try ["stamped", "appended", "durable"].map {
      try TaplineContract.counter($0, group: "g", status: status)
    }
    #expect(marks == marks.sorted(by: >), "stamped, appended, durable")
    #expect(marks[2] >= 20)
    let received = try TaplineContract.counter("peer_received", group: "g", status: status)
    let durable = try TaplineContract.counter("peer_durable", group: "g", status: status)
    #expect(received >= durable && durable >= 20)
    let group = try TaplineContract.group("g", in: status)
    #expect(group.first("link")?["state"]?.string == "connected")
    let rpo = try #require(group.first("rpo_seconds")?.number)
    #expect(rpo >= 0 && rpo < 60)
  }

  @Test func `status shows that the link is out and how far the peer is behind`() throws {
    let pair = try SitePair(disks: ["disk": 1 << 20])
    let client = try pair.east.connect("disk")
    try client.write([1], at: 0)
    try pair.drain()
    pair.cable.cut()
    for number in 0..<20 { try client.write([UInt8(number)], at: UInt64(number)) }
    try eventually("the lag shows") {
      let group = try TaplineContract.group("g", in: pair.east.status())
      let lag = group.first("lag_records")?.integer ?? 0
      let rpo = group.first("rpo_seconds")?.number ?? 0
      return lag >= 20 && rpo > 0 && group.first("link")?["state"]?.string != "connected"
    }
    pair.cable.join()
    try pair.drain()
  }

  @Test func `the analyzer counts what was written`() throws {
    let pair = try SitePair(disks: ["disk": 1 << 20])
    let client = try pair.east.connect("disk")
    for number in 0..<64 {
      try client.write([UInt8](repeating: 1, count: 4096), at: UInt64(number * 4096))
    }
    try eventually("64 writes are counted") {
      let group = try TaplineContract.group("g", in: pair.east.status())
      guard let total = group.first("analysis")?.first("total") else { return false }
      return total["writes"]?.integer == 64 && total["written_bytes"]?.integer == 64 * 4096
    }
  }
}
