import Foundation
import TestSupport
import Testing

/// Proves that `tapline:changed-since:INSTANT` is complete across a change of owner, or refused
/// with words: at the site that takes over, at the owner that comes back, and of what is parked.
@Suite(.scratch, .requires("nbdinfo")) struct ForkChangesTests {
  private static let size = 4 << 20

  private struct Scene {
    let pair: SitePair
    var generator = SeededGenerator(seed: testSeed(71))
    /// Of the disk in the order that is the group's.
    var plain = PlainHistory(size: ForkChangesTests.size)

    init() throws {
      pair = try SitePair(disks: ["disk": ForkChangesTests.size], history: "1h") { east, west in
        for site in [east, west] {
          site.configuration.groups[0].history = "1h"
          site.configuration.groups[0].segmentSize = "1M"
        }
      }
    }

    mutating func drive(_ site: Site) throws -> UInt64 {
      let client = try site.connect("disk")
      try plain.drive(client, count: 25, maximumLength: 60_000, using: &generator)
      try client.flush()
      return quietInstant()
    }

    func command(_ words: String..., at site: Site) throws {
      try site.tapline(words + ["--control", site.configuration.control]).checked()
    }

    func waitUntilOffered(_ instant: UInt64, at site: Site) throws {
      try eventually("\(site.name) offers the instant") {
        (try? site.connect("disk@\(rfc3339(instant))")) != nil
      }
    }

    private func context(_ instant: UInt64) -> String {
      "tapline:changed-since:\(rfc3339(instant))"
    }

    /// An old copy and what changed since make the export.
    func expectComplete(
      since instant: UInt64, _ old: [UInt8], at site: Site, _ export: String = "disk"
    ) throws {
      let shown = try site.image(export)
      let map = try BlockMap(site.uri(export), context(instant))
      var copy = old
      for run in map.runs where run.flags == 1 {
        let range = run.offset..<run.offset + run.length
        copy.replaceSubrange(range, with: shown[range])
      }
      #expect(difference(copy, shown) == nil, "\(export) at \(site.name)")
      #expect(map.byteCount == shown.count && map.runs.contains { $0.flags == 0 })
    }

    /// The client is not told less than there is.
    func expectRefused(since instant: UInt64, at site: Site, _ export: String = "disk") throws {
      let session = try RawSession(
        site.socket, export, .structured, contexts: [context(instant), "base:allocation"])
      #expect(Set(session.contexts.keys) == ["base:allocation"], "\(export) at \(site.name)")
      let words = try site.refusal(of: "disk@\(rfc3339(instant))")
      #expect(
        words?.contains("gap") == true || words?.contains("history") == true, "\(words ?? "")")
    }
  }

  @Test func `what changed since before a fork is complete, and since a gap it is refused`() throws
  {
    var scene = try Scene()
    let (east, west) = (scene.pair.east, scene.pair.west)
    let first = try scene.drive(east)
    let fork = try scene.drive(east)
    let images = [first, fork].map { [plain = scene.plain] in plain.image(at: $0) }
    let before = scene.plain
    let lost = try scene.drive(east)
    let tail = scene.plain.image()
    try scene.pair.drain()
    // What nobody was told of need not be kept.
    try scene.waitUntilOffered(lost, at: west)
    try scene.command("failover", "g", "--at", rfc3339(fork), at: west)
    let name = try #require(
      TaplineContract.group("g", in: west.status())["failover"]?["parked_name"]?.string)
    scene.plain = PlainHistory(base: before.image(at: fork))
    let later = try scene.drive(west)
    let own = scene.plain.image()
    _ = try scene.drive(west)
    for when in ["pending", "after a kill", "committed"] {
      if when == "after a kill" {
        try west.crash()
        try west.start()
      }
      if when == "committed" { try scene.command("commit", "g", at: west) }
      try scene.expectComplete(since: first, images[0], at: west)
      try scene.expectComplete(since: fork, images[1], at: west)
      try scene.expectComplete(since: later, own, at: west)
      try scene.expectRefused(since: lost, at: west)
      // What is parked is told since its own instants, and those of the group before it.
      let parked = "disk@\(name)@latest"
      #expect(try difference(west.image(parked), tail) == nil)
      try scene.expectComplete(since: fork, images[1], at: west, parked)
      try scene.expectComplete(since: first, images[0], at: west, parked)
      try scene.expectComplete(
        since: first, images[0], at: west, "disk@\(name)@\(rfc3339(lost))")
    }
    let list = try run("nbdinfo", ["--list", "--json", "nbd+unix:///?socket=\(west.socket)"])
    let exports = try JSON(list.checked().stdout)["exports"]?.elements ?? []
    let named = exports.compactMap { $0["export-name"]?.string }
    #expect(named.sorted() == ["disk", "disk@\(name)@latest"])
    // The owner that was has kept what both have.
    try eventually("east follows, and has everything") {
      try TaplineContract.isDrained(group: "g", status: west.status())
    }
    try scene.expectComplete(since: first, images[0], at: east, "disk@latest")
    try scene.expectRefused(since: lost, at: east, "disk@latest")
    let joint = quietInstant()
    let image = scene.plain.image()
    _ = try scene.drive(west)
    try eventually("east has it") {
      try TaplineContract.isDrained(group: "g", status: west.status())
    }
    try scene.expectComplete(since: joint, image, at: east, "disk@latest")
  }

  @Test func `after a rollback the owner's order is complete again`() throws {
    var scene = try Scene()
    let (east, west) = (scene.pair.east, scene.pair.west)
    let first = try scene.drive(east)
    let image = scene.plain.image()
    let second = try scene.drive(east)
    let another = scene.plain.image()
    try scene.pair.drain()
    try scene.command("failover", "g", "--at", rfc3339(first), at: west)
    let client = try west.connect("disk")
    var aside = PlainHistory(base: image)
    try aside.drive(client, count: 20, maximumLength: 60_000, using: &scene.generator)
    try client.flush()
    let pending = quietInstant()
    try scene.waitUntilOffered(pending, at: west)
    try scene.command("rollback", "g", at: west)
    try eventually("east writes") {
      try TaplineContract.group("g", in: east.status())["fenced"] == nil
    }
    _ = try scene.drive(east)
    try scene.pair.drain()
    for (instant, old) in [(first, image), (second, another)] {
      try scene.expectComplete(since: instant, old, at: west, "disk@latest")
    }
    try scene.expectRefused(since: pending, at: west, "disk@latest")
    let rolledBack = "disk@rolled-back-g-2@latest"
    #expect(try difference(west.image(rolledBack), aside.image()) == nil)
    try scene.expectComplete(since: first, image, at: west, rolledBack)
  }
}
