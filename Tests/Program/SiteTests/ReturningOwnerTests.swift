import Foundation
import Journal
import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves that a former owner gets in step with the next one without a copy: what is not equal goes
/// over the link, and little else, whatever is killed meanwhile and whatever it says that it has.
@Suite(.scratch) struct ReturningOwnerTests {
  /// Two sites; the first owner has acknowledged what the second has not received, and the second
  /// owns the group since.
  private final class Exchange {
    let pair: SitePair
    let size: Int
    /// So many bytes of the disk are not zeros at first.
    let filled: Int
    /// What the disk must hold at the next owner, and where it may differ from the former one's.
    private(set) var model: [UInt8]
    private var differing = Set<Int>()
    private var generator: SeededGenerator
    /// From the next owner to the former one.
    private(set) var cable: CutProxy
    private(set) var common = JournalState.Mark.origin
    /// Both sites had this.
    private(set) var before: UInt64 = 0

    init(
      size: Int, filled: Int? = nil, seed: UInt64,
      changingAnswers change: (@Sendable () -> CutProxy.Change)? = nil
    ) throws {
      self.size = size
      self.filled = filled ?? size
      generator = SeededGenerator(seed: testSeed(seed))
      model = [UInt8](repeating: 0, count: size)
      pair = try SitePair(disks: ["disk": size]) { east, west in
        for site in [east, west] { site.configuration.groups[0].checkpointEvery = "0s" }
      }
      cable = try CutProxy(to: pair.east.linkPort, changingAnswers: change)
    }

    deinit { cable.stop() }

    var differingByteCount: Int { differing.count * 512 }

    private func fill(_ bytes: inout [UInt8], at offset: Int, _ count: Int) {
      var word: UInt64 = 0
      for index in offset..<offset + count {
        if index % 8 == 0 { word = generator.next() }
        bytes[index] = UInt8(truncatingIfNeeded: word >> UInt64(index % 8 * 8))
      }
    }

    /// Writes, and notes where; returns what the disk holds then.
    func write(
      _ client: NBDClient, _ disk: [UInt8], count: Int, length: Int, in range: Range<Int>
    ) throws -> [UInt8] {
      var disk = disk
      for _ in 0..<count {
        let sectors = (range.count - length) / 512
        let offset = range.lowerBound + Int(generator.next() % UInt64(sectors)) * 512
        fill(&disk, at: offset, length)
        try client.write(Array(disk[offset..<offset + length]), at: UInt64(offset))
        for sector in offset / 512..<(offset + length) / 512 { differing.insert(sector) }
      }
      try client.flush()
      return disk
    }

    /// The owner writes what the other receives, then `own`; then the roles are exchanged.
    func begin(own: (NBDClient, [UInt8]) throws -> Void) throws {
      let client = try pair.east.connect("disk")
      // What a byte is at one site, it is at the other by chance only.
      fill(&model, at: 0, filled)
      for offset in stride(from: 0, to: filled, by: 1 << 20) {
        try client.write(Array(model[offset..<offset + (1 << 20)]), at: UInt64(offset))
      }
      try pair.drain()
      before = quietInstant()
      pair.cable.cut()
      try own(client, model)
      try pair.east.stop()
      try pair.west.stop()
      let folder = "\(pair.west.configuration.data)/g"
      let state = try #require(try GroupOpening.presentState(folder))
      let recovered = try JournalRecovery(FolderStorage(existing: folder), state: state)
      common = .init(recovered.lastSequence, recovered.lastTimestamp)
      let role = pair.east.configuration.groups[0].role
      pair.east.configuration.groups[0].role = pair.west.configuration.groups[0].role
      pair.east.configuration.groups[0].peer = (pair.west.name, pair.west.configuration.link)
      pair.west.configuration.groups[0].role = role
      pair.west.configuration.groups[0].peer = (pair.east.name, cable.address)
      pair.east.configuration.groups[0].history = "1h"
    }

    func yield() throws {
      let folder = "\(pair.east.configuration.data)/g"
      #expect(try GroupOpening.yield(folder: folder, to: common) == .follows)
    }

    func writeAtNextOwner(
      count: Int, length: Int, in range: Range<Int>
    ) throws {
      let client = try pair.west.connect("disk")
      model = try write(client, model, count: count, length: length, in: range)
    }

    func expectEqual(_ comment: Comment? = nil) throws {
      #expect(difference(try pair.west.image("disk"), model) == nil, comment)
      #expect(difference(try pair.east.image("disk@latest"), model) == nil, comment)
    }

    func waitUntilInStep() throws {
      try eventually("the former owner is in step") {
        (try? pair.east.connect("disk@latest")) != nil
      }
      try eventually("the former owner has everything") {
        try TaplineContract.isDrained(group: "g", status: pair.west.status())
      }
    }

