import Foundation
import TestSupport
import Testing

/// Proves that `tapline failover` serves a group at the recovery site as it was at any instant,
/// that nothing which had arrived there is lost by that, and that the way back needs no copy;
/// whatever becomes of the site meanwhile.
@Suite(.scratch) struct FailoverTests {
  private static let size = 6 << 20
  private static let names = ["a", "b"]

  /// Two sites with a link, what clients wrote at east, and what west must show of it.
  private struct Scene {
    let pair: SitePair
    var generator: SeededGenerator
    /// Of the disks at east.
    var histories = FailoverTests.names.map { _ in PlainHistory(size: FailoverTests.size) }

    init(seed: UInt64) throws {
      generator = SeededGenerator(seed: testSeed(seed))
      pair = try SitePair(disks: ["a": FailoverTests.size, "b": FailoverTests.size]) {
        east, west in
        for site in [east, west] { site.configuration.groups[0].segmentSize = "1M" }
      }
    }

    var east: Site { pair.east }
    var west: Site { pair.west }

    /// What the disks showed at an instant; nil: what they show now.
    func images(at instant: UInt64 = .max) -> [[UInt8]] { histories.map { $0.image(at: instant) } }

    /// Random requests of clients at east.
    mutating func drive(_ count: Int = 30) throws {
      for (index, name) in FailoverTests.names.enumerated() {
        try histories[index].drive(
          try east.connect(name), count: count, maximumLength: 60_000, using: &generator)
      }
    }

    /// Three times as much, with instants between, all of which has arrived at west.
    mutating func drivenInstants() throws -> (first: UInt64, second: UInt64) {
      try drive()
      let first = quietInstant()
      try drive()
      let second = quietInstant()
      try drive()
      try pair.drain()
      return (first, second)
    }

    /// Random requests of clients at west, which may write there.
    mutating func drive(_ served: inout [PlainHistory], _ count: Int = 30) throws {
      for (index, name) in FailoverTests.names.enumerated() {
        let client = try west.connect(name)
        try served[index].drive(client, count: count, maximumLength: 60_000, using: &generator)
        try client.flush()
      }
    }

    func command(_ words: [String]) throws -> Finished {
      try west.tapline(words + ["--control", west.configuration.control])
    }

    @discardableResult
    func answer(_ words: String...) throws -> JSON {
      try JSON(try command(words + ["--json"]).checked().stdout)
    }

    func group(_ site: Site) throws -> JSON {
      try TaplineContract.group("g", in: try site.status())
    }

    /// How often west was copied to as a whole.
    var copies: Int { west.allLogs.components(separatedBy: "the full copy is complete").count - 1 }

    func expect(_ images: [[UInt8]], as suffix: String = "", _ when: String) throws {
      for (name, image) in zip(FailoverTests.names, images) {
        let export = name + suffix
        try eventually("\(export) is open") { (try? west.connect(export)) != nil }
        #expect(difference(try west.image(export), image) == nil, "\(export) \(when)")
      }
    }

    /// It has heard of a rollback.
    func waitUntilEastWrites() throws {
      try eventually("east is fenced no more") { try group(east)["fenced"] == nil }
    }

    func killWest() throws {
      try west.crash()
      try west.start()
    }
  }

