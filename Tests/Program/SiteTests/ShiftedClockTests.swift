import Foundation
import TestSupport
import Testing

/// Proves that an instant stays what it was and that durations stay right, whatever the wall clock
/// of a site does.
@Suite(.scratch, .requires("cc")) struct ShiftedClockTests {
  private static let size = 1 << 20

  private func pair() throws -> (pair: SitePair, clock: ShiftedClock) {
    var clock: ShiftedClock?
    let pair = try SitePair(disks: ["disk": Self.size], history: "1h") { east, _ in
      east.configuration.groups[0].history = "1h"
      let shifted = try ShiftedClock(in: east.scratch)
      east.environment = shifted.environment
      clock = shifted
    }
    return (pair, try #require(clock))
  }

  private func end(of site: Site) throws -> String {
    try #require(group(of: site).first("history")?.first("end")?.string)
  }

  private func group(of site: Site) throws -> JSON {
    try TaplineContract.group("g", in: site.status())
  }

  @Test(arguments: [true, false])
  func `an instant stays as it was when the clock was set back`(crashes: Bool) throws {
    let (pair, clock) = try pair()
    try pair.east.connect("disk").write([1, 1, 1], at: 0)
    try pair.drain()
    var images: [(site: Site, instant: String, image: [UInt8])] = []
    for site in [pair.east, pair.west] {
      let instant = try end(of: site)
      images.append((site, instant, try site.image("disk@\(instant)")))
    }
    if crashes { try pair.east.crash() } else { try pair.east.stop() }
    try clock.set(ahead: -60)
    try pair.east.start()
    let client = try pair.east.connect("disk")
    try client.write([2, 2, 2], at: 0)
    try client.flush()
    try pair.drain()
    for (site, instant, image) in images {
      #expect(difference(try site.image("disk@\(instant)"), image) == nil, "\(site.name)")
    }
    #expect(try pair.west.image("disk@latest").prefix(3) == [2, 2, 2])
  }

  @Test func `what a recovery site offers can be opened after its restart`() throws {
    let (pair, _) = try pair()
    try pair.east.connect("disk").write([1], at: 0)
    try pair.drain()
    let latest = rfc3339(wallClockNanoseconds())
    try eventually("the instant is known there") {
      (try? pair.west.image("disk@\(latest)")) != nil
    }
    let offered = try end(of: pair.west)
    try pair.east.crash()
    try pair.west.crash()
    try pair.west.start()
    for instant in [latest, offered] {
      #expect(try pair.west.image("disk@\(instant)").first == 1)
    }
  }

  @Test func `a clock that was ahead for a moment leaves nothing but a word`() throws {
    let (pair, clock) = try pair()
    let client = try pair.east.connect("disk")
    try client.write([1], at: 0)
    try pair.drain()
    try clock.set(ahead: 8 * 3600)
    try client.write([2], at: 0)
    try client.flush()
    try clock.set(ahead: 0)
    try eventually("health tells") {
      try group(of: pair.east).first("health")?.string?.contains("clock went back") == true
    }
    let instant = quietInstant()
    try client.write([3], at: 0)
    try pair.drain()
    #expect(try pair.east.image("disk@\(rfc3339(instant))").first == 2)
    pair.cable.cut()
    try client.write([4], at: 0)
    try eventually("what is missing grows old") {
      let age = try group(of: pair.east).first("link")?.first("rpo_seconds")?.number
      return (age ?? 0) > 1
    }
  }

  /// Not even its checkpoints, each of which would be the reason for the next.
  @Test func `nothing is written for a group that nobody writes to`() throws {
    let pair = try SitePair(disks: ["disk": Self.size], history: "1h") { east, _ in
      east.configuration.groups[0].checkpointEvery = "500ms"
    }
    try pair.east.connect("disk").write([1], at: 0)
    try pair.drain()
    // Until the last step of apply and the last checkpoint are over.
    Thread.sleep(forTimeInterval: 5)
    func figures() throws -> [Int] {
      try [pair.east, pair.west].map { try $0.writtenBytes() }
        + [try pair.east.counter("stamped")]
    }
    let before = try figures()
    Thread.sleep(forTimeInterval: 15)
    let after = try figures()
    #expect(after[2] == before[2], "records")
    for site in 0..<2 { #expect(after[site] - before[site] < 16 << 10) }
  }
}
