import Foundation
import TestSupport
import Testing

/// Proves that a group with two recovery sites gives each everything, that what happens to one does
/// not hold up the other, and that a full journal treats each as its own `on_full` says.
@Suite(.scratch) struct SeveralPeersTests {
  private static let size = 8 << 20
  private static let sectors = size / 512

  /// One protected site, with a link to each of two.
  private final class Scene {
    let scratch: ScratchDirectory
    let east: Site
    let west: Site
    let south: Site

    init(journal: String = "256M", west westPolicy: String? = nil, south southPolicy: String? = nil)
      throws
    {
      scratch = try ScratchDirectory()
      east = try Site("east", in: scratch)
      west = try Site("west", in: scratch)
      south = try Site("south", in: scratch)
      try east.addDisk("disk", size: SeveralPeersTests.size, role: .protected)
      east.configuration.groups[0].segmentSize = "1M"
      east.configuration.groups[0].journalCapacity = journal
      for (site, policy) in [(west, westPolicy), (south, southPolicy)] {
        try site.addDisk("disk", size: SeveralPeersTests.size, role: .recovery)
        site.configuration.groups[0].peer = (east.name, east.configuration.link)
        site.configuration.groups[0].history = "1h"
        site.configuration.groups[0].segmentSize = "1M"
        let onFull = policy.map { ", on_full: \($0)" } ?? ""
        east.configuration.groups[0].peers.append(
          "{ site: \(site.name), address: \"\(site.configuration.link)\"\(onFull) }")
      }
      for site in [west, south, east] { try site.start() }
      for site in [west, south] { try drain(site) }
    }

    func link(to site: Site) throws -> JSON {
      let links = try TaplineContract.group("g", in: east.status())["links"]
      return try #require(links?.elements.first { $0["peer_site"]?.string == site.name })
    }

    func has(_ site: Site) throws -> Bool {
      let link = try link(to: site)
      guard link["rpo_seconds"]?.number != nil, let durable = link["peer_durable"]?.integer
      else { return false }
      return try durable >= east.counter("stamped")
    }

    /// Waits until it has durably all that was written.
    func drain(_ site: Site) throws {
      try eventually("\(site.name) has everything") { try has(site) }
    }

    /// What is told of it.
    func conditions(of site: Site) throws -> [String] {
      let group = try TaplineContract.group("g", in: east.status())
      return (group["conditions"]?.elements ?? []).filter { $0["peer"]?.string == site.name }
        .compactMap { $0["code"]?.string }
    }

    func expectSame(_ sites: [Site], _ export: String = "disk@latest") throws {
      let own = try east.image("disk")
      for site in sites { #expect(difference(try site.image(export), own) == nil) }
    }
  }

  @Test func `both have everything, and open the same instants byte for byte`() throws {
    let scene = try Scene()
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(scene.east.uri("disk"), history: history)
    var instants: [UInt64] = []
    for _ in 0..<3 {
      try load.makeProgress(300)
      instants.append(wallClockNanoseconds())
    }
    try load.makeProgress(100)
    try load.stop()
    #expect(load.failure == nil)
    for site in [scene.west, scene.south] { try scene.drain(site) }
    try scene.expectSame([scene.west, scene.south])
    for instant in instants {
      let export = "disk@\(rfc3339(instant))"
      let seen = try scene.west.image(export)
      #expect(history.violations(in: seen, at: instant) == [])
      #expect(difference(try scene.south.image(export), seen) == nil)
    }
    // With several there is no `link`, and no marks of `the` peer.
    let group = try TaplineContract.group("g", in: scene.east.status())
    #expect(group["link"] == nil && group["watermarks"]?["peer_durable"] == nil)
    #expect(group["health"]?.string == "ok")
  }

  @Test func `one dies, the other goes on, and the journal keeps what the dead one lacks`() throws {
    let scene = try Scene()
    try scene.south.crash()
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(scene.east.uri("disk"), history: history)
    try load.makeProgress(500)
    try load.stop()
    try scene.drain(scene.west)
    try scene.expectSame([scene.west])
    try eventually("it is told of the dead one") {
      try scene.conditions(of: scene.south) == ["link-down"]
    }
    #expect(try scene.conditions(of: scene.west) == [])
    // A restart and another process know how far each is.
    try scene.east.stop()
    try scene.east.start()
    try scene.east.takeOver()
    try scene.south.start()
    try scene.drain(scene.south)
    try scene.drain(scene.west)
    try scene.expectSame([scene.west, scene.south])
    // Only the one with which it began.
    #expect(scene.east.allLogs.components(separatedBy: "copy to south begins").count == 2)
  }

  @Test func `a full journal drops the one that may be dropped, and it is copied`() throws {
    let scene = try Scene(journal: "16M", west: "block", south: "degrade")
    try scene.south.crash()
    let client = try scene.east.connect("disk")
    try overrun(client, scene)
    #expect(scene.east.log.contains("that south has not received; they are dropped"))
    #expect(!scene.east.log.contains("that west has not received"))
    #expect(try scene.conditions(of: scene.south).contains("peer-must-be-copied"))
    try scene.drain(scene.west)
    try scene.expectSame([scene.west])
    try scene.south.start()
    try scene.drain(scene.south)
    try scene.expectSame([scene.west, scene.south])
  }

  @Test func `a full journal waits for the one that says so`() throws {
    let scene = try Scene(journal: "16M", west: "degrade", south: "block")
    try scene.south.crash()
    let load = WriteLoad(
      scene.east.uri("disk"), history: WriteHistory(sectors: Self.sectors))
    try eventually("writes wait for south") {
      let group = try TaplineContract.group("g", in: scene.east.status())
      return (group["conditions"]?.elements ?? []).contains {
        $0["code"]?.string == "writes-wait"
          && $0["text"]?.string?.contains("south has not received") == true
      }
    }
    #expect(!scene.east.log.contains("they are dropped"))
    try scene.south.start()
    try load.makeProgress(100)
    try load.stop()
    #expect(load.failure == nil)
    for site in [scene.west, scene.south] { try scene.drain(site) }
    try scene.expectSame([scene.west, scene.south])
  }

  @Test func `which of several is meant is not guessed`() throws {
    let scene = try Scene()
    let east = scene.east.configuration
    let unnamed = try scene.east.tapline(TaplineContract.discardFollower(group: "g", site: east))
    #expect(unnamed.status == 1 && unnamed.stderr.contains("name one with --peer (west, south)"))
    let other = try scene.east.tapline(
      TaplineContract.discardFollower(group: "g", peer: "north", site: east))
    #expect(other.status == 1 && other.stderr.contains("has no peer 'north'; it has west, south"))
    let agreed = try scene.east.tapline(
      TaplineContract.discardFollower(group: "g", peer: "south", site: east))
    #expect(agreed.status == 1 && agreed.stderr.contains("has not diverged from south"))
  }

  /// Writes until the journal has given up somebody's records.
  private func overrun(_ client: NBDClient, _ scene: Scene) throws {
    let block = [UInt8](repeating: 5, count: 1 << 20)
    try eventually("the journal gave up records") {
      for index in 0..<4 { try client.write(block, at: UInt64(index) << 20) }
      return scene.east.log.contains("they are dropped")
    }
  }
}
