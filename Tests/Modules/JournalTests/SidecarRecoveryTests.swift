import BlockModel
import JournalTestSupport
import SystemIO
import TestSupport
import Testing

@testable import Journal

/// Proves that a journal opened by sidecars is the journal that a scan finds, after whatever a
/// power cut, a failed write, recycling or a cut left of them, and that hardly anything is read.
@Suite struct SidecarRecoveryTests {
  /// A folder seen without its sidecars.
  struct ScanOnly: JournalStorage {
    let storage: FaultyStorage
    func names() throws(Errno) -> [String] {
      try storage.names().filter { !$0.hasSuffix(".index") }
    }
    func open(_ name: String) throws(Errno) -> FaultyFile { try storage.open(name) }
    func create(_ name: String, byteCount: Int) throws(Errno) -> FaultyFile { throw .io }
    func rewrite(_ name: String) throws(Errno) -> FaultyFile { throw .io }
    func scratch() throws(Errno) -> FaultyFile { throw .io }
    func remove(_ name: String) throws(Errno) { throw .io }
  }

  /// All that a journal takes from a recovery; of the index, checksums.
  struct Found: Equatable {
    var headers: [SegmentHeader] = []
    var ends: [Int] = []
    var sealed: [Bool] = []
    var spans: [RecordSpan] = []
    var checkpoints: [Checkpoint] = []
    var indexes: [UInt32] = []
    var last: [UInt64]
    var freeSlots: [Int]
    var endsWithLastSegment: Bool
    var notes: [String]

    init<Storage: JournalStorage>(_ recovered: JournalRecovery<Storage>) throws {
      headers = recovered.segments.map(\.header)
      ends = recovered.segments.map(\.end)
      sealed = recovered.segments.map(\.isSealed)
      spans = recovered.generations.map(\.span)
      checkpoints = recovered.generations.flatMap(\.checkpoints)
      indexes = try recovered.generations.map { generation in
        let identity = SegmentIdentity(
          group: .init(high: 0, low: 0), incarnation: .numbered(0), number: 0)
        let header = SegmentHeader(
          identity: identity, segmentByteCount: 64 << 10, firstSequence: .none,
          firstTimestamp: .zero)
        let sidecar = SidecarIndex(of: header, end: 0, generation: generation.flattened())
        return unsafe try sidecar.encoded().withUnsafeBytes { unsafe CRC32C.standard($0) }
      }
      last = [recovered.lastSequence.rawValue, recovered.lastTimestamp.rawValue]
      freeSlots = recovered.freeSlots
      endsWithLastSegment = recovered.endsWithLastSegment
      notes = recovered.notes
    }
  }

  static func expectSame(_ group: TestGroup, cut: SequenceNumber? = nil) throws {
    let scanned = try JournalRecovery(
      ScanOnly(storage: group.storage), state: group.state, cut: cut)
    let indexed = try JournalRecovery(group.storage, state: group.state, cut: cut)
    #expect(try Found(indexed) == Found(scanned))
  }

  /// A group with `count` full segments.
  static func filled(_ count: Int, seed: UInt64 = 2) throws -> TestGroup {
    var random = SeededGenerator(seed: seed)
    var settings = TestGroup.Settings()
    settings.capacityByteCount = (count + 2) * settings.segmentByteCount
    let group = try TestGroup(seed: seed, settings)
    while group.journal.segmentCount <= count {
      try group.record(
        .random(&random, diskByteCounts: settings.diskByteCounts, writeLimit: 4000))
    }
    try group.sync()
    return group
  }

