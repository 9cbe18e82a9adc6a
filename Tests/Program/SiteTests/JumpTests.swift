import Foundation
import SystemIO
import TestSupport
import Testing

/// Proves that a follower for which records were dropped goes on without a copy: it gets what they
/// changed, keeps what it had, and nothing is wrong at either site, whatever is killed meanwhile.
@Suite(.scratch) struct JumpTests {
  private static let size = 64 << 20

  private final class Scene {
    let pair: SitePair
    private(set) var model = [UInt8](repeating: 0, count: JumpTests.size)
    private var generator: SeededGenerator

    /// - Parameter history: of the follower, which applies what is older.
    init(seed: UInt64, history: String = "1h") throws {
      generator = SeededGenerator(seed: testSeed(seed))
      pair = try SitePair(droppingRecordsOf: JumpTests.size, history: history)
    }

    func write(count: Int, length: Int = 4096, in range: Range<Int>? = nil) throws {
      let range = range ?? 0..<JumpTests.size
      let client = try pair.east.connect("disk")
      for _ in 0..<count {
        let places = UInt64((range.count - length) / 4096 + 1)
        let offset = range.lowerBound + Int(generator.next() % places) * 4096
        let byte = UInt8(truncatingIfNeeded: generator.next())
        let bytes = (0..<length).map { UInt8(truncatingIfNeeded: $0 / 512) ^ byte }
        try client.write(bytes, at: UInt64(offset))
        model.replaceSubrange(offset..<offset + length, with: bytes)
      }
      try client.flush()
    }

    /// West is away until its records are dropped.
    func overrun(in range: Range<Int>) throws {
      try eventually("records are dropped") {
        try write(count: 8, length: 1 << 20, in: range)
        return pair.east.allLogs.contains("they are dropped")
      }
    }

    func waitUntilInStep() throws {
      try eventually("west has everything") {
        (try? pair.west.connect("disk@latest")) != nil
          && (try? TaplineContract.isDrained(group: "g", status: pair.east.status())) == true
      }
      #expect(difference(try pair.west.image("disk@latest"), model) == nil)
      #expect(difference(try pair.east.image("disk"), model) == nil)
    }

    var copyCount: Int { pair.west.allLogs.components(separatedBy: "a full copy from").count - 1 }
  }

  @Test func `it gets what the dropped records changed, and no more`() throws {
    let scene = try Scene(seed: 1, history: "0s")
    let pair = scene.pair
    // All over the disk: a copy would be all of this.
    try scene.write(count: 48, length: 1 << 20)
    try pair.drain()
    let then = scene.model
    try eventually("all is applied at west") {
      let marks = try TaplineContract.group("g", in: pair.west.status())["watermarks"]
      return marks?["applied"]?.integer == marks?["durable"]?.integer
    }
    let copies = scene.copyCount
    try pair.west.crash()
    try scene.overrun(in: 0..<(4 << 20))
    let sent = pair.cable.forwardedBytes
    try pair.west.start()
    try scene.waitUntilInStep()
    let passed = pair.cable.forwardedBytes - sent
    #expect(passed < 24 << 20, "\(passed) bytes for 4 MiB and what was in the journal")
    #expect(scene.copyCount == copies, "it was copied")
    #expect(pair.east.allLogs.contains("which the records between have changed"))
    #expect(difference(try pair.west.image("disk@before-gap-g@latest"), then) == nil)
  }

  @Test func `each instant that it had can be opened, and later ones as ever`() throws {
    let scene = try Scene(seed: 5)
    let pair = scene.pair
    try scene.write(count: 10, length: 1 << 20)
    try pair.drain()
    let (before, first) = (quietInstant(), scene.model)
    try scene.write(count: 10, length: 1 << 20)
    try pair.drain()
    let then = scene.model
    try pair.west.crash()
    try scene.overrun(in: 0..<(4 << 20))
    try pair.west.start()
    try scene.waitUntilInStep()
    let parked = "disk@before-gap-g"
    #expect(difference(try pair.west.image("\(parked)@latest"), then) == nil)
    #expect(difference(try pair.west.image("\(parked)@\(rfc3339(before))"), first) == nil)
    // Also after a kill.
    try scene.write(count: 20)
    try scene.waitUntilInStep()
    try pair.west.crash()
    try pair.west.start()
    try scene.waitUntilInStep()
    #expect(difference(try pair.west.image("\(parked)@latest"), then) == nil)
  }

