import BlockModel
import JournalTestSupport
import SystemIO
import Testing

@testable import Journal

/// What `Journal` promises about stamping, batches, space, recycling and durability.
@Suite struct AppendingTests {
  static func byte(_ value: UInt8, _ count: Int = 1) -> Operation {
    .write(disk: 0, offset: 0, [UInt8](repeating: value, count: count))
  }

  // MARK: Order

  @Test func timestampsIncreaseStrictlyAlsoWhenTheClockGoesBack() throws {
    let group = try TestGroup(seed: 1)
    var stamps: [UInt64] = []
    for now in [100, 100, 50, 0, 101, 103, 500, 499] as [UInt64] {
      try group.record(Self.byte(1), now: now)
      stamps.append(group.journal.newestTimestamp.rawValue)
    }
    #expect(stamps == [100, 101, 102, 103, 104, 105, 500, 501])
    #expect(group.journal.stamped == SequenceNumber(8))
  }

  @Test func afterInstantsAreClosedNoRecordFallsIntoThem() throws {
    let group = try TestGroup(seed: 1)
    try group.record(Self.byte(1), now: 100)
    try group.journal.closeInstants(through: Timestamp(rawValue: 1000))
    #expect(group.journal.watermarks[.completeThrough] == 1000)
    try group.record(Self.byte(2), now: 1000)
    #expect(group.journal.newestTimestamp.rawValue == 1001)
    try group.journal.closeInstants(through: Timestamp(rawValue: 5))
    // A record is no promise: a power cut may take it.
    #expect(group.journal.watermarks[.completeThrough] == 1000)
    #expect(group.journal.promised.rawValue == 1000)
  }

  @Test func closingInstantsCommitsFirst() throws {
    let group = try TestGroup(seed: 1)
    try group.stage(Self.byte(1), now: 10)
    #expect(group.journal.appended == .none)
    try group.journal.closeInstants(through: Timestamp(rawValue: 20))
    #expect(group.journal.appended == SequenceNumber(1))
    #expect(group.journal.watermarks[.appendedTimestamp] == 10)
  }

  // MARK: Batches

  @Test func nothingIsPublishedBeforeCommit() throws {
    let group = try TestGroup(seed: 1)
    try group.record(Self.byte(1))
    let end = try #require(group.journal.newestSegment).end
    for value in UInt8(2)...9 { try group.stage(Self.byte(value), now: 0) }
    #expect(group.journal.stamped == SequenceNumber(9))
    #expect(group.journal.appended == SequenceNumber(1))
    #expect(group.journal.newestSegment?.end == end)
    #expect(try group.journal.commit())
    #expect(group.journal.appended == SequenceNumber(9))
    #expect(group.journal.newestSegment?.end == end + 8 * 29)
    #expect(try !group.journal.commit())
  }