  @Test func `reads headers, sidecars and the unsealed tail only`() throws {
    let group = try Self.filled(40)
    group.keepIndex()
    try Self.expectSame(group)
    let before = group.storage.faults.readByteCount
    _ = try JournalRecovery(group.storage, state: group.state)
    let indexed = group.storage.faults.readByteCount - before
    _ = try JournalRecovery(ScanOnly(storage: group.storage), state: group.state)
    let scanned = group.storage.faults.readByteCount - before - indexed
    let names = try group.storage.names()
    let headers = names.filter { $0.hasPrefix("segment-") && !$0.hasSuffix(".index") }.count * 4096
    let sidecars = try names.filter { $0.hasSuffix(".index") }
      .reduce(0) { $0 + (try group.storage.open($1).bytes.count) }
    // The tail is read twice: verified, and then for its index.
    #expect(indexed <= headers + sidecars + 2 * group.settings.segmentByteCount)
    #expect(scanned > 40 * 12 << 10)
    try group.restart(.powerCut)
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test(arguments: UInt64(0)..<80)
  func `gives the state of a scan whatever happened`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed ^ 0x51DE)
    var now: UInt64 = 1000
    var settings = TestGroup.Settings(diskByteCounts: [20_000, 9000])
    settings.capacityByteCount = settings.segmentByteCount * (6 + random.below(12))
    let group = try TestGroup(seed: seed, settings)
    for _ in 0..<8 {
      for _ in 0..<random.below(16) {
        try JournalModelTests.step(group, &random, &now)
        if random.chance(40) {
          try group.sync()
          group.keepIndex()
        }
      }
      let ending: TestGroup.Ending = random.chance(60) ? .powerCut : .clean
      if ending == .powerCut { group.storage.crash() }
      try Self.expectSame(group)
      try group.restart(ending == .powerCut ? .kill : .clean)
      #expect(try group.contents() == group.history.last.disks)
    }
  }

  @Test(arguments: UInt64(0)..<30)
  func `power cut while a sidecar is written is harmless`(seed: UInt64) throws {
    let group = try Self.filled(5, seed: seed)
    group.storage.faults.fail(.write, with: .noSpace, afterCalls: Int(seed % 5))
    group.keepIndex()
    group.storage.crash()
    try Self.expectSame(group)
    try group.restart(.kill)
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test(arguments: [Faults.Operation.create, .write])
  func `sidecar that could not be written is tried again`(_ failing: Faults.Operation) throws {
    let group = try Self.filled(3)
    group.storage.faults.fail(failing, with: .noSpace)
    group.keepIndex()
    #expect(try !group.storage.names().contains("segment-00000.index"))
    group.keepIndex()
    for name in ["segment-00000.index", "segment-00001.index", "segment-00002.index"] {
      #expect(try group.storage.names().contains(name))
    }
    try Self.expectSame(group)
  }

  /// All of it is on the disks, and the peer tells what it still needs of it.
  @Test func `applied segments that wait for the peer are not read`() throws {
    let group = try Self.filled(8)
    let last = try #require(group.journal.generations.last).span
    let mark = JournalState.Mark(last.lastSequence, last.lastTimestamp)
    try group.updateState { $0.applied = mark }
    // The sidecars are made afterwards, of some before their records were applied.
    group.keepIndex(limit: 5)
    group.journal.applyCompleted(through: mark.sequence)
    group.keepIndex()
    try Self.expectSame(group)
    let segments = group.journal.segmentCount
    for number in 0..<segments - 2 {
      let name = JournalRecovery<FaultyStorage>.slotName(number)
      try group.storage.open(name).damage(9000) { $0 ^ 1 }
    }
    let before = group.storage.faults.readByteCount
    let recovered = try JournalRecovery(group.storage, state: group.state)
    #expect(recovered.segments.count == segments)
    // Headers; the last two are read twice: verified, and then for their index.
    let limit = (segments + 4) * SegmentHeader.byteCount + 4 * group.settings.segmentByteCount
    #expect(group.storage.faults.readByteCount - before < limit)
    #expect(recovered.trustedSegments.isEmpty)
  }

  /// At a recovery site whose peer is away, or at rest, nothing is written or synced for long.
  @Test func `after a start the index is merged though nobody writes`() throws {
    let group = try Self.filled(20)
    group.keepIndex()
    try group.restart(.kill)
    #expect(group.journal.mapCount > 20)
    group.keepIndex()
    // Two blocks of segments 0 to 15, and those behind.
    #expect(group.journal.mapCount < 10)
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test func `free slots are not read`() throws {
    let group = try Self.filled(8)
    group.keepIndex()
    try group.apply()
    #expect(group.journal.segmentCount <= 1)
    for number in 0..<7 {
      let name = JournalRecovery<FaultyStorage>.slotName(number)
      let header = try JournalRecovery<FaultyStorage>.readHeader(of: group.storage.open(name))
      #expect(header != nil, "it still names the segment that was there")
    }
    let before = group.storage.faults.readByteCount
    let recovered = try JournalRecovery(group.storage, state: group.state)
    #expect(recovered.segments.count <= 1)
    #expect(
      group.storage.faults.readByteCount - before
        < 12 * SegmentHeader.byteCount + 2 * group.settings.segmentByteCount)
  }

  /// A power cut has lost the new header of a file that is used again, but not all that followed.
  @Test func `old header of a file that was used again is not believed`() throws {
    let group = try Self.filled(4)
    group.keepIndex()
    let peerMark = SequenceNumber(
      try #require(group.journal.catalog.segment(3)).firstSequence.rawValue - 1)
    try group.apply(peerMark: peerMark)
    #expect(group.journal.oldestSegment?.number == 3)
    // Segments 3 and 4 are kept for the peer, so 2 would join them without a hole.
    try group.storage.open("segment-00001").damage(9000) { $0 ^ 1 }
    try group.restart(.kill)
    #expect(group.journal.oldestSegment?.number == 3)
    for segment in group.journal.segments(after: .none, through: SequenceNumber(.max)) {
      _ = try segment.verify(applying: .none)
    }
    try Self.expectSame(group)
  }

  @Test func `new segments are numbered behind those that were recycled`() throws {
    let group = try Self.filled(3)
    try group.apply()
    let newest = try #require(group.journal.newestSegment)
    // Damage has cost the last segment, whose records are all applied.
    for slot in 0..<3 {
      try group.storage.open(JournalRecovery<FaultyStorage>.slotName(slot)).damage(5) { $0 ^ 1 }
    }
    try group.storage.open(JournalRecovery<FaultyStorage>.slotName(3)).damage(5) { $0 ^ 1 }
    try group.restart(.kill)
    #expect(group.journal.segmentCount == 0)
    try group.record(.write(disk: 0, offset: 0, [1]))
    try group.sync()
    #expect(group.journal.newestSegment?.number == newest.number)
    try group.restart(.powerCut)
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test func `applied records inside of a segment are not indexed`() throws {
    let group = try Self.filled(4)
    group.keepIndex()
    let applied = SequenceNumber(3)
    try group.updateState { $0.applied = .init(applied, group.history[applied].timestamp) }
    try Self.expectSame(group)
    let recovered = try JournalRecovery(group.storage, state: group.state)
    #expect(recovered.generations.first?.span.firstSequence == SequenceNumber(4))
  }

  @Test func `cut goes through segments with sidecars`() throws {
    for cut in UInt64(0)..<40 {
      let group = try Self.filled(4)
      group.keepIndex()
      let after = SequenceNumber(cut)
      try group.updateState { $0.durable = min($0.durable, after) }
      let recovered = try JournalRecovery(group.storage, state: group.state, cut: after)
      #expect(recovered.lastSequence == after)
      // Nor does a start find more that nobody sets back again.
      #expect(try JournalRecovery(group.storage, state: group.state).lastSequence == after)
      try group.adopt(recovered, truncatingHistoryAfter: after, newEpoch: true)
      // What had been merged before the cut must not come back.
      group.keepIndex()
      for value in UInt8(100)...110 {
        try group.record(.write(disk: 1, offset: 3, [value]))
        if value % 4 == 0 { try group.journal.sealActive() }
      }
      try group.sync()
      group.keepIndex()
      #expect(try group.contents() == group.history.last.disks)
      try Self.expectSame(group)
      try group.restart(.powerCut)
      #expect(try group.contents() == group.history.last.disks)
    }
  }

  /// Damage before the cut is not an order that ends early.
  @Test func `cut refuses a journal that ends before it, and erases nothing`() throws {
    let group = try Self.filled(4)
    let after = SequenceNumber(group.journal.durable.rawValue - 1)
    try group.updateState { $0.durable = after }
    let first = try group.storage.open("segment-00000")
    try unsafe [UInt8](repeating: 0xFF, count: 2).withUnsafeBytes {
      try unsafe first.write($0, at: UInt64(SegmentHeader.byteCount) + 5)
    }
    func contents() throws -> [[UInt8]] {
      try group.storage.names().sorted().map { try group.storage.open($0).bytes }
    }
    let before = try contents()
    #expect {
      try JournalRecovery(group.storage, state: group.state, cut: after)
    } throws: {
      if case JournalError.damaged = $0 { true } else { false }
    }
    #expect(try contents() == before)
  }

  /// The sidecar of segment 1 names three records, and it has seven.
  @Test func `sidecar does not stand for a segment that was cut and went on`() throws {
    let group = try TestGroup(seed: 3)
    for value in UInt8(1)...6 {
      try group.record(.write(disk: 0, offset: Int(value), [value]))
      if value % 3 == 0 { try group.journal.sealActive() }
    }
    try group.sync()
    group.keepIndex()
    #expect(try group.storage.names().contains("segment-00000.index"))
    let after = SequenceNumber(2)
    try group.updateState { $0.durable = after }
    let recovered = try JournalRecovery(group.storage, state: group.state, cut: after)
    try group.adopt(recovered, truncatingHistoryAfter: after, newEpoch: false)
    for value in UInt8(3)...8 {
      if value == 8 { try group.journal.sealActive() }
      try group.record(.write(disk: 0, offset: Int(value), [value]))
    }
    try group.sync()
    #expect(group.journal.segmentCount == 2)
    try Self.expectSame(group)
    try group.restart(.powerCut)
    #expect(group.journal.stamped == SequenceNumber(8))
  }

  @Test func `sidecar of an earlier use of the file counts as missing`() throws {
    let group = try Self.filled(4)
    group.keepIndex()
    try group.apply()
    var random = SeededGenerator(seed: 9)
    for _ in 0..<40 {
      try group.record(
        .random(&random, diskByteCounts: group.settings.diskByteCounts, writeLimit: 4000))
    }
    try group.sync()
    #expect(group.journal.segmentCount > 2)
    try Self.expectSame(group)
    try group.restart(.kill)
    #expect(try group.contents() == group.history.last.disks)
  }

  @Test func `a start after a failed sync believes the disk and not memory`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(AppendingTests.byte(1))
    try group.sync()
    try group.record(AppendingTests.byte(2))
    group.storage.faults.fail(.sync, with: .io)
    #expect(throws: Errno.io) { try group.sync() }
    try group.restart(.kill)
    #expect(group.journal.stamped == SequenceNumber(1))
  }
}
