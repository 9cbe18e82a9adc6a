import BlockModel
import JournalTestSupport
import SystemIO
import TestSupport
import Testing

@testable import Journal

/// Proves that a sidecar gives back the index it was made from, and that anything else in its file
/// counts as missing.
@Suite struct SidecarIndexTests {
  /// A group whose first segment is sealed, durable and indexed, and that segment.
  static func indexed(
    seed: UInt64 = 1
  ) throws -> (TestGroup, Segment<FaultyFile>, FaultyFile) {
    var random = SeededGenerator(seed: seed)
    let group = try TestGroup(seed: seed)
    while group.journal.segmentCount < 2 {
      try group.record(
        .random(&random, diskByteCounts: group.settings.diskByteCounts, writeLimit: 900))
      if random.chance(5) { try group.journal.freezeActive() }
    }
    try group.sync()
    group.keepIndex()
    let segment = try #require(group.journal.oldestSegment)
    return (group, segment, try group.storage.open("segment-00000.index"))
  }

  static func disks(_ group: TestGroup) -> [UInt64] { group.state.disks.map(\.byteCount) }

  static func sidecar(_ reading: SidecarIndex.Reading) -> SidecarIndex? {
    if case .whole(let sidecar) = reading { sidecar } else { nil }
  }

  @Test(arguments: UInt64(0)..<12)
  func `is what a scan of the segment makes`(seed: UInt64) throws {
    let (group, segment, file) = try Self.indexed(seed: seed)
    let reading = try SidecarIndex.read(file, of: segment.header, disks: Self.disks(group))
    let found = try #require(Self.sidecar(reading))
    let scanned = try #require(
      try SidecarIndex.scanning(
        segment.file, header: segment.header, end: segment.end,
        recordCount: found.recordCount, diskCount: 2))
    #expect(found.end == segment.end)
    #expect(found.generation.checkpoints == scanned.generation.checkpoints)
    #expect(try found.encoded() == scanned.encoded())
    #expect(try found.encoded() == Array(file.bytes))
  }

  @Test func `does not verify when any bit of it has changed`() throws {
    let (group, segment, file) = try Self.indexed()
    for position in file.bytes.indices where position < 400 || position % 7 == 0 {
      file.damage(position) { $0 ^ 4 }
      let reading = try SidecarIndex.read(file, of: segment.header, disks: Self.disks(group))
      #expect(Self.sidecar(reading) == nil, "byte \(position)")
      file.damage(position) { $0 ^ 4 }
    }
    let reading = try SidecarIndex.read(file, of: segment.header, disks: Self.disks(group))
    #expect(Self.sidecar(reading) != nil)
  }

  @Test func `of another segment is told from a damaged one`() throws {
    let (group, segment, file) = try Self.indexed()
    func other(_ identity: SegmentIdentity) -> SegmentHeader {
      SegmentHeader(
        identity: identity, segmentByteCount: segment.header.segmentByteCount,
        firstSequence: segment.header.firstSequence,
        firstTimestamp: segment.header.firstTimestamp)
    }
    let own = segment.header.identity
    for identity in [
      SegmentIdentity(group: own.group, incarnation: .numbered(own.epoch + 1), number: own.number),
      SegmentIdentity(group: own.group, incarnation: own.incarnation, number: own.number + 1),
      SegmentIdentity(
        group: GroupIdentifier(high: 1, low: own.group.low), incarnation: own.incarnation,
        number: own.number),
    ] {
      let reading = try SidecarIndex.read(file, of: other(identity), disks: Self.disks(group))
      guard case .other = reading else {
        Issue.record("taken for segment \(identity)")
        continue
      }
    }
    file.damage(0) { $0 ^ 1 }
    let reading = try SidecarIndex.read(file, of: segment.header, disks: Self.disks(group))
    if case .damaged = reading { return }
    Issue.record("damage was not noticed")
  }

  @Test(arguments: [[UInt64](), [48 << 10], [48 << 10, 100], [10, 17 << 10]])
  func `does not fit other disks`(disks: [UInt64]) throws {
    let (_, segment, file) = try Self.indexed()
    #expect(Self.sidecar(try SidecarIndex.read(file, of: segment.header, disks: disks)) == nil)
  }

  @Test func `is written only of durable segments that have a successor`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1]))
    try group.journal.sealActive()
    try group.sync()
    #expect(group.journal.sidecarJob() == nil, "no successor")
    try group.record(.write(disk: 0, offset: 1, [2]))
    let job = try #require(group.journal.sidecarJob())
    #expect(job.name == "segment-00000.index")
    try group.journal.sealActive()
    try group.record(.write(disk: 0, offset: 2, [3]))
    #expect(group.journal.sidecarJob() == nil, "not durable")
    try group.sync()
    #expect(group.journal.sidecarJob()?.segment.number == 2)
    #expect(group.journal.sidecarJob() == nil, "all written")
  }

  private static func seal(_ group: TestGroup, _ number: UInt32) throws -> SegmentSeal? {
    let segment = try #require(group.journal.catalog.segment(number))
    let name = JournalRecovery<FaultyStorage>.slotName(Int(number) - 1)
    let file = try group.storage.open(SidecarIndex.name(ofSegmentFile: name))
    let reading = try SidecarIndex.read(file, of: segment.header, disks: disks(group))
    return if case .sealed(let seal) = reading { seal } else { nil }
  }

  @Test func `has the index of a segment of small records, however large that is`() throws {
    let group = try TestGroup(seed: 1)
    while group.journal.segmentCount < 2 {
      let number = Int(group.journal.stamped.rawValue)
      try group.record(.trim(disk: 0, offset: number * 8 % 40_000, length: 4))
    }
    try group.sync()
    group.keepIndex()
    let segment = try #require(group.journal.oldestSegment)
    let file = try group.storage.open("segment-00000.index")
    #expect(file.bytes.count > segment.end / 2)
    let reading = try SidecarIndex.read(file, of: segment.header, disks: Self.disks(group))
    #expect(Self.sidecar(reading)?.generation.flatExtentCount ?? 0 > segment.end / 64)
    try SidecarRecoveryTests.expectSame(group)
  }

  @Test func `is a seal of a segment with applied records`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1]))
    try group.apply()
    for value in UInt8(2)...4 {
      try group.record(.write(disk: 0, offset: 0, [value]))
      try group.journal.sealActive()
    }
    try group.sync()
    group.keepIndex()
    let seal = try #require(try Self.seal(group, 1))
    #expect(seal.span.firstSequence == SequenceNumber(1))
    #expect(seal.recordCount == 2)
    #expect(try Self.seal(group, 2) == nil, "it has an index")
  }
}
