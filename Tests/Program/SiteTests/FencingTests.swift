import Foundation
import TestSupport
import Testing

/// Proves that an owner behind a broken link, which goes on while the group is failed over to the
/// other site, stops at once when the two meet, follows when that is committed, keeps what it
/// acknowledged meanwhile, and gets little more than what differs.
@Suite(.scratch) struct FencingTests {
  private static let size = 24 << 20

  private final class Scene {
    let pair: SitePair
    /// From west to east.
    let returning: CutProxy
    var generator: SeededGenerator
    /// What clients wrote at either site.
    var east = [UInt8](repeating: 0, count: FencingTests.size)
    var west: [UInt8] = []

    init(seed: UInt64, adjust: (Site, Site) -> Void = { _, _ in }) throws {
      generator = SeededGenerator(seed: testSeed(seed))
      var proxy: CutProxy?
      pair = try SitePair(disks: ["disk": FencingTests.size]) { east, west in
        let back = try CutProxy(to: east.linkPort)
        proxy = back
        west.configuration.groups[0].peer = (east.name, back.address)
        adjust(east, west)
      }
      returning = proxy!
    }

    deinit { returning.stop() }

    var linkBytes: Int { pair.cable.forwardedBytes + returning.forwardedBytes }

    func cut() { for cable in [pair.cable, returning] { cable.cut() } }
    func mend() { for cable in [pair.cable, returning] { cable.join() } }

    func write(
      _ site: Site, _ disk: inout [UInt8], count: Int, length: Int = 16 << 10
    ) throws {
      let client = try site.connect("disk")
      for _ in 0..<count {
        let offset = generator.below((disk.count - length) / 512) * 512
        let bytes = generator.bytes(length)
        try client.write(bytes, at: UInt64(offset))
        disk.replaceSubrange(offset..<offset + length, with: bytes)
      }
      try client.flush()
    }

    /// Both sites have the same, the link breaks, and both go on, each as the owner.
    func begin(breakLink: () throws -> Void) throws {
      try write(pair.east, &east, count: 200, length: 64 << 10)
      try pair.drain()
      west = east
      try breakLink()
      try write(pair.east, &east, count: 50)
      try command(["failover", "g"], at: pair.west)
      try write(pair.west, &west, count: 200)
      try write(pair.east, &east, count: 200)
    }

    @discardableResult
    func command(_ words: [String], at site: Site) throws -> JSON {
      try JSON(
        try site.tapline(words + ["--json", "--control", site.configuration.control])
          .checked().stdout)
    }

    func group(_ site: Site) throws -> JSON {
      try TaplineContract.group("g", in: try site.status())
    }

    /// The client writes what is there already, again and again, until it is refused.
    func expectStop(of client: NBDClient) throws {
      let sector = Array(east[..<512])
      var refusal: NBDClient.Failure?
      try eventually("east refuses writes") {
        do { try client.write(sector, at: 0) } catch let failure as NBDClient.Failure {
          refusal = failure
        }
        return refusal != nil
      }
      // What waited when they met ends with its connection.
      if refusal?.errno != EPERM { #expect(!client.isAlive, "\(refusal!)") }
      let another = try pair.east.connect("disk")
      for _ in 0..<20 {
        #expect { try another.write(sector, at: 0) } throws: {
          ($0 as? NBDClient.Failure)?.errno == EPERM
        }
      }
      #expect(try another.read(at: 0, count: east.count) == east)
      let text = try #require(try group(pair.east)["fenced"]?.string)
      #expect(text.contains("west"))
    }