    /// - Parameter passed: what has gone over the link.
    func expectFew(_ passed: Int) {
      let limit = differingByteCount * 12 / 10 + (1 << 20)
      #expect(passed <= limit, "\(passed) bytes for \(differingByteCount) that differ")
      #expect(!pair.east.allLogs.contains("a full copy from west"), "it was copied")
    }
  }

  @Test func `a former owner gets what differs, and no copy`() throws {
    let exchange = try Exchange(size: 64 << 20, seed: 1)
    let pair = exchange.pair
    try exchange.begin { client, disk in
      var disk = try exchange.write(client, disk, count: 200, length: 4096, in: 0..<(32 << 20))
      disk = try exchange.write(client, disk, count: 4, length: 1 << 20, in: 0..<(32 << 20))
      // Zeros there, and not at the other.
      try client.zero(at: 40 << 20, count: 1 << 20)
      try client.trim(at: 42 << 20, count: 1 << 20)
    }
    try pair.west.start()
    try exchange.writeAtNextOwner(count: 100, length: 4096, in: (16 << 20)..<(48 << 20))
    try exchange.yield()
    try pair.east.start()
    try exchange.waitUntilInStep()
    // What was written as zeros lacks two more MiB.
    #expect(exchange.cable.forwardedBytes <= exchange.differingByteCount * 12 / 10 + (3 << 20))
    #expect(exchange.cable.forwardedBytes > exchange.differingByteCount)
    try exchange.expectEqual()
    // Later instants are there, earlier ones are not, at the former owner.
    let middle = quietInstant()
    let then = exchange.model
    try exchange.writeAtNextOwner(count: 20, length: 4096, in: 0..<(64 << 20))
    try exchange.waitUntilInStep()
    try exchange.expectEqual()
    #expect(difference(try pair.east.image("disk@\(rfc3339(middle))"), then) == nil)
    #expect(throws: (any Error).self) {
      try pair.east.connect("disk@\(rfc3339(exchange.before))")
    }
    _ = try pair.west.connect("disk@\(rfc3339(exchange.before))")
    // On its disk, too, and after a restart.
    try pair.east.crash()
    try pair.east.start()
    try exchange.waitUntilInStep()
    try exchange.expectEqual("after a kill")
    let folder = "\(pair.east.configuration.data)/g"
    #expect(!FileManager.default.fileExists(atPath: "\(folder)/lacking"))
  }

  @Test func `what the next owner has anyway does not go over the link`() throws {
    let exchange = try Exchange(size: 64 << 20, seed: 5)
    let pair = exchange.pair
    try exchange.begin { client, disk in
      // Its own records, of what was there.
      for offset in stride(from: 0, to: 48 << 20, by: 1 << 20) {
        try client.write(Array(disk[offset..<offset + (1 << 20)]), at: UInt64(offset))
      }
      try client.flush()
    }
    try pair.west.start()
    try exchange.yield()
    try pair.east.start()
    try exchange.waitUntilInStep()
    #expect(exchange.cable.forwardedBytes < 64 << 10)
    #expect(pair.west.log.contains("of \(48 << 20) bytes, \(48 << 20) were the same there"))
    #expect(!pair.east.allLogs.contains("a full copy from west"), "it was copied")
    try exchange.expectEqual()
    try exchange.writeAtNextOwner(count: 20, length: 4096, in: 0..<(64 << 20))
    try exchange.waitUntilInStep()
    try exchange.expectEqual()
  }

  @Test func `of a large range, what differs comes, through breaks and kills`() throws {
    let exchange = try Exchange(size: 1 << 30, filled: 64 << 20, seed: 6)
    let pair = exchange.pair
    try exchange.begin { client, disk in
      for offset in stride(from: 0, to: 64 << 20, by: 1 << 20) {
        try client.write(Array(disk[offset..<offset + (1 << 20)]), at: UInt64(offset))
      }
      // Zeros they were.
      for offset in stride(from: 64 << 20, to: 1 << 30, by: 32 << 20) {
        try client.zero(at: UInt64(offset), count: 32 << 20)
      }
      _ = try exchange.write(client, disk, count: 40, length: 64 << 10, in: 0..<(64 << 20))
    }
    try pair.west.start()
    try exchange.yield()
    exchange.cable.cut()
    try pair.east.start()
    for kilobytes in [64, 512, 1024] {
      exchange.cable.join(for: kilobytes << 10)
      try eventually("the cable is cut") { exchange.cable.isCut }
      try pair.east.crash()
      if kilobytes == 512 {
        try pair.west.crash()
        try pair.west.start()
      }
      try pair.east.start()
    }
    exchange.cable.join()
    try exchange.waitUntilInStep()
    // What differs may be a part of a block at either end.
    #expect(exchange.cable.forwardedBytes < 2 * exchange.differingByteCount + (2 << 20))
    #expect(!pair.east.allLogs.contains("a full copy from west"), "it was copied")
    try exchange.expectEqual()
  }

  /// Changes each third digest on its way.
  private final class DigestFlipper: @unchecked Sendable {
    private var header: [UInt8] = []
    private var bodyLeft = 0
    private var place = 0
    private var count = 0

    func change(_ bytes: inout ArraySlice<UInt8>) {
      for index in bytes.indices {
        if bodyLeft == 0 {
          header.append(bytes[index])
          guard header.count == 16 else { continue }
          bodyLeft = header[4..<8].reduce(0) { $0 << 8 | Int($1) }
          place = 0
          if bodyLeft == 0 { header = [] }
          continue
        }
        if header[1] == 39, place >= 10, (place - 10) % 32 == 0 {
          count += 1
          if count % 3 == 0 { bytes[index] ^= 1 }
        }
        place += 1
        bodyLeft -= 1
        if bodyLeft == 0 { header = [] }
      }
    }
  }

  @Test func `a wrong digest costs bytes and no content`() throws {
    let exchange = try Exchange(size: 32 << 20, seed: 7) {
      let flipper = DigestFlipper()
      return { flipper.change(&$0) }
    }
    let pair = exchange.pair
    try exchange.begin { client, disk in
      for offset in stride(from: 0, to: 24 << 20, by: 1 << 20) {
        try client.write(Array(disk[offset..<offset + (1 << 20)]), at: UInt64(offset))
      }
      _ = try exchange.write(client, disk, count: 20, length: 4096, in: 0..<(32 << 20))
    }
    try pair.west.start()
    try exchange.yield()
    try pair.east.start()
    try exchange.waitUntilInStep()
    // A third of what is the same.
    #expect(exchange.cable.forwardedBytes > 7 << 20)
    #expect(exchange.cable.forwardedBytes < 12 << 20)
    try exchange.expectEqual()
  }

  @Test func `kills of both sites cost little more`() throws {
    let exchange = try Exchange(size: 96 << 20, seed: 2)
    let pair = exchange.pair
    try exchange.begin { client, disk in
      _ = try exchange.write(client, disk, count: 48, length: 1 << 20, in: 0..<(64 << 20))
    }
    try pair.west.start()
    try exchange.yield()
    exchange.cable.cut()
    try pair.east.start()
    var brokenCount = 0
    for megabytes in [2, 5, 0, 9] {
      exchange.cable.join(for: megabytes << 20)
      try eventually("the cable is cut") {
        // Each flush lets the former owner hear how far it is.
        try exchange.writeAtNextOwner(count: 1, length: 4096, in: (32 << 20)..<(96 << 20))
        Thread.sleep(forTimeInterval: 0.01)
        return exchange.cable.isCut
      }
      try pair.east.crash()
      try pair.west.crash()
      try pair.west.start()
      try pair.east.start()
      if (try? pair.east.connect("disk@latest")) == nil { brokenCount += 1 }
    }
    exchange.cable.join()
    try exchange.waitUntilInStep()
    exchange.expectFew(exchange.cable.forwardedBytes)
    try exchange.expectEqual()
    #expect(brokenCount >= 2, "the breaks came too late")
  }

  /// While guests write all over what is to come.
  @Test func `clients write to what a former owner lacks`() throws {
    let exchange = try Exchange(size: 32 << 20, seed: 3)
    let pair = exchange.pair
    try exchange.begin { client, disk in
      _ = try exchange.write(client, disk, count: 24, length: 1 << 20, in: 0..<(32 << 20))
    }
    try pair.west.start()
    try exchange.yield()
    try pair.east.start()
    for _ in 0..<30 {
      try exchange.writeAtNextOwner(count: 40, length: 4096, in: 0..<(32 << 20))
    }
    try exchange.waitUntilInStep()
    try exchange.expectEqual()
  }

  @Test func `a list that is lost is made good by comparing everything`() throws {
    let exchange = try Exchange(size: 8 << 20, seed: 4)
    let pair = exchange.pair
    try exchange.begin { client, disk in
      _ = try exchange.write(client, disk, count: 20, length: 4096, in: 0..<(8 << 20))
    }
    try pair.west.start()
    try exchange.yield()
    try LackingFile.remove(in: "\(pair.east.configuration.data)/g")
    try pair.east.start()
    try exchange.waitUntilInStep()
    try exchange.expectEqual()
    #expect(pair.east.log.contains("is missing or damaged: everything is compared"))
    // Block by block.
    #expect(exchange.cable.forwardedBytes < 20 * (64 << 10) + (1 << 20))
    #expect(!pair.east.allLogs.contains("a full copy from west"), "it was copied")
  }
}