  /// More records in a batch than one gather list takes.
  @Test func aBatchMayBeAnyNumberOfRecords() throws {
    var settings = TestGroup.Settings(diskByteCounts: [4096])
    settings.segmentByteCount = 256 << 10
    settings.capacityByteCount = 1 << 20
    let group = try TestGroup(seed: 1, settings)
    // 18 bytes of payload leave gaps between the records in memory.
    for number in 0..<3000 {
      try group.stage(Self.byte(UInt8(truncatingIfNeeded: number), 20), now: 0)
    }
    try group.commit()
    #expect(group.journal.appended == SequenceNumber(3000))
    #expect(try group.contents() == group.history.last.disks)
    try group.restart(.kill)
    #expect(group.journal.stamped == SequenceNumber(3000))
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test(arguments: [Errno.io, .noSpace])
  func aFailedAppendIsReported(errno: Errno) throws {
    let group = try TestGroup(seed: 1)
    try group.record(Self.byte(1))
    group.storage.faults.fail(.write, with: errno)
    try group.stage(Self.byte(2), now: 0)
    do {
      try group.commit()
      Issue.record("a failed write was not reported")
    } catch JournalError.storage(let found, _) {
      #expect(found == errno)
    }
    #expect(group.journal.appended == SequenceNumber(1))
  }

  // MARK: Space

  @Test func filesAreAskedForAheadAndUpToTheCapacity() throws {
    let group = try TestGroup(seed: 1)
    #expect(!group.journal.hasRoom(payloadByteCount: 0))
    #expect(group.journal.slotToCreateExists)
    var asked: [String] = []
    while let (slot, name) = group.journal.slotToCreate(isIdle: false) {
      asked.append(name)
      #expect(slot == asked.count - 1)
    }
    #expect(asked == ["segment-00000", "segment-00001", "segment-00002"])
    #expect(!group.journal.hasRoom(payloadByteCount: 0))
    for (slot, name) in asked.enumerated() {
      group.journal.slotCreated(slot, try group.storage.create(name, byteCount: 16 << 10))
    }
    #expect(group.journal.hasRoom(payloadByteCount: 4096))
    #expect(group.journal.hasFreeSegment)
    for round in 0..<3 {
      try group.record(Self.byte(UInt8(round)))
      try group.journal.sealActive()
    }
    while let (slot, name) = group.journal.slotToCreate(isIdle: false) {
      asked.append(name)
      group.journal.slotCreated(slot, try group.storage.create(name, byteCount: 16 << 10))
    }
    #expect(asked.count == 6)
    #expect(group.journal.capacityByteCount == 128 << 10)
    #expect(group.journal.usedByteCount == 3 * 16 << 10)
  }

  @Test func aFileThatCouldNotBeMadeIsAskedForAgain() throws {
    let group = try TestGroup(seed: 1)
    let first = try #require(group.journal.slotToCreate(isIdle: false))
    group.journal.slotFailed(first.slot)
    let again = try #require(group.journal.slotToCreate(isIdle: false))
    #expect(again == first)
  }

  /// A file that is missing among the others must not make a new one take the name of one in use.
  @Test func aNewFileNeverTakesAUsedName() throws {
    let group = try TestGroup(seed: 1)
    for value in UInt8(1)...3 {
      try group.record(Self.byte(value, 3000))
      try group.journal.sealActive()
    }
    try group.apply()
    try group.restart(.clean)
    let oldest = try #require(group.journal.oldestSegment)
    let names = try group.storage.names().filter { $0.hasPrefix("segment-") }
    // One that holds nothing any more.
    var unused: String?
    for name in names where unused == nil {
      let header = try JournalRecovery<FaultyStorage>.readHeader(of: group.storage.open(name))
      if header?.number != oldest.number { unused = name }
    }
    let spare = try #require(unused)
    try group.storage.remove(spare)
    try group.restart(.clean)
    var created: [String] = []
    while let (slot, name) = group.journal.slotToCreate(isIdle: false) {
      #expect(try !group.storage.names().contains(name))
      created.append(name)
      group.journal.slotCreated(
        slot, try group.storage.create(name, byteCount: group.settings.segmentByteCount))
      try group.record(Self.byte(9))
      try group.journal.sealActive()
    }
    #expect(Set(created).count == created.count)
  }

  @Test func aFullJournalHasNoRoomUntilItIsApplied() throws {
    let group = try TestGroup(seed: 1)
    var count = 0
    while true {
      group.createSlots()
      guard group.journal.hasRoom(payloadByteCount: 4000) else { break }
      try group.record(Self.byte(UInt8(truncatingIfNeeded: count), 4000))
      count += 1
    }
    // 12 KiB hold three records of 4028 bytes; there are eight segments.
    #expect(count == 24)
    #expect(group.journal.segmentCount == 8)
    #expect(!group.journal.slotToCreateExists)
    #expect(try group.recycle() == 0)
    try group.apply()
    #expect(group.journal.hasRoom(payloadByteCount: 4000))
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test func aRecordNeverCrossesTheEndOfASegment() throws {
    let group = try TestGroup(seed: 1)
    for _ in 0..<40 { try group.record(Self.byte(1, 3000)) }
    var position: UInt32 = 0
    var next = SequenceNumber(0)
    for segment in group.journal.segments(after: .none, through: SequenceNumber(.max)) {
      #expect(segment.end <= 16 << 10)
      if position > 0 {
        #expect(segment.number == position + 1)
        #expect(segment.firstSequence == next)
      }
      position = segment.number
      let found = try SegmentScannerTests.scan(segment.file)
      next = segment.firstSequence.advanced(by: UInt64(found.count))
    }
    #expect(next == group.journal.stamped.advanced(by: 1))
  }

  // MARK: Recycling

  /// Three sealed segments with a record each, all applied, and an active one.
  static func applied() throws -> TestGroup {
    let group = try TestGroup(seed: 1)
    for value in UInt8(1)...3 {
      try group.record(byte(value))
      try group.journal.sealActive()
    }
    try group.record(byte(4))
    try group.sync()
    group.journal.applyCompleted(through: SequenceNumber(3))
    return group
  }

  @Test func onlyAppliedSegmentsAreRecycled() throws {
    let group = try Self.applied()
    #expect(try group.recycle() == 3)
    #expect(group.journal.segmentCount == 1)
    #expect(group.journal.catalog.segment(3) == nil)
    #expect(group.journal.catalog.segment(4) != nil)
  }

  @Test(arguments: [(UInt64(0), 0), (1, 1), (2, 2), (3, 3), (99, 3)])
  func whatThePeerLacksIsKept(peer: UInt64, freed: Int) throws {
    let group = try Self.applied()
    #expect(try group.recycle(peerMark: SequenceNumber(peer)) == freed)
    #expect(group.journal.segmentCount == 4 - freed)
  }

  /// A step of apply notes it before it tells the loop, and readers still look for them there.
  @Test func whatIsVoidAndNotYetToldToBeAppliedIsKept() throws {
    let group = try Self.applied()
    try group.journal.sealActive()
    try group.record(Self.byte(5))
    try group.sync()
    #expect(group.journal.recycle(before: 5) == 3)
    group.journal.applyCompleted(through: SequenceNumber(4))
    #expect(group.journal.recycle(before: 5) == 1)
  }

  @Test func aPinnedSegmentIsKeptAndAllAfterIt() throws {
    let group = try Self.applied()
    let second = try #require(group.journal.catalog.pinned(2))
    #expect(try group.recycle() == 1)
    #expect(group.journal.oldestSegment === second)
    second.unpin()
    #expect(try group.recycle() == 2)
  }

  @Test func whatMustBeAppliedSoThatSegmentsComeFree() throws {
    let group = try Self.applied()
    func last(_ count: Int, peer: UInt64? = nil) -> UInt64? {
      group.keep(after: peer.map { SequenceNumber($0) })
      return group.journal.lastToApply(freeing: count)?.rawValue
    }
    // What is applied already waits for something else, and so does all behind it.
    #expect(last(1) == nil)
    #expect(try group.recycle() == 3)
    // The newest one stays.
    #expect(last(9) == nil)
    for value in UInt8(5)...6 {
      try group.journal.sealActive()
      try group.record(Self.byte(value))
    }
    #expect([1, 2, 9].map { last($0) } == [4, 5, 5])
    #expect([3, 4, 5].map { last(9, peer: $0) } == [nil, 4, 5])
    let counts = [3, 4, 6, 7].map { group.journal.segmentCount(after: SequenceNumber($0)) }
    #expect(counts == [3, 2, 0, 0])
  }

  @Test func theCatalogFindsTheSegmentOfARecord() throws {
    let group = try Self.applied()
    let catalog = group.journal.catalog
    #expect([1, 2, 3, 4, 5].map { catalog.segment(holding: $0)?.number } == [1, 2, 3, 4, 4])
    #expect(catalog.segment(holding: 0) == nil)
    #expect(catalog.oldest?.number == 1)
    #expect(catalog.pinned(9) == nil)
  }

  @Test func segmentsOfARangeOfRecords() throws {
    let group = try Self.applied()
    func numbers(_ after: UInt64, _ through: UInt64) -> [UInt32] {
      group.journal.segments(after: SequenceNumber(after), through: SequenceNumber(through))
        .map(\.number)
    }
    #expect(numbers(0, 4) == [1, 2, 3, 4])
    #expect(numbers(1, 3) == [2, 3])
    #expect(numbers(3, 9) == [4])
    #expect(numbers(4, 9) == [])
    #expect(numbers(0, 0) == [])
  }

  @Test func theBacklogIsCountedInBytes() throws {
    let group = try TestGroup(seed: 1)
    #expect(group.journal.byteCount(after: .none) == 0)
    for _ in 0..<4 { try group.record(Self.byte(1, 72)) }
    #expect(
      (0...4).map { group.journal.byteCount(after: SequenceNumber($0)) }
        == [400, 300, 200, 100, 0])
    try group.journal.sealActive()
    for _ in 0..<2 { try group.record(Self.byte(1, 172)) }
    #expect(group.journal.byteCount(after: SequenceNumber(2)) == 600)
    #expect(group.journal.byteCount(after: SequenceNumber(5)) == 200)
  }

  // MARK: Durability

  @Test func aSyncCoversWhatWasCommittedBeforeIt() throws {
    let group = try TestGroup(seed: 1)
    #expect(group.journal.syncJob() == nil)
    try group.record(Self.byte(1), now: 10)
    let job = try #require(group.journal.syncJob())
    try group.record(Self.byte(2), now: 20)
    try job.run()
    #expect(group.journal.durable == .none)
    group.journal.syncCompleted(job)
    #expect(group.journal.durable == SequenceNumber(1))
    #expect(group.journal.watermarks[.durable] == 1)
    #expect(group.journal.watermarks[.durableTimestamp] == 10)
    #expect(group.journal.syncJob()?.sequence == SequenceNumber(2))
  }

  @Test func aSyncCoversEverySegmentThatIsNotDurable() throws {
    let group = try TestGroup(seed: 1)
    for value in UInt8(1)...5 {
      try group.record(Self.byte(value))
      if value != 5 { try group.journal.sealActive() }
    }
    try group.sync()
    for segment in group.journal.segments(after: .none, through: SequenceNumber(5)) {
      #expect(segment.file.durableBytes == segment.file.bytes)
    }
    #expect(group.journal.syncJob() == nil)
  }

  @Test func aFailedSyncMakesNothingDurable() throws {
    let group = try TestGroup(seed: 1)
    try group.record(Self.byte(1))
    group.storage.faults.fail(.sync, with: .io)
    #expect(throws: Errno.io) { try group.sync() }
    #expect(group.journal.durable == .none)
  }
}