    func expectReturn() throws {
      try command(["commit", "g"], at: pair.west)
      try eventually("east follows") {
        try group(pair.east)["duty"]?.string == "following"
          && TaplineContract.isDrained(group: "g", status: pair.west.status())
      }
      #expect(difference(try pair.west.image("disk"), west) == nil)
      #expect(difference(try pair.east.image("disk@latest"), west) == nil)
      let list = try command(["test", "list"], at: pair.east)
      let kept = (list["tests"] ?? list).elements.filter { $0["kind"]?.string == "parked" }
      let name = try #require(kept.count == 1 ? kept[0]["name"]?.string : nil, "\(list)")
      #expect(difference(try pair.east.image("disk@\(name)@latest"), east) == nil)
      #expect(!pair.east.allLogs.contains("a full copy from west"))
    }
  }

  @Test(arguments: ["0s", "1h"])
  func `both sites live behind a cut cable, and meet again`(history: String) throws {
    let scene = try Scene(seed: 91) { east, _ in
      east.configuration.groups[0].history = history
    }
    try scene.begin { scene.cut() }
    let client = try scene.pair.east.connect("disk")
    let differing = zip(scene.east, scene.west).count { $0 != $1 }
    let before = scene.linkBytes
    scene.mend()
    try scene.expectStop(of: client)
    try scene.expectReturn()
    let passed = scene.linkBytes - before
    #expect(passed <= differing * 12 / 10 + (1 << 20), "\(passed) for \(differing) that differ")
    #expect(passed > differing / 2)
    try scene.write(scene.pair.west, &scene.west, count: 20)
    try eventually("east has everything") {
      try TaplineContract.isDrained(group: "g", status: scene.pair.west.status())
    }
    #expect(difference(try scene.pair.east.image("disk@latest"), scene.west) == nil)
  }

  /// A fence outlives the process, though nobody is there to ask.
  @Test func `a fenced owner that restarts alone refuses still`() throws {
    let scene = try Scene(seed: 92)
    try scene.begin { scene.cut() }
    let client = try scene.pair.east.connect("disk")
    scene.mend()
    try scene.expectStop(of: client)
    scene.cut()
    try scene.pair.east.crash()
    try scene.pair.east.start()
    let alone = try scene.pair.east.connect("disk")
    #expect(throws: NBDClient.Failure.self) { try alone.write([1], at: 0) }
    scene.mend()
    try scene.expectReturn()
  }

  /// Though the other one has told later instants than its writes are of.
  @Test func `an owner that takes the group back is followed`() throws {
    let scene = try Scene(seed: 94)
    let (east, west) = (scene.pair.east, scene.pair.west)
    try scene.write(east, &scene.east, count: 50)
    try scene.pair.drain()
    scene.cut()
    try scene.write(east, &scene.east, count: 20)
    try scene.command(["failover", "g"], at: west)
    scene.mend()
    try eventually("east is fenced") { try scene.group(east)["fenced"] != nil }
    try scene.command(["failover", "g"], at: east)
    try scene.write(east, &scene.east, count: 20)
    try scene.command(["commit", "g"], at: west)
    try eventually("west follows, and has everything") {
      try scene.group(west)["duty"]?.string == "following"
        && TaplineContract.isDrained(group: "g", status: east.status())
    }
    #expect(difference(try west.image("disk@latest"), scene.east) == nil)
    #expect(west.allLogs.components(separatedBy: "a full copy from east begins").count == 2)
  }

  @Test func `the network between them is gone`() throws {
    if let refusal = SeparateNetworks.refusal { try skipTest(refusal) }
    let networks = try SeparateNetworks()
    let scene = try Scene(seed: 93) { east, west in
      for (number, site) in [east, west].enumerated() {
        site.launcher = networks.launcher(number)
        site.configuration.links = "{ tls: off, insecure: true }"
        site.configuration.link = "tcp:\(networks.addresses[number]):7700"
      }
      east.configuration.groups[0].peer = (west.name, west.configuration.link)
      west.configuration.groups[0].peer = (east.name, east.configuration.link)
    }
    try scene.begin { try networks.pullCable() }
    let client = try scene.pair.east.connect("disk")
    try networks.plugCable()
    try scene.expectStop(of: client)
    try scene.expectReturn()
  }
}
