import BlockModel
import JournalTestSupport
import Storage
import StorageTesting
import TestSupport
import Testing
import Volume

@testable import Journal

/// With many generations, merged by levels at random moments, the live disks and views at random
/// instants still read like the plain history while the journal is applied and recycled under them;
/// and they consult few maps.
@Suite struct MergedViewTests {
  /// Disks that are small against the number of writes, so that everything overlaps.
  static func settings() -> TestGroup.Settings {
    var settings = TestGroup.Settings(diskByteCounts: [700, 300])
    settings.segmentByteCount = 8 << 10
    settings.capacityByteCount = settings.segmentByteCount * 120
    return settings
  }

  static func write(
    _ group: TestGroup, _ random: inout SeededGenerator, _ now: inout UInt64
  ) throws {
    now += UInt64(random.below(40))
    for _ in 0...random.below(3) where group.hasSpareSegment {
      try group.stage(
        .random(&random, diskByteCounts: group.settings.diskByteCounts, writeLimit: 90), now: now)
    }
    try group.journal.freezeActive()
    if random.chance(10) { try group.journal.sealActive() }
  }

  @Test(arguments: UInt64(0)..<16)
  func `views at any instant equal the plain history while maps are merged`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var settings = Self.settings()
    // The index is in memory, in part, or not at all.
    settings.indexMapByteLimit = [0, 400, 64 << 20][Int(seed % 3)]
    settings.indexCacheByteLimit = [0, 32 << 10][Int(seed % 2)]
    settings.indexRecordLimit = [1 << 20, 7, 2][Int(seed / 2 % 3)]
    let group = try TestGroup(seed: seed, settings)
    var open: [(plan: ViewPlan<FaultyFile>, view: TestView)] = []
    var now: UInt64 = 1000
    for _ in 0..<400 {
      switch random.below(16) {
      case 0:
        let history = group.instants(now: Timestamp(rawValue: now))
        let plan = try group.plan(at: ViewTests.instant(group, history, &random))
        open.append((plan, try group.view(plan)))
      case 1:
        let oldest = open.map(\.plan.instant).min() ?? .distantFuture
        try group.apply(limit: 1 + random.below(12), through: oldest)
      case 2:
        if !open.isEmpty { open.remove(at: random.below(open.count)).plan.release() }
      case 3, 4, 5, 6: group.keepIndex(limit: 1 + random.below(20))
      case 7 where open.isEmpty && random.chance(20):
        try group.restart(random.chance(50) ? .clean : .kill)
      default: try Self.write(group, &random, &now)
      }
      #expect(try group.contents() == group.history.last.disks)
      if let (_, view) = open.randomElement(using: &random) {
        #expect(try view.contents(2) == group.history.state(at: view.instant).disks)
      }
    }
    for (plan, view) in open {
      #expect(try view.contents(2) == group.history.state(at: view.instant).disks)
      plan.release()
    }
    try group.apply()
    #expect(group.stores.map(\.durableBytes) == group.history.last.disks)
  }

  /// 200 segments, from number 1 on: level 2 (64) is there three times, and 7 are left, or level 1.
  @Test func `live disk and views consult few of many generations`() throws {
    var random = SeededGenerator(seed: 7)
    var now: UInt64 = 1000
    var settings = Self.settings()
    settings.capacityByteCount = settings.segmentByteCount * 220
    let group = try TestGroup(seed: 7, settings)
    while group.journal.generations.count < 200 {
      try Self.write(group, &random, &now)
      try group.journal.sealActive()
    }
    #expect(group.journal.mapCount == 201)
    try group.record(.write(disk: 0, offset: 0, [1]))
    try group.sync()
    group.keepIndex()
    #expect(group.journal.mapCount == 1 + 3 + 1 + 1)
    for generation in group.journal.generations {
      #expect(group.journal.maps(notLaterThan: generation.span.lastTimestamp).count <= 3 + 7 + 7)
    }
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test func `generations of a segment that goes on are merged, too`() throws {
    let group = try TestGroup(seed: 7, Self.settings())
    for value in UInt8(1)...100 {
      try group.record(.write(disk: 0, offset: Int(value), [value]))
      try group.journal.freezeActive()
    }
    group.keepIndex()
    #expect(group.journal.generations.count == 100)
    #expect(group.journal.mapCount <= 1 + 1 + 7)
    #expect(try group.contents() == group.history.last.disks)
  }

  /// The block's older half is applied and its segment is another one's now: reading there would
  /// give that one's bytes, or fail.
  @Test func `bytes whose segment is recycled are read from the base`() throws {
    let group = try TestGroup(seed: 1)
    for value in UInt8(1)...7 {
      try group.record(
        .write(disk: 0, offset: Int(value), [value]), now: UInt64(value) * 10)
      try group.journal.sealActive()
    }
    try group.record(.write(disk: 1, offset: 0, [1]), now: 100)
    try group.sync()
    group.keepIndex()
    #expect(group.journal.mapCount == 2)
    try group.apply(limit: 4)
    let oldest = try #require(group.journal.oldestSegment)
    #expect(oldest.number == 5)
    let disk = DiskNumber(0)
    #expect(group.journal.mapCount == 3)
    #expect(group.journal.piece(disk: disk, at: 4, limit: 9) == (1, nil))
    #expect(group.journal.piece(disk: disk, at: 5, limit: 9).source?.segment == 5)
    #expect(try group.contents() == group.history.last.disks)
    let plan = try group.plan(at: Timestamp(rawValue: 70))
    let view = try group.view(plan)
    #expect(view.piece(disk: disk, at: 4, limit: 9) == (1, nil))
    #expect(try view.contents(2) == group.history.state(at: view.instant).disks)
    plan.release()
  }
}
