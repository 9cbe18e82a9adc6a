import BlockModel
import JournalTestSupport
import Storage
import StorageTesting
import TestSupport
import Testing

@testable import Journal

/// Journal, index and bases together read like plain arrays of bytes, whatever was written, applied
/// and recycled, and after every kind of restart.
@Suite struct JournalModelTests {
  /// One random step. Restarts are the caller's.
  static func step(
    _ group: TestGroup, _ random: inout SeededGenerator, _ now: inout UInt64
  ) throws {
    now = random.chance(5) ? now - min(now, 1000) : now + UInt64(random.below(50))
    switch random.below(22) {
    case 20: group.keepIndex()
    case 21: group.keepIndex(limit: 1 + random.below(4))
    case 0: try group.sync()
    case 1: try group.apply(limit: 1 + random.below(3))
    case 2: try group.journal.sealActive()
    case 3: try group.journal.freezeActive()
    case 4: try group.journal.closeInstants(through: Timestamp(rawValue: now))
    default:
      for _ in 0...random.below(6) {
        let operation = Operation.random(
          &random, diskByteCounts: group.settings.diskByteCounts, writeLimit: 4096)
        #expect(try group.stage(operation, now: now))
      }
      try group.commit()
    }
  }

  static func settings(_ random: inout SeededGenerator) -> TestGroup.Settings {
    var settings = TestGroup.Settings(
      diskByteCounts: (0...random.below(3)).map { _ in 5000 + random.below(40 << 10) })
    settings.segmentByteCount = [16 << 10, 24 << 10, 64 << 10][random.below(3)]
    settings.capacityByteCount = settings.segmentByteCount * (3 + random.below(5))
    // The index is in memory, in part, or not at all.
    settings.indexMapByteLimit = [0, 400, 64 << 20][random.below(3)]
    settings.indexCacheByteLimit = [0, 16 << 10][random.below(2)]
    return settings
  }

  @Test(arguments: UInt64(0)..<40)
  func readsLikePlainBytes(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var now: UInt64 = 1000
    let group = try TestGroup(seed: seed, Self.settings(&random))
    for _ in 0..<60 {
      try Self.step(group, &random, &now)
      if random.chance(40) { #expect(try group.contents() == group.history.last.disks) }
    }
    #expect(try group.contents() == group.history.last.disks)
    try group.apply()
    #expect(group.stores.map(\.durableBytes) == group.history.last.disks)
  }

  @Test(arguments: UInt64(0)..<60)
  func comesBackWholeWithoutAPowerCut(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed ^ 0xABCD)
    var now: UInt64 = 1000
    let group = try TestGroup(seed: seed, Self.settings(&random))
    for _ in 0..<6 {
      for _ in 0..<random.below(14) { try Self.step(group, &random, &now) }
      try group.commit()
      let (sequence, timestamp) = (group.journal.stamped, group.journal.watermarks[.appended])
      try group.restart(random.chance(50) ? .clean : .kill)
      #expect(group.journal.stamped == sequence)
      #expect(group.journal.watermarks[.appended] == timestamp)
      #expect(group.notes.isEmpty)
      #expect(try group.contents() == group.history.last.disks)
    }
  }

  /// The segment size of the configuration may change between two starts.
  @Test(arguments: [(16 << 10, 64 << 10), (64 << 10, 16 << 10)], TestGroup.Ending.allCases)
  func theSegmentSizeMayChange(sizes: (Int, Int), ending: TestGroup.Ending) throws {
    var settings = TestGroup.Settings()
    settings.segmentByteCount = sizes.0
    settings.capacityByteCount = sizes.0 * 8
    let group = try TestGroup(seed: 4, settings)
    for value in UInt8(0)..<3 {
      try group.record(
        .write(disk: 0, offset: Int(value) * 4000, [UInt8](repeating: value, count: 3000)))
    }
    try group.restart(.clean)
    try group.resize(segmentByteCount: sizes.1)
    for value in UInt8(3)..<12 {
      try group.record(
        .write(disk: 0, offset: Int(value) * 4000, [UInt8](repeating: value, count: 3000)))
    }
    try group.sync()
    try group.restart(ending)
    #expect(group.journal.stamped == SequenceNumber(12))
    #expect(try group.contents() == group.history.last.disks)
  }
}

