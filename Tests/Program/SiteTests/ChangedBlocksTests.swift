import Foundation
import TestSupport
import Testing

/// Proves that `tapline:changed-since:INSTANT` names all that changed after an instant, and hardly
/// more, so that a backup tool may read only that; at both sites, for disks and for views.
@Suite(.scratch) struct ChangedBlocksTests {
  typealias Run = BlockMap.Run
  private static let size = 4 << 20

  private func since(_ instant: UInt64) -> String { "tapline:changed-since:\(rfc3339(instant))" }

  @Test(.requires("nbdinfo"))
  func `an old copy and what changed since make the new disk, between any two instants`() throws {
    let pair = try SitePair(disks: ["disk": Self.size], history: "1h") { east, west in
      for site in [east, west] {
        site.configuration.groups[0].history = "1h"
        site.configuration.groups[0].segmentSize = "1M"
      }
    }
    let client = try pair.east.connect("disk")
    var plain = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(1))
    var instants: [UInt64] = []
    for _ in 0..<5 {
      instants.append(quietInstant())
      try plain.drive(client, count: 25, maximumLength: 60_000, using: &generator)
    }
    instants.append(quietInstant())
    try pair.drain()
    for site in [pair.east, pair.west] {
      // In an order in which later questions find the generations that earlier ones closed.
      for (old, new) in [(0, 5), (2, 3), (1, 4), (4, 5), (3, 3), (0, 1)] {
        let view = site.uri("disk@\(rfc3339(instants[new]))")
        let map = try BlockMap(view, since(instants[old]))
        #expect(map.byteCount == Self.size)
        let target = plain.image(at: instants[new])
        var copy = plain.image(at: instants[old])
        for run in map.runs where run.flags == 1 {
          let range = run.offset..<run.offset + run.length
          copy.replaceSubrange(range, with: target[range])
        }
        #expect(difference(copy, target) == nil, "\(site.name) \(old) to \(new)")
      }
    }
  }

  @Test(.requires("nbdinfo"))
  func `what changed since any instant before or after a test began makes its disk`() throws {
    let single = try SingleSite(history: "1h")
    let site = single.site
    let client = try site.connect("disk")
    var plain = PlainHistory(base: try site.image("disk"))
    var generator = SeededGenerator(seed: testSeed(11))
    func test(_ words: String...) throws {
      try site.tapline(["test"] + words + ["--control", site.configuration.control]).checked()
    }
    var olds: [(instant: UInt64, image: [UInt8])] = []
    for _ in 0..<3 {
      try plain.drive(client, count: 20, maximumLength: 60_000, using: &generator)
      olds.append((quietInstant(), plain.image()))
    }
    try plain.drive(client, count: 5, maximumLength: 60_000, using: &generator)
    // It begins between two of them.
    try test("start", "g", "--name", "t", "--at", rfc3339(olds[1].instant))
    let tried = try site.connect("disk@t")
    var branch = PlainHistory(base: olds[1].image)
    try branch.drive(tried, count: 10, maximumLength: 60_000, using: &generator)
    let later = (instant: quietInstant(), image: branch.image())
    try branch.drive(tried, count: 10, maximumLength: 60_000, using: &generator)
    let uri = site.uri("disk@t")
    for (instant, image) in [olds[0], olds[1], later] {
      let map = try BlockMap(uri, since(instant))
      var copy = image
      let target = branch.image()
      for run in map.runs where run.flags == 1 {
        let range = run.offset..<run.offset + run.length
        copy.replaceSubrange(range, with: target[range])
      }
      #expect(difference(copy, target) == nil, "since \(rfc3339(instant))")
      #expect(map.runs.contains { $0.flags == 0 })
    }
    #expect(try branch.image() == site.image("disk@t"))
    // What neither has is not offered; and the group was not what the test is when it began.
    for instant in [1_000_000_000, olds[2].instant] {
      let listed = try run("nbdinfo", ["--map=\(since(instant))", uri])
      #expect(listed.status != 0)
    }
  }

  @Test(.requires("nbdinfo")) func `only what was written after the instant is named`() throws {
    let single = try SingleSite(history: "1h")
    let client = try single.site.connect("disk")
    try client.write([UInt8](repeating: 1, count: 1 << 20), at: 0)
    let instant = quietInstant()
    try client.write([1], at: 5)
    try client.zero(at: 1 << 20, count: 4096)
    try client.trim(at: 2 << 20, count: 8192)
    let end = quietInstant()
    try client.write([UInt8](repeating: 2, count: 1 << 20), at: 4 << 20)
    let changed = [(0, 512), (1 << 20, 4096), (2 << 20, 8192)]
    let later = [(4 << 20, 1 << 20)]
    let view = try BlockMap(single.site.uri("disk@\(rfc3339(end))"), since(instant))
    #expect(
      view.runs.filter { $0.flags == 1 }.map { [$0.offset, $0.length] }
        == changed.map { [$0.0, $0.1] })
    let live = try BlockMap(single.uri, since(instant))
    #expect(
      live.runs.filter { $0.flags == 1 }.map { [$0.offset, $0.length] }
        == (changed + later).map { [$0.0, $0.1] })
  }

  @Test func `what is written while a client looks is named, though apply goes on`() throws {
    let single = try SingleSite()
    let context = "tapline:changed-since:latest"
    let writer = try single.site.connect("disk")
    try writer.write([1], at: 0)
    let session = try RawSession(single.site.socket, "disk", .structured, contexts: [context])
    #expect(try changedEnd(session) == 0)
    for round in 1...20 as ClosedRange<UInt64> {
      try writer.write([UInt8](repeating: 1, count: 4096), at: (round - 1) * 4096)
      try single.site.checkpoint("round").checked()
      #expect(try changedEnd(session) == round * 4096)
    }
    session.send(2, cookie: 0, length: 0)
    #expect(try session.isClosedByPeer())
    try writer.write([1], at: 0)
    try eventually("apply has gone past what the client held") {
      try single.site.counter("applied") >= single.site.counter("stamped") - 1
    }
  }

  /// Where the changed bytes from the start of the disk end.
  private func changedEnd(_ session: RawSession) throws -> UInt64 {
    session.send(7, cookie: 1, length: 8 << 20)
    let payload = try #require(try session.reply().first?.payload)
    return number(payload[8..<12]) == 1 ? number(payload[4..<8]) : 0
  }

  @Test(.requires("nbdinfo")) func `instants outside of the history are not offered`() throws {
    let single = try SingleSite(history: "1h")
    try single.site.connect("disk").write([1], at: 0)
    let refused = [
      "1970-01-02T00:00:00Z", "2200-01-01T00:00:00Z", "-10h", "checkpoint:none", "sometime", "",
    ]
    for instant in refused {
      let session = try RawSession(
        single.site.socket, "disk", .structured,
        contexts: ["tapline:changed-since:\(instant)", "base:allocation"])
      #expect(Set(session.contexts.keys) == ["base:allocation"], "\(instant)")
    }
    // Later than the view that it is asked of.
    let before = quietInstant()
    let after = quietInstant()
    let session = try RawSession(
      single.site.socket, "disk@\(rfc3339(before))", .structured, contexts: [since(after)])
    #expect(session.contexts.isEmpty)
  }

  @Test(.requires("nbdinfo")) func `the contexts of a disk are listed`() throws {
    let single = try SingleSite()
    let info = try JSON(try run("nbdinfo", ["--json", single.uri]).checked().stdout)
    let contexts = info["exports"]?.elements.first?["contexts"]?.elements.map(\.string)
    #expect(contexts == ["base:allocation", "tapline:changed-since:"])
  }
}
