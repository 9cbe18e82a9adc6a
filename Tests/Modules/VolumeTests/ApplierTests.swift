import BlockModel
import JournalTestSupport
import Storage
import StorageTesting
import SystemIO
import TestSupport
import Testing
import Volume

@testable import Journal

/// Apply writes each block once, in order; the base is durable when it returns; repeating it is
/// harmless; an error leaves everything to be done again.
@Suite struct ApplierTests {
  static let diskByteCounts = [4 << 20, 1 << 20]

  static func group(_ diskByteCounts: [Int] = diskByteCounts) throws -> TestGroup {
    var settings = TestGroup.Settings(diskByteCounts: diskByteCounts)
    settings.segmentByteCount = 4 << 20
    settings.capacityByteCount = 64 << 20
    return try TestGroup(seed: 1, settings)
  }

  static func stores() -> [RecordingStore] { diskByteCounts.map { RecordingStore(byteCount: $0) } }

  static func generations(_ group: TestGroup) throws -> [Generation] {
    try group.journal.freezeActive()
    return group.journal.generations
  }

  static func block(_ value: Int, _ count: Int = 4096) -> [UInt8] {
    [UInt8](repeating: UInt8(truncatingIfNeeded: value | 1), count: count)
  }

  @Test func aBlockWrittenAThousandTimesIsWrittenOnce() throws {
    let group = try Self.group([16 << 10, 4096])
    for round in 0..<1000 {
      try group.stage(.write(disk: 0, offset: 8192, Self.block(round, 512)), now: 0)
      if round % 300 == 0 { try group.journal.freezeActive() }
    }
    let stores = [16 << 10, 4096].map { RecordingStore(byteCount: $0) }
    let outcome = try Applier(catalog: group.journal.catalog, stores: stores)
      .apply(Self.generations(group))
    #expect(stores[0].calls == [.write(8192, count: 512), .sync])
    #expect(stores[1].calls.isEmpty)
    #expect(outcome.writeCount == 1 && outcome.writtenBytes == 512)
    #expect(stores[0].memory.durableBytes == group.history.last.disks[0])
  }

  @Test func neighboursLeaveInOneWriteInAscendingOrder() throws {
    let group = try Self.group()
    for index in [3, 0, 2, 7, 1, 9, 8] {
      try group.record(.write(disk: 0, offset: index * 4096, Self.block(index)))
    }
    let stores = Self.stores()
    try Applier(catalog: group.journal.catalog, stores: stores).applyAll(Self.generations(group))
    let expected: [RecordingStore.Call] = [
      .write(0, count: 16384), .write(28672, count: 12288), .sync,
    ]
    #expect(stores[0].calls == expected)
    #expect(stores[0].memory.bytes == group.history.last.disks[0])
  }