/// What a power cut may take and what not: everything up to the last sync that came back is there,
/// and what is there beyond it is a prefix of the order.
@Suite struct PowerCutTests {
  @Test(arguments: UInt64(0)..<150)
  func aPrefixWithEverythingDurableComesBack(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed ^ 0xC0FFEE)
    var now: UInt64 = 1000
    var settings = TestGroup.Settings(diskByteCounts: [20_000, 9000])
    settings.capacityByteCount = settings.segmentByteCount * (6 + random.below(6))
    let group = try TestGroup(seed: seed, settings)
    for _ in 0..<8 {
      for _ in 0..<random.below(10) { try JournalModelTests.step(group, &random, &now) }
      // Records that stay in memory only.
      if random.chance(30) { try group.stage(.zero(disk: 0, offset: 0, length: 9), now: now) }
      let journal = group.journal
      let ending: TestGroup.Ending =
        random.chance(70) ? .powerCut : random.chance(50) ? .kill : .clean
      try group.restart(ending)
      let found = group.journal.stamped
      switch ending {
      case .powerCut: #expect(journal.durable <= found && found <= journal.appended)
      case .kill: #expect(found == journal.appended)
      case .clean: #expect(found == journal.stamped)
      }
      #expect(try group.contents() == group.history.last.disks)
    }
    try group.apply()
    #expect(group.stores.map(\.durableBytes) == group.history.last.disks)
  }

  /// A power cut while the bases are written: applying again makes them right.
  @Test(arguments: UInt64(0)..<60)
  func anApplyStepThatWasCutIsRepeated(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed ^ 0xBA5E)
    var now: UInt64 = 1000
    let group = try TestGroup(seed: seed, .init(diskByteCounts: [20_000, 9000]))
    for _ in 0..<4 {
      for _ in 0..<5 { try JournalModelTests.step(group, &random, &now) }
      let operation: [StorageError.Operation] = [.write, .zero, .sync]
      group.stores[random.below(2)].failNext(operation[random.below(3)], with: .io)
      let durable = group.journal.durable
      _ = try? group.apply()
      try group.restart(.powerCut)
      group.stores.forEach(Self.useUpFailures)
      #expect(group.journal.stamped >= durable)
      #expect(try group.contents() == group.history.last.disks)
    }
    try group.apply()
    #expect(group.stores.map(\.durableBytes) == group.history.last.disks)
  }

  private static func useUpFailures(_ store: MemoryStore) {
    try? store.sync()
    try? store.zero(ByteRange(start: 0, length: 0), mayFreeSpace: true)
    try? unsafe store.write(UnsafeRawBufferPointer(start: nil, count: 0), at: 0)
  }

  /// What the state file calls durable and is not there is damage, and is said to be.
  @Test func lostDurableRecordsAreDamage() throws {
    let group = try TestGroup(seed: 5)
    for value in UInt8(1)...5 { try group.record(.write(disk: 0, offset: 0, [value])) }
    try group.sync()
    try group.updateState { $0.durable = group.journal.durable }
    try group.storage.open("segment-00000").damage(4096 + 2 * 29 + 28) { $0 ^ 1 }
    do {
      try group.restart(.powerCut)
      Issue.record("damage was not noticed")
    } catch JournalError.damaged(let text) {
      #expect(text.contains("5") && text.contains("2"))
    }
  }

  /// Damage to records that are applied already takes nothing with it that is written later.
  @Test(arguments: TestGroup.Ending.allCases)
  func damageToAppliedRecordsHarmsNoLaterOnes(ending: TestGroup.Ending) throws {
    let group = try TestGroup(seed: 5)
    for value in UInt8(1)...5 { try group.record(.write(disk: 0, offset: Int(value), [value])) }
    try group.apply()
    try group.storage.open("segment-00000").damage(4096 + 2 * 29 + 28) { $0 ^ 1 }
    try group.restart(.clean)
    for value in UInt8(6)...9 { try group.record(.write(disk: 0, offset: Int(value), [value])) }
    try group.sync()
    try group.restart(ending)
    #expect(group.journal.stamped == SequenceNumber(9))
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test func aNewerVersionIsRefused() throws {
    let group = try TestGroup(seed: 5)
    try group.record(.write(disk: 0, offset: 0, [1]))
    let file = try group.storage.open("segment-00000")
    var bytes = Array(file.bytes[..<4096])
    bytes[11] = 3
    for (index, byte) in SegmentHeaderTests.resealed(bytes).enumerated() {
      file.damage(index) { _ in byte }
    }
    do {
      try group.restart(.clean)
      Issue.record("a newer version was opened")
    } catch JournalError.otherVersion(let version) {
      #expect(version == 3)
    }
  }

  @Test func erasingForgetsEverythingDurably() throws {
    let group = try TestGroup(seed: 5)
    for value in UInt8(1)...5 {
      try group.record(.write(disk: 0, offset: 0, [value]))
      try group.journal.sealActive()
    }
    try group.sync()
    let erased = try JournalRecovery(erasing: group.storage, state: group.state)
    #expect(erased.segments.isEmpty)
    group.storage.crash()
    let recovered = try JournalRecovery(group.storage, state: group.state)
    #expect(recovered.segments.isEmpty && recovered.lastSequence == .none)
  }

  /// The records after a cut are void for ever, and what comes instead counts.
  @Test(arguments: UInt64(0)...12)
  func aCutIsForEver(cut: UInt64) throws {
    let group = try TestGroup(seed: 6)
    for value in UInt8(1)...12 {
      try group.record(.write(disk: 0, offset: Int(value), [value]))
      if value % 4 == 0 { try group.journal.sealActive() }
    }
    try group.sync()
    let after = SequenceNumber(cut)
    let recovered = try JournalRecovery(group.storage, state: group.state, cut: after)
    #expect(recovered.lastSequence == after)
    group.storage.crash()
    // The peer goes on in another epoch, in the next segment.
    try group.adopt(recovered, truncatingHistoryAfter: after, newEpoch: true)
    for value in UInt8(100)...103 { try group.record(.write(disk: 1, offset: 3, [value])) }
    #expect(try group.contents() == group.history.last.disks)
    try group.sync()
    try group.restart(.powerCut)
    #expect(group.journal.stamped == after.advanced(by: 4))
    #expect(try group.contents() == group.history.last.disks)
  }

  /// Its result names records that the cut has made void.
  @Test func `work on the index that began before a cut is given up`() throws {
    let group = try TestGroup(seed: 6)
    for value in UInt8(1)...2 { try group.record(.write(disk: 0, offset: 0, [value])) }
    try group.journal.freezeActive()
    try group.sync()
    group.keepIndex(limit: 1)
    let after = SequenceNumber(1)
    let recovered = try JournalRecovery(group.storage, state: group.state, cut: after)
    try group.adopt(recovered, truncatingHistoryAfter: after, newEpoch: true)
    group.keepIndex(limit: 1)
    #expect(try group.contents() == group.history.last.disks)
  }
}