  @Test func `what was dropped is known after the owner was killed`() throws {
    let scene = try Scene(seed: 2)
    let pair = scene.pair
    try scene.write(count: 32, length: 1 << 20)
    try pair.drain()
    let copies = scene.copyCount
    try pair.west.stop()
    try scene.overrun(in: (8 << 20)..<(12 << 20))
    for round in 0..<3 {
      try pair.east.crash()
      try pair.east.start()
      try scene.write(count: 12, length: 1 << 20, in: (round * 16) << 20..<(round * 16 + 16) << 20)
    }
    try pair.west.start()
    try scene.waitUntilInStep()
    #expect(scene.copyCount == copies, "it was copied")
  }

  @Test(arguments: 0..<6) func `it is killed while it goes on`(round: Int) throws {
    let scene = try Scene(seed: 10 + UInt64(round))
    let pair = scene.pair
    try scene.write(count: 16, length: 1 << 20)
    try pair.drain()
    let then = scene.model
    let copies = scene.copyCount
    try pair.west.crash()
    try scene.overrun(in: 0..<(16 << 20))
    try pair.west.start()
    let line = ["link from east is down", "goes on behind record", "receiving from east"][round % 3]
    try eventually("west says: \(line)") { pair.west.log.contains(line) }
    if round >= 3 { usleep(UInt32(round) * 40_000) }
    try pair.west.crash()
    if round % 2 == 1 { try pair.east.crash(); try pair.east.start() }
    try scene.write(count: 40)
    try pair.west.start()
    try scene.waitUntilInStep()
    #expect(scene.copyCount == copies, "it was copied")
    #expect(difference(try pair.west.image("disk@before-gap-g@latest"), then) == nil)
  }

  @Test func `where nobody knows what was dropped all is compared, and little is sent`() throws {
    let scene = try Scene(seed: 3, history: "0s")
    let pair = scene.pair
    try scene.write(count: 48, length: 1 << 20)
    try pair.drain()
    let then = scene.model
    let copies = scene.copyCount
    try pair.west.crash()
    try scene.overrun(in: 0..<(4 << 20))
    try pair.east.stop()
    try FileManager.default.removeItem(atPath: "\(pair.east.configuration.data)/g/dropped-west")
    let sent = pair.cable.forwardedBytes
    try pair.east.start()
    try pair.west.start()
    try scene.waitUntilInStep()
    let passed = pair.cable.forwardedBytes - sent
    #expect(passed < 24 << 20, "\(passed) bytes for 4 MiB and what was in the journal")
    #expect(scene.copyCount == copies, "it was copied")
    #expect(difference(try pair.west.image("disk@before-gap-g@latest"), then) == nil)
  }

  @Test func `a test at the follower is not taken away by it`() throws {
    let scene = try Scene(seed: 4)
    let pair = scene.pair
    try scene.write(count: 8, length: 1 << 20)
    try pair.drain()
    let then = scene.model
    func test(_ words: String...) throws {
      let told = try pair.west.tapline(
        ["test"] + words + ["--control", pair.west.configuration.control])
      #expect(told.status == 0, "\(told.stderr)")
    }
    try test("start", "g", "--name", "t")
    pair.cable.cut()
    try scene.overrun(in: 0..<(4 << 20))
    pair.cable.join()
    try scene.waitUntilInStep()
    #expect(difference(try pair.west.image("disk@t"), then) == nil)
    try test("stop", "t")
  }
}