  @Test func oneWriteHasAtMostAMebibyte() throws {
    let group = try Self.group()
    for index in 0..<5 {
      let offset = index * 700_000
      try group.record(.write(disk: 0, offset: offset, Self.block(index, 200_000)))
      try group.record(.write(disk: 0, offset: offset + 200_000, Self.block(index, 500_000)))
    }
    let stores = Self.stores()
    let outcome = try Applier(catalog: group.journal.catalog, stores: stores)
      .apply(Self.generations(group))
    #expect(outcome.writtenBytes == 3_500_000)
    #expect(outcome.writeCount <= 8)
    for call in stores[0].calls {
      if case .write(_, let count) = call { #expect(count <= 1 << 20) }
    }
    #expect(stores[0].memory.bytes == group.history.last.disks[0])
  }

  @Test func zerosAndHolesReachTheStoreAsSuch() throws {
    let group = try Self.group()
    try group.record(.write(disk: 1, offset: 0, Self.block(1, 65536)))
    try group.record(.zero(disk: 1, offset: 4096, length: 8192))
    try group.record(.trim(disk: 1, offset: 32768, length: 4096))
    try group.record(.trim(disk: 1, offset: 36864, length: 4096))
    let stores = Self.stores()
    let outcome = try Applier(catalog: group.journal.catalog, stores: stores)
      .apply(Self.generations(group))
    let expected: [RecordingStore.Call] = [
      .write(0, count: 4096), .zero(ByteRange(start: 4096, length: 8192), mayFreeSpace: false),
      .write(12288, count: 20480),
      .zero(ByteRange(start: 32768, length: 8192), mayFreeSpace: true),
      .write(40960, count: 24576), .sync,
    ]
    #expect(stores[1].calls == expected)
    #expect(outcome.zeroedBytes == 16384 && outcome.writtenBytes == 49152)
    #expect(stores[1].memory.durableBytes == group.history.last.disks[1])
  }

  @Test func zerosForWhichThereIsNoSpaceBecomeHoles() throws {
    let group = try Self.group()
    try group.record(.write(disk: 0, offset: 0, Self.block(1, 65536)))
    try group.record(.zero(disk: 0, offset: 4096, length: 8192))
    let stores = Self.stores()
    stores[0].memory.failNext(.zero, with: .noSpace)
    let applier = Applier(catalog: group.journal.catalog, stores: stores)
    let outcome = try applier.apply(Self.generations(group))
    #expect(outcome.thinnedBytes == 8192 && outcome.zeroedBytes == 8192)
    let range = ByteRange(start: 4096, length: 8192)
    #expect(stores[0].calls.contains(.zero(range, mayFreeSpace: true)))
    #expect(stores[0].memory.durableBytes == group.history.last.disks[0])
    stores[0].memory.failNext(.zero, with: .io)
    #expect(throws: VolumeError.self) { try applier.applyAll(Self.generations(group)) }
  }

  @Test func nothingToApplyTouchesNothing() throws {
    let group = try Self.group()
    let stores = Self.stores()
    let applier = Applier(catalog: group.journal.catalog, stores: stores)
    #expect(try applier.apply([]) == .init())
    try group.record(.checkpoint(tag: "only"))
    #expect(try applier.apply(Self.generations(group)) == .init())
    #expect(stores.allSatisfy { $0.calls.isEmpty })
  }

  @Test(arguments: UInt64(0)..<20)
  func applyingTwiceIsHarmless(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let group = try TestGroup(seed: seed)
    for _ in 0..<40 {
      try group.record(
        .random(&random, diskByteCounts: group.settings.diskByteCounts, writeLimit: 2000))
      if random.chance(15) { try group.journal.freezeActive() }
      if random.chance(5) { try group.journal.sealActive() }
    }
    let generations = try Self.generations(group)
    let applier = Applier(catalog: group.journal.catalog, stores: group.stores)
    let first = try applier.apply(generations)
    #expect(group.stores.map(\.durableBytes) == group.history.last.disks)
    #expect(try applier.apply(generations) == first)
    // Also one by one, and again from the middle: later records win in the end.
    for generation in generations { try applier.applyAll([generation]) }
    let middle = random.below(generations.count)
    try applier.applyAll(Array(generations[middle...]))
    #expect(group.stores.map(\.durableBytes) == group.history.last.disks)
  }

  @Test(arguments: [StorageError.Operation.write, .zero, .sync])
  func anErrorIsReportedAndTheStepCanBeRepeated(operation: StorageError.Operation) throws {
    let group = try Self.group()
    for index in 0..<4 {
      try group.record(.write(disk: 0, offset: index * 8192, Self.block(index)))
      try group.record(.trim(disk: 0, offset: index * 8192 + 4096, length: 512))
    }
    let stores = Self.stores()
    let applier = Applier(catalog: group.journal.catalog, stores: stores)
    let generations = try Self.generations(group)
    stores[0].memory.failNext(operation, with: .io)
    let error = #expect(throws: VolumeError.self) { try applier.applyAll(generations) }
    guard case .base(let failure) = error else { throw RigError("\(String(describing: error))") }
    #expect(failure.errno == .io)
    stores[0].memory.dropUnsynced()
    try applier.applyAll(generations)
    #expect(stores[0].memory.durableBytes == group.history.last.disks[0])
  }

  @Test func whatIsLostBetweenTheWritesOfAStepIsWrittenAgain() throws {
    let group = try Self.group()
    for index in 0..<100 {
      try group.record(.write(disk: 0, offset: index * 8192, Self.block(index)))
    }
    let stores = Self.stores()
    let applier = Applier(catalog: group.journal.catalog, stores: stores)
    let generations = try Self.generations(group)
    stores[0].loseBeforeWriteOut()
    #expect(throws: VolumeError.self) { try applier.applyAll(generations) }
    try applier.applyAll(generations)
    #expect(stores[0].memory.durableBytes == group.history.last.disks[0])
  }

  @Test func everyTouchedBaseIsSynced() throws {
    let group = try Self.group()
    try group.record(.write(disk: 0, offset: 0, Self.block(1)))
    try group.record(.zero(disk: 1, offset: 0, length: 512))
    let stores = Self.stores()
    try Applier(catalog: group.journal.catalog, stores: stores).applyAll(Self.generations(group))
    #expect(stores.map { $0.calls.last } == [.sync, .sync])
  }

  @Test func aJournalThatCannotBeReadIsReported() throws {
    let group = try Self.group()
    try group.record(.write(disk: 0, offset: 0, Self.block(1)))
    let generations = try Self.generations(group)
    let stores = Self.stores()
    group.storage.faults.fail(.read, with: .io)
    do {
      try Applier(catalog: group.journal.catalog, stores: stores).applyAll(generations)
      Issue.record("the error was swallowed")
    } catch VolumeError.journal(let errno, let segment) {
      #expect(errno == .io && segment == 1)
    }
    let empty = SegmentCatalog<FaultyFile>()
    do {
      try Applier(catalog: empty, stores: stores).applyAll(generations)
      Issue.record("a missing segment was not noticed")
    } catch VolumeError.segmentMissing(let segment) {
      #expect(segment == 1)
    }
    #expect(stores[0].memory.bytes == group.history.entries[0].disks[0])
  }
}

extension Applier {
  func applyAll(_ generations: [Generation]) throws(VolumeError) { _ = try apply(generations) }
}