  @Test func `the newest instant is served, written to, and kept`() throws {
    var scene = try Scene(seed: 61)
    try scene.drive()
    try scene.pair.drain()
    #expect((try? scene.west.connect("a")) == nil)
    try scene.east.crash()
    let status = try scene.answer("failover", "g")
    #expect(status["state"]?.string == "pending")
    #expect(status["exports"]?.elements.compactMap(\.string) == Self.names)
    // When the command has ended, they are served.
    for name in Self.names { #expect(try scene.west.connect(name).isReadOnly == false) }
    try scene.expect(scene.images(), "after the failover")
    var served = scene.images().map(PlainHistory.init(base:))
    try scene.drive(&served)
    #expect(try scene.answer("commit", "g")["state"]?.string == "committed")
    try scene.drive(&served)
    try scene.expect(served.map { $0.image() }, "after the commit")
    let group = try scene.group(scene.west)
    #expect(group["duty"]?.string == "owning" && group["failover"] == nil)
    #expect(scene.copies == 1)
  }

  @Test func `an earlier instant is served, and what came after it can be opened`() throws {
    var scene = try Scene(seed: 62)
    let (first, second) = try scene.drivenInstants()
    try scene.east.crash()
    let at = rfc3339(first)
    let planned = try scene.answer("failover", "g", "--at", at, "--dry-run")
    #expect(planned["state"]?.string == "planned")
    #expect(try scene.group(scene.west)["duty"]?.string == "following")
    let status = try scene.answer("failover", "g", "--at", at, "--note", "ransomware")
    for member in ["parked_records", "parked_bytes"] {
      #expect(try #require(status[member]?.integer) > 0, "\(member)")
      #expect(status[member] == planned[member], "\(member)")
    }
    let parked = try #require(status["parked_name"]?.string)
    // Else there would be no way back.
    #expect(try scene.command(["test", "stop", parked, "--parked"]).status == 1)
    try scene.expect(scene.images(at: first), "after the failover")
    var served = scene.images(at: first).map(PlainHistory.init(base:))
    try scene.drive(&served)
    for when in ["pending", "committed", "after a kill"] {
      if when == "committed" { try scene.answer("commit", "g") }
      if when == "after a kill" { try scene.killWest() }
      try scene.expect(scene.images(), as: "@\(parked)@latest", when)
      try scene.expect(scene.images(at: second), as: "@\(parked)@\(rfc3339(second))", when)
      try scene.expect(served.map { $0.image() }, when)
    }
    // Of an instant before the fork there is one history.
    try scene.expect(scene.images(at: first), as: "@\(at)", "as a view")
    #expect((try? scene.west.connect("a@\(parked)@latest").write([1], at: 0)) == nil)
    try scene.command(["test", "stop", parked, "--parked"]).checked()
    #expect((try? scene.west.connect("a@\(parked)@latest")) == nil)
    try scene.expect(served.map { $0.image() }, "when nothing is parked any more")
  }

  @Test func `after a rollback the owner is followed again, without a copy`() throws {
    var scene = try Scene(seed: 63)
    let (first, _) = try scene.drivenInstants()
    try scene.answer("failover", "g", "--at", rfc3339(first))
    // They have met: east reads, and refuses to write.
    try eventually("east is fenced") { try scene.group(scene.east)["fenced"] != nil }
    let fenced = try scene.east.connect("a")
    #expect(throws: NBDClient.Failure.self) { try fenced.write([1], at: 0) }
    #expect(try fenced.read(at: 0, count: Self.size) == scene.images()[0])
    var served = scene.images(at: first).map(PlainHistory.init(base:))
    try scene.drive(&served)
    let client = try scene.west.connect("a")
    let back = try scene.answer("rollback", "g")
    #expect(back["state"]?.string == "rolled-back")
    #expect((try? client.read(at: 0, count: 1)) == nil)
    #expect((try? scene.west.connect("a")) == nil)
    let parked = try #require(back["parked_name"]?.string)
    try scene.expect(served.map { $0.image() }, as: "@\(parked)@latest", "parked")
    try scene.waitUntilEastWrites()
    try scene.drive()
    try scene.pair.drain()
    try scene.expect(scene.images(), as: "@latest", "followed again")
    try scene.expect(scene.images(at: first), as: "@\(rfc3339(first))", "followed again")
    #expect(scene.copies == 1)
    // The next one is served all the same, and what was parked by the first stays.
    try scene.answer("failover", "g", "--commit", "now")
    try scene.expect(scene.images(), "after another failover")
    try scene.expect(served.map { $0.image() }, as: "@\(parked)@latest", "parked, still")
  }

  @Test func `what was written may be discarded by a rollback`() throws {
    var scene = try Scene(seed: 64)
    try scene.drive()
    try scene.pair.drain()
    scene.pair.separate()
    try scene.answer("failover", "g")
    var served = scene.images().map(PlainHistory.init(base:))
    try scene.drive(&served)
    let planned = try scene.answer("rollback", "g", "--dry-run")
    #expect(planned["state"]?.string == "planned")
    #expect(try #require(planned["parked_records"]?.integer) > 0)
    try scene.expect(served.map { $0.image() }, "after a dry run")
    #expect(try scene.answer("rollback", "g", "--discard")["parked_name"]?.string == nil)
    // East has never heard of it.
    try scene.drive()
    scene.pair.rejoin()
    try scene.pair.drain()
    try scene.expect(scene.images(), as: "@latest", "followed again")
    #expect(scene.copies == 1)
  }

  @Test func `kills of the site lose nothing, while it is pending and after each way out`() throws {
    var scene = try Scene(seed: 65)
    let (first, _) = try scene.drivenInstants()
    scene.pair.separate()
    let parked = try #require(
      try scene.answer("failover", "g", "--at", rfc3339(first))["parked_name"]?.string)
    var served = scene.images(at: first).map(PlainHistory.init(base:))
    for round in 0..<3 {
      try scene.drive(&served)
      try scene.killWest()
      try scene.expect(served.map { $0.image() }, "pending, after kill \(round)")
      try scene.expect(scene.images(), as: "@\(parked)@latest", "parked, after kill \(round)")
      #expect(try scene.group(scene.west)["failover"]?["state"]?.string == "pending")
    }
    let written = try #require(try scene.answer("rollback", "g")["parked_name"]?.string)
    try scene.killWest()
    try scene.expect(scene.images(), as: "@latest", "rolled back, after a kill")
    try scene.expect(served.map { $0.image() }, as: "@\(written)@latest", "parked, after a kill")
    try scene.answer("failover", "g", "--at", rfc3339(first))
    served = scene.images(at: first).map(PlainHistory.init(base:))
    try scene.drive(&served)
    try scene.answer("commit", "g")
    try scene.drive(&served)
    try scene.killWest()
    try scene.expect(served.map { $0.image() }, "committed, after a kill")
    #expect(try scene.group(scene.west)["duty"]?.string == "owning")
    #expect(scene.copies == 1)
  }

