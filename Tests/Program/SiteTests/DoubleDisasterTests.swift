import Foundation
import TestSupport
import Testing

/// Proves that a site takes a group over when the owner is lost while the site is just brought in
/// step: with what it had before, at each instant of that; and that it is brought in step again, or
/// the other one follows, without a copy.
@Suite(.scratch) struct DoubleDisasterTests {
  private static let size = 32 << 20

  /// West is behind a gap, has met east again, and does not get what it lacks.
  private final class Scene {
    let pair: SitePair
    /// Of the disk at east.
    private(set) var model = [UInt8](repeating: 0, count: DoubleDisasterTests.size)
    /// What west had when it was last whole, and at an instant before.
    private(set) var before: [UInt8] = []
    private(set) var first: (instant: UInt64, image: [UInt8]) = (0, [])
    private var generator: SeededGenerator

    var east: Site { pair.east }
    var west: Site { pair.west }

    /// - Parameter history: of west, which applies what is older.
    init(seed: UInt64, history: String = "1h") throws {
      generator = SeededGenerator(seed: testSeed(seed))
      pair = try SitePair(droppingRecordsOf: DoubleDisasterTests.size, history: history)
    }

    func write(_ count: Int, length: Int = 4096, at site: Site? = nil) throws {
      model = try write(count, length, to: site ?? east, model)
    }

    func write(_ count: Int, _ length: Int, to site: Site, _ image: [UInt8]) throws -> [UInt8] {
      var image = image
      let client = try site.connect("disk")
      for _ in 0..<count {
        let places = UInt64((DoubleDisasterTests.size - length) / 4096 + 1)
        let offset = Int(generator.next() % places) * 4096
        var word: UInt64 = 0
        let bytes = (0..<length).map { place in
          if place % 64 == 0 { word = generator.next() }
          return UInt8(truncatingIfNeeded: word) ^ UInt8(truncatingIfNeeded: place)
        }
        try client.write(bytes, at: UInt64(offset))
        image.replaceSubrange(offset..<offset + length, with: bytes)
      }
      try client.flush()
      return image
    }

    /// - Parameter passing: so many bytes pass once west is back, and then no more.
    func begin(passing count: Int = 3 << 20) throws {
      try write(6, length: 1 << 20)
      try pair.drain()
      first = (quietInstant(), model)
      try write(6, length: 1 << 20)
      try pair.drain()
      before = model
      pair.separate()
      try eventually("records are dropped") {
        try write(8, length: 1 << 20)
        return east.allLogs.contains("they are dropped")
      }
      holdUp(after: count)
      try eventually("west is brought in step") {
        try group(west)["health"]?.string?.contains("in step") == true && pair.cable.isCut
      }
    }

    /// East and west meet for so many bytes.
    func holdUp(after count: Int) {
      pair.rejoin()
      pair.cable.join(for: count)
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

    func expect(_ image: [UInt8], at site: Site? = nil, as export: String = "disk") throws {
      let site = site ?? west
      // Where the group changes hands, or goes on behind a gap, who reads is cut off.
      var found: [UInt8]?
      try eventually("\(export) is read") {
        found = try? site.image(export)
        return found != nil
      }
      #expect(difference(try #require(found), image) == nil, "\(export) at \(site.name)")
    }

    /// The follower has all that the owner has, and neither was copied since.
    func expectInStep(_ owner: Site, _ follower: Site, _ image: [UInt8]) throws {
      try eventually("\(follower.name) is in step") {
        (try? follower.connect("disk@latest")) != nil
          && (try? TaplineContract.isDrained(group: "g", status: owner.status())) == true
      }
      try expect(image, at: owner)
      try expect(image, at: follower, as: "disk@latest")
      let copies = [east, west].map {
        $0.allLogs.components(separatedBy: "a full copy from").count - 1
      }
      #expect(copies == [0, 1], "it was copied")
    }
  }

  @Test(arguments: ["1h", "0s"])
  func `the owner is lost meanwhile, and comes back and follows`(history: String) throws {
    let scene = try Scene(seed: 1, history: history)
    try scene.begin()
    try scene.east.crash()
    #expect((try? scene.west.connect("disk@latest")) == nil)
    let status = try scene.group(scene.west)
    #expect(status["health"]?.string?.contains("`tapline failover g` takes the group over") == true)
    let planned = try scene.answer("failover", "g", "--dry-run")
    #expect(planned["state"]?.string == "planned")
    #expect(planned["goes_back"]?["branch"]?.string == "before-gap-g")
    #expect(try scene.group(scene.west)["duty"]?.string == "following")
    let told = try scene.command(["failover", "g", "--dry-run"]).checked().stdout
    #expect(told.contains("would go back to what it had before, before-gap-g"), "\(told)")
    let done = try scene.answer("failover", "g")
    #expect(done["state"]?.string == "pending")
    #expect(done["goes_back"]?["dropped_records"] == planned["goes_back"]?["dropped_records"])
    try scene.expect(scene.before)
    let served = try scene.write(60, 4096, to: scene.west, scene.before)
    try scene.west.crash()
    try scene.west.start()
    try scene.expect(served)
    try scene.answer("commit", "g")
    try scene.east.start()
    scene.pair.rejoin()
    try scene.expectInStep(scene.west, scene.east, served)
    // What east had acknowledged and west never had can be opened there.
    let tests = try scene.east.tapline(
      ["test", "list", "--json", "--control", scene.east.configuration.control]
    ).checked().stdout
    let parked = try JSON(tests).elements.compactMap { $0["name"]?.string }
    #expect(!parked.isEmpty, "\(tests)")
    for name in parked.prefix(1) {
      try scene.expect(scene.model, at: scene.east, as: "disk@\(name)@latest")
    }
  }

