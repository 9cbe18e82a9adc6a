import Foundation
import TestSupport
import Testing

/// Proves that `tapline move` gives a group to the other site and back while a client writes all
/// the time: nothing that was acknowledged is lost or out of order, nothing is copied, and whatever
/// is killed meanwhile, one of the two sites acknowledges afterwards.
@Suite(.scratch) struct MoveTests {
  private static let sectors = 16384

  private struct Scene {
    let pair: SitePair
    let history = WriteHistory(sectors: MoveTests.sectors)

    init() throws { pair = try SitePair() }

    var sites: [Site] { [pair.east, pair.west] }

    func client(seed: UInt64) -> RoamingClient {
      RoamingClient(sites.map { $0.uri("disk") }, history: history, seed: testSeed(seed))
    }

    func command(_ words: [String], at site: Site) throws -> Finished {
      try site.tapline(words + ["--control", site.configuration.control])
    }

    func group(_ site: Site) throws -> JSON {
      try TaplineContract.group("g", in: try site.status())
    }

    func isOwning(_ site: Site) throws -> Bool {
      let group = try group(site)
      return group["duty"]?.string == "owning" && group["fenced"] == nil && group["closed"] == nil
    }

    /// Waits until one of the two owns the group and the other one follows it, in step.
    func owner() throws -> Site {
      var found: Site?
      try eventually("one of the two owns the group, and the other follows") {
        let owning = try sites.filter(isOwning)
        guard owning.count == 1 else { return false }
        found = owning[0]
        return try isInStep(found!)
      }
      return try #require(found)
    }

    func isInStep(_ owner: Site) throws -> Bool {
      let group = try group(owner)
      return group.first("rpo_seconds")?.number != nil
        && group.first("link")?["state"]?.string == "connected"
    }

    func other(than site: Site) -> Site { site === pair.east ? pair.west : pair.east }

    /// While nobody writes.
    func expectAgreement(_ when: String) throws {
      let owner = try owner()
      try eventually("the follower has everything") {
        try TaplineContract.isDrained(group: "g", status: owner.status())
      }
      let image = try owner.image("disk")
      #expect(history.violations(in: image) == [], "\(when)")
      let other = other(than: owner)
      #expect(difference(try other.image("disk@latest"), image) == nil, "\(when)")
      #expect((try? other.connect("disk")) == nil, "both serve the disk, \(when)")
      let copies = (pair.east.allLogs + pair.west.allLogs).components(
        separatedBy: "the full copy is complete")
      #expect(copies.count == 2, "\(copies.count - 1) full copies, \(when)")
    }
  }

  @Test func `a group goes there and back under a client that writes all the time`() throws {
    let scene = try Scene()
    let client = scene.client(seed: 81)
    var instants: [UInt64] = []
    for round in 0..<4 {
      try client.makeProgress(300)
      let site = try scene.owner()
      #expect(site === scene.sites[round % 2])
      // The way back has a name of its own.
      let verb = round % 2 == 0 ? "move" : "failback"
      let answer = try JSON(try scene.command([verb, "g", "--json"], at: site).checked().stdout)
      #expect(answer["state"]?.string == "moved")
      #expect(answer["to"]?.string == scene.other(than: site).name)
      #expect(try #require(answer["pause_seconds"]?.number) > 0)
      instants.append(wallClockNanoseconds())
    }
    try client.makeProgress(300)
    try client.stop()
    #expect(client.refusals >= 4)
    try scene.expectAgreement("after four moves")
    for (round, instant) in instants.enumerated() {
      let view = try scene.pair.west.image("disk@\(rfc3339(instant))")
      #expect(scene.history.violations(in: view, at: instant) == [], "after move \(round)")
    }
  }

  @Test func `what cannot be is refused, and clients go on`() throws {
    let scene = try Scene()
    let (east, west) = (scene.pair.east, scene.pair.west)
    let client = scene.client(seed: 82)
    func expectRefusal(_ words: String..., at site: Site, saying text: String) throws {
      let refused = try scene.command(words, at: site)
      #expect(refused.status == 1 && refused.stderr.contains(text), "\(refused)")
      try client.makeProgress(20)
    }
    let planned = try JSON(
      try scene.command(["move", "g", "--dry-run", "--json"], at: east).checked().stdout)
    #expect(planned["state"]?.string == "planned" && planned["to"]?.string == "west")
    try client.makeProgress(20)
    try expectRefusal("move", "g", at: west, saying: "east")
    try expectRefusal("move", "g", "--to", "nobody", at: east, saying: "nobody")
    try expectRefusal("move", "nobody", at: east, saying: "nobody")
    scene.pair.cable.cut()
    try eventually("the link is down") {
      try scene.group(east).first("link")?["state"]?.string != "connected"
    }
    try expectRefusal("move", "g", at: east, saying: "the link is")
    scene.pair.cable.join()
    try eventually("they have met again") { try scene.isInStep(east) }
    // It answers nothing, and the link has not noticed yet. The journal may fill up meanwhile.
    west.signal(SIGSTOP)
    try client.makeProgress(50)
    let late = try scene.command(["move", "g"], at: east)
    #expect(late.status == 1 && late.stderr.contains("lacks"), "\(late)")
    west.signal(SIGCONT)
    try client.makeProgress(20)
    try client.stop()
    try scene.expectAgreement("after refusals")
    try scene.command(["failover", "g"], at: west).checked()
    let pending = try scene.command(["move", "g"], at: west)
    #expect(pending.status == 1 && pending.stderr.contains("commit"), "\(pending)")
    let fenced = try scene.command(["move", "g"], at: east)
    #expect(fenced.status == 1, "\(fenced)")
    try scene.command(["rollback", "g"], at: west).checked()
    try scene.expectAgreement("after a rollback")
  }

  /// At any moment of it.
  @Test func `a kill of either site in the middle`() throws {
    let scene = try Scene()
    var generator = SeededGenerator(seed: testSeed(83))
    let client = scene.client(seed: 83)
    var moves = 0
    for round in 0..<testRounds(6) {
      try client.makeProgress(50)
      let owner = try scene.owner()
      let move = try ChildProcess(
        try TaplineBinary.path(), ["move", "g", "--control", owner.configuration.control],
        name: "move-\(round)", logs: scene.pair.scratch)
      Thread.sleep(forTimeInterval: Double(generator.below(400)) / 1000)
      let victim = scene.sites[generator.below(2)]
      try victim.crash()
      try victim.start()
      try move.wait()
      if try scene.owner() !== owner { moves += 1 }
      try client.makeProgress(50)
      // Whoever does not own it acknowledges nothing.
      let other = scene.other(than: try scene.owner())
      #expect((try? other.connect("disk").write([1], at: 0)) == nil)
    }
    try client.stop()
    try scene.expectAgreement("after \(moves) moves")
  }
}