  /// As it may end between any two of its steps.
  @Test(arguments: [1, 10, 40, 120, 400])
  func `a kill while the command runs leaves it done or undone`(milliseconds: Int) throws {
    var scene = try Scene(seed: 66)
    let (first, _) = try scene.drivenInstants()
    scene.pair.separate()
    let words = ["failover", "g", "--at", rfc3339(first)]
    let command = try ChildProcess(
      try TaplineBinary.path(), words + ["--control", scene.west.configuration.control],
      name: "failover", logs: scene.pair.scratch)
    Thread.sleep(forTimeInterval: Double(milliseconds) / 1000)
    try scene.killWest()
    try command.wait()
    if try scene.group(scene.west)["failover"] == nil {
      try scene.expect(scene.images(), as: "@latest", "undone")
      try scene.command(words).checked()
    }
    try scene.expect(scene.images(at: first), "done")
    try scene.answer("rollback", "g")
    try scene.expect(scene.images(), as: "@latest", "rolled back")
    scene.pair.rejoin()
    try scene.drive()
    try scene.pair.drain()
    try scene.expect(scene.images(), as: "@latest", "followed again")
    #expect(scene.copies == 1)
  }

  @Test(.requires("qemu-io", "nbdsh", "nbdcopy"))
  func `the clients that people use notice no commit`() throws {
    var scene = try Scene(seed: 67)
    try scene.drive()
    try scene.pair.drain()
    try scene.east.crash()
    try scene.answer("failover", "g")
    let uri = scene.west.uri("a")
    let io = try run(
      "qemu-io", ["-f", "raw", "-c", "write -f -P 7 1M 1M", "-c", "read -P 7 1M 1M", uri]
    ).checked()
    #expect(!io.stdout.contains("Pattern verification failed"), "\(io)")
    try run(
      "nbdsh", ["-u", uri, "-c", "assert h.pread(1 << 20, 1 << 20) == b'\\x07' * (1 << 20)"]
    ).checked()
    // Connections and requests go on through the commit.
    let history = WriteHistory(sectors: Self.size / TaggedSectors.size)
    try scene.west.connect("b").zero(at: 0, count: Self.size)
    let load = WriteLoad(scene.west.uri("b"), history: history)
    try load.makeProgress(200)
    try scene.answer("commit", "g")
    try load.makeProgress(200)
    try load.stop()
    #expect(load.failure == nil)
    #expect(history.violations(in: try scene.west.image("b")) == [])
    let copy = scene.pair.scratch.file("copy.raw")
    try run("nbdcopy", [uri, copy]).checked()
    let copied = [UInt8](try Data(contentsOf: URL(fileURLWithPath: copy)))
    #expect(difference(try scene.west.image("a"), copied) == nil)
  }