  @Test func `an earlier instant of what it had is served, and what came after is parked`() throws {
    let scene = try Scene(seed: 2)
    try scene.begin()
    try scene.east.crash()
    let at = rfc3339(scene.first.instant)
    let done = try scene.answer("failover", "g", "--at", at)
    try scene.expect(scene.first.image)
    let parked = try #require(done["parked_name"]?.string)
    try scene.expect(scene.before, as: "disk@\(parked)@latest")
    try scene.answer("rollback", "g", "--discard")
    try scene.expect(scene.before, as: "disk@latest")
    try scene.answer("failover", "g", "--commit", "now")
    try scene.expect(scene.before)
  }

  /// The owner was alive after all.
  @Test(arguments: ["1h", "0s"])
  func `after a rollback it is brought in step again`(history: String) throws {
    let scene = try Scene(seed: 3, history: history)
    try scene.begin()
    try scene.answer("failover", "g")
    let served = try scene.write(40, 4096, to: scene.west, scene.before)
    scene.pair.rejoin()
    try eventually("east is fenced") { try scene.group(scene.east)["fenced"] != nil }
    let written = try #require(try scene.answer("rollback", "g")["parked_name"]?.string)
    try scene.expect(served, as: "disk@\(written)@latest")
    try eventually("east writes") { try scene.group(scene.east)["fenced"] == nil }
    try scene.write(20)
    try scene.expectInStep(scene.east, scene.west, scene.model)
    // What it had can be opened, as if nothing had been.
    try scene.expect(scene.before, as: "disk@before-gap-g@latest")
    try scene.expect(served, as: "disk@\(written)@latest")
  }

  @Test func `the two disasters come once more`() throws {
    let scene = try Scene(seed: 4)
    try scene.begin()
    for _ in 0..<2 {
      try scene.answer("failover", "g")
      try scene.expect(scene.before)
      try scene.answer("rollback", "g")
      scene.holdUp(after: 2 << 20)
      try eventually("west is brought in step") {
        try scene.group(scene.west)["health"]?.string?.contains("in step") == true
          && scene.pair.cable.isCut
      }
    }
    scene.pair.rejoin()
    try scene.expectInStep(scene.east, scene.west, scene.model)
  }

  /// East has given the group up for west, and west is lost before it has told all.
  @Test func `a former owner takes back what it had acknowledged`() throws {
    let scene = try Scene(seed: 5)
    try scene.write(6, length: 1 << 20)
    try scene.pair.drain()
    let common = scene.model
    scene.pair.separate()
    try scene.write(60)
    try eventually("east has applied it") {
      let marks = try scene.group(scene.east)["watermarks"]
      return marks?["applied"]?.integer == marks?["durable"]?.integer
    }
    try scene.answer("failover", "g", "--commit", "now")
    _ = try scene.write(8, 1 << 20, to: scene.west, common)
    scene.pair.cable.join()
    scene.pair.wayBack.join(for: 2 << 20)
    try eventually("east is brought in step") {
      try scene.group(scene.east)["health"]?.string?.contains("in step") == true
        && scene.pair.wayBack.isCut
    }
    try scene.west.crash()
    let control = ["--control", scene.east.configuration.control]
    try scene.east.tapline(["failover", "g", "--commit", "now"] + control).checked()
    try scene.expect(scene.model, at: scene.east)
    try scene.write(20)
    try scene.west.start()
    scene.pair.rejoin()
    try scene.expectInStep(scene.east, scene.west, scene.model)
  }

  /// As it may end between any two of its steps.
  @Test(arguments: [0, 5, 20, 40, 80, 160, 400])
  func `a kill while the command runs leaves it done or undone`(milliseconds: Int) throws {
    let scene = try Scene(seed: 6, history: "0s")
    try scene.begin()
    try scene.east.crash()
    let command = try ChildProcess(
      try TaplineBinary.path(), ["failover", "g", "--control", scene.west.configuration.control],
      name: "failover", logs: scene.pair.scratch)
    Thread.sleep(forTimeInterval: Double(milliseconds) / 1000)
    for _ in 0..<2 {
      try scene.west.crash()
      try scene.west.start()
    }
    try command.wait()
    try eventually("west is open") { try scene.group(scene.west)["closed"] == nil }
    if try scene.group(scene.west)["failover"] == nil { try scene.answer("failover", "g") }
    try scene.expect(scene.before)
    try scene.answer("rollback", "g")
    try scene.expect(scene.before, as: "disk@latest")
    try scene.east.start()
    scene.pair.rejoin()
    try scene.write(20)
    try scene.expectInStep(scene.east, scene.west, scene.model)
  }

  @Test func `where what it had was deleted, it says so, and changes nothing`() throws {
    let scene = try Scene(seed: 7)
    try scene.begin()
    try scene.command(["test", "stop", "before-gap-g", "--parked"]).checked()
    let refused = try scene.command(["failover", "g", "--json"])
    let told = try JSON(refused.stdout)
    #expect(refused.status == 1 && told["refusal"]?.string == "nothing-before", "\(refused)")
    let reason = "before-gap-g, in which it was parked, was deleted"
    #expect(told["error"]?.string?.contains(reason) == true)
    scene.pair.rejoin()
    try scene.expectInStep(scene.east, scene.west, scene.model)
  }
}