  @Test func `a failover commits itself after its time`() throws {
    var scene = try Scene(seed: 68)
    try scene.drive()
    try scene.pair.drain()
    try scene.east.crash()
    let status = try scene.answer("failover", "g", "--commit", "after:1s")
    #expect(status["state"]?.string == "pending" && status["commit_at"]?.string != nil)
    try eventually("it is committed") { try scene.group(scene.west)["failover"] == nil }
    try scene.expect(scene.images(), "committed")
    #expect(try scene.command(["rollback", "g"]).status == 1)
  }

  @Test func `what cannot be is refused, and changes nothing`() throws {
    var scene = try Scene(seed: 69)
    try scene.drive()
    try scene.pair.drain()
    for (words, code) in [
      (["commit", "g"], "no-failover"), (["rollback", "g"], "no-failover"),
      (["failover", "nobody"], "no-such-group"), (["commit", "nobody"], "no-such-group"),
      (["failover", "g", "--at", "2001-01-01T00:00:00Z"], "no-instant"),
      (["failover", "g", "--at", "noon"], "no-instant"),
      (["failover", "g", "--note", "\u{1b}[31m"], "bad-request"), (["move", "g"], "is-follower"),
      (["test", "start", "g", "--name", "1"], "bad-request"),
      (["test", "stop", "none"], "no-such-test"),
    ] {
      let refused = try scene.command(words)
      #expect(refused.status == 1 && refused.stderr.count > 20, "\(words): \(refused)")
      #expect(refused.stdout.isEmpty)
      // The same for programs.
      let told = try scene.command(words + ["--json"])
      let answer = try JSON(told.stdout)
      #expect(told.status == 1 && answer["refusal"]?.string == code, "\(words): \(told)")
      #expect(told.stderr == "tapline: \(answer["error"]?.string ?? "")\n")
    }
    let unreachable = try scene.west.tapline(
      ["commit", "g", "--json", "--control", "unix:\(scene.pair.scratch.path)/none"])
    #expect(unreachable.status == 3)
    let unanswered = try JSON(unreachable.stdout)
    #expect(unanswered["refusal"] == nil && unanswered["error"]?.string != nil)
    #expect(try scene.command(["failover", "g", "--commit", "later"]).status == 2)
    let east = scene.east.configuration.control
    let owner = try scene.east.tapline(["failover", "g", "--json", "--control", east])
    #expect(try owner.status == 1 && JSON(owner.stdout)["refusal"]?.string == "is-owner")
    #expect(try scene.group(scene.west)["duty"]?.string == "following")
    try scene.answer("failover", "g")
    let again = try scene.command(["failover", "g", "--json"])
    #expect(try again.status == 1 && JSON(again.stdout)["refusal"]?.string == "failover-pending")
    try scene.answer("rollback", "g")
    try scene.waitUntilEastWrites()
    try scene.drive()
    try scene.pair.drain()
    try scene.expect(scene.images(), as: "@latest", "after all")
    #expect(scene.copies == 1)
  }
}
