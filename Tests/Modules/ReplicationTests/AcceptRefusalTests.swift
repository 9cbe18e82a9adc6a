import BlockModel
import Journal
import JournalTestSupport
import TestSupport
import Testing

/// Proves that a journal takes nothing from its peer but exactly what must come next: whatever is
/// damaged, missing, repeated, foreign or outside of the disks is refused, and the journal stays as
/// it was, so that the right bytes still fit.
struct AcceptRefusalTests {
  /// A source with `writes` records of 600 bytes, and a replica that has the first `received`.
  private struct Scene {
    let source: FolderJournal
    let replica: FolderJournal
    let records: [[UInt8]]

    init(writes: Int = 5, received: Int = 2) throws {
      source = try FolderJournal()
      var random = SeededGenerator(seed: 11)
      for number in 0..<writes {
        try source.append(.write, offset: UInt64(number) * 4096, payload: random.bytes(600))
      }
      let segment = try #require(source.segments.first)
      records = try FolderJournal.records(of: segment)
      replica = try FolderJournal()
      _ = try replica.acceptSegment(segment.header)
      for record in records.prefix(received) { _ = try replica.accept(record) }
      try #require(records.count == writes && replica.journal.appended.rawValue == received)
    }

    /// `bytes` are refused and change nothing; what must come next is then taken.
    func expectRefusal(_ bytes: [UInt8], _ note: String = "") throws {
      let before = replica.position
      #expect(try replica.accept(bytes) == .notNext, "\(note)")
      #expect(replica.position == before, "\(note)")
      #expect(replica.journal.appended == before.stamped, "\(note)")
    }

    func expectNextIsTaken() throws {
      let next = records[Int(replica.journal.appended.rawValue)]
      #expect(try replica.accept(next) == .taken(next.count))
    }
  }

  /// A power cut has left its owner nothing of the segment but the header, and what was promised
  /// since stands: the segment must not be refused for ever, but any record of it.
  @Test func `of a segment that begins before what was promised, no record is taken`() throws {
    let scene = try Scene(writes: 1, received: 0)
    let replica = try FolderJournal()
    let segment = try #require(scene.source.segments.first)
    let promised = Timestamp(rawValue: segment.header.firstTimestamp.rawValue + 5)
    try replica.journal.closeInstants(through: promised)
    #expect(
      try replica.acceptSegment(segment.header) == .taken(SegmentHeader.byteCount))
    #expect(try replica.accept(scene.records[0]) == .brokenPromise(SequenceNumber(1)))
  }

  /// The peer is told of the first; the second is damage, which it must look for.
  @Test func `a record that breaks a promise is told from one that is damaged`() throws {
    let scene = try Scene()
    let promised = Timestamp(rawValue: scene.source.journal.newestTimestamp.rawValue - 1)
    try scene.replica.journal.closeInstants(through: promised)
    #expect(try scene.replica.accept(scene.records[2]) == .brokenPromise(SequenceNumber(3)))
    var damaged = scene.records[2]
    damaged[damaged.count - 1] ^= 1
    try scene.expectRefusal(damaged)
    // Nor is a record that came before what is here.
    try scene.expectRefusal(scene.records[1])
  }

  // MARK: Records

  @Test func `a record with a flipped bit is refused`() throws {
    let scene = try Scene()
    let record = scene.records[2]
    // A length that has grown must not be excused as a record of which more will come.
    let following = [UInt8](repeating: 0, count: RecordHeader.payloadLimit)
    let headerBits = RecordHeader.byteCount * 8
    let payloadBits = stride(from: headerBits, to: record.count * 8, by: 37)
    for bit in Array(0..<headerBits) + Array(payloadBits) {
      var bytes = record
      bytes[bit / 8] ^= 1 << (bit % 8)
      let isLength = (24..<28).contains(bit / 8)
      try scene.expectRefusal(isLength ? bytes + following : bytes, "bit \(bit)")
    }
    try scene.expectNextIsTaken()
  }

  @Test func `a skipped record is refused`() throws {
    let scene = try Scene()
    try scene.expectRefusal(scene.records[3])
    try scene.expectRefusal(scene.records[4])
    try scene.expectNextIsTaken()
  }

  @Test func `a repeated record is refused`() throws {
    let scene = try Scene()
    try scene.expectRefusal(scene.records[1])
    try scene.expectRefusal(scene.records[0])
    try scene.expectNextIsTaken()
  }

  @Test func `zeros, as in a file's unused end, are refused`() throws {
    let scene = try Scene()
    try scene.expectRefusal([UInt8](repeating: 0, count: 4096))
    try scene.expectNextIsTaken()
  }

  @Test func `whole records in front of a bad one are kept, nothing of it is`() throws {
    let scene = try Scene()
    #expect(try scene.replica.accept(scene.records[2] + scene.records[4]) == .notNext)
    #expect(scene.replica.journal.appended == SequenceNumber(3))
    try scene.expectNextIsTaken()
    let segment = try #require(scene.replica.segments.first)
    #expect(try FolderJournal.records(of: segment) == Array(scene.records.prefix(4)))
  }

  @Test func `records before any segment are refused`() throws {
    let scene = try Scene()
    let replica = try FolderJournal()
    #expect(try replica.accept(scene.records[0]) == .notNext)
    #expect(replica.journal.stamped == .none)
  }

  struct Outside: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let kind: RecordKind
    let disk: UInt16
    let offset: UInt64
    let length: UInt32
    init(_ text: String, _ kind: RecordKind, _ disk: UInt16, _ offset: UInt64, _ length: UInt32) {
      testDescription = text
      self.kind = kind
      self.disk = disk
      self.offset = offset
      self.length = length
    }
  }

  static let outside = [
    Outside("a write over the end", .write, 0, 1 << 20 - 512, 1024),
    Outside("a write past the end", .write, 0, 1 << 20, 512),
    Outside("a write that fits only the other disk", .write, 0, 1 << 20 + 4096, 512),
    Outside("a trim over the end", .trim, 1, 0, 2 << 20 + 1),
    Outside("zeros over the end", .zero, 1, 2 << 20 - 1, 2),
    Outside("a disk that is not there", .write, 2, 0, 512),
    Outside("a disk far away", .trim, .max, 0, 512),
    Outside("the end of 64 bits", .trim, 0, .max - 512, 512),
  ]

  @Test(arguments: outside) func `a record outside of its disk is refused`(record: Outside) throws {
    let payload = [UInt8](repeating: 3, count: record.kind == .write ? Int(record.length) : 0)
    // Sealed as it should be: only its place is wrong.
    let bytes = try Self.sealed(record, payload)
    let replica = try FolderJournal()
    _ = try replica.acceptSegment(bytes.header)
    let before = replica.position
    let isKnownDisk = Int(record.disk) < FolderJournal.disks.count
    let end = record.offset + UInt64(record.length)
    #expect(
      try replica.accept(bytes.record)
        == (isKnownDisk
          ? .behindEnd(SequenceNumber(1), DiskNumber(record.disk), end: end) : .notNext))
    #expect(replica.position == before)
    guard isKnownDisk else { return }
    // Damage is not taken for a disk that is too small.
    var damaged = bytes.record
    damaged[16] ^= 1
    #expect(try replica.accept(damaged) == .notNext)
    // On a disk that has the place, the very same bytes are right: of another journal, and here
    // once it has grown.
    #expect(try FolderJournal().acceptFirst(bytes.header, bytes.record, disks: [.max, .max]))
    #expect(
      try replica.accept(bytes.record, disks: [.max, .max]) == .taken(bytes.record.count))
  }

  /// A scan would end there: after a restart the record would be gone, although it was told to be
  /// durable.
  @Test func `a record earlier than its segment is refused`() throws {
    let right = try Self.sealed(Outside("a write", .write, 0, 0, 3), [1, 2, 3])
    let later = SegmentHeader(
      identity: right.header.identity, segmentByteCount: right.header.segmentByteCount,
      firstSequence: right.header.firstSequence,
      firstTimestamp: Timestamp(rawValue: right.header.firstTimestamp.rawValue + 1))
    #expect(try FolderJournal().acceptFirst(right.header, right.record, disks: [4096, 4096]))
    #expect(try !FolderJournal().acceptFirst(later, right.record, disks: [4096, 4096]))
  }

  /// As a source would send it: a first record in its segment.
  private static func sealed(
    _ record: Outside, _ payload: [UInt8]
  ) throws -> (header: SegmentHeader, record: [UInt8]) {
    let header = SegmentHeader(
      identity: SegmentIdentity(group: FolderJournal.group, incarnation: .numbered(1), number: 1),
      segmentByteCount: UInt32(FolderJournal.segmentByteCount), firstSequence: SequenceNumber(1),
      firstTimestamp: Timestamp(rawValue: 1_000))
    let fields = RecordHeader(
      disk: DiskNumber(record.disk), kind: record.kind, timestamp: Timestamp(rawValue: 1_000),
      offset: record.offset, length: record.length)
    var bytes = [UInt8](repeating: 0, count: RecordHeader.byteCount) + payload
    unsafe bytes.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress else { return }
      unsafe fields.encode(sealing: base, checksumStart: header.identity.checksumSeed)
    }
    return (header, bytes)
  }

  // MARK: Segments

  struct Wrong: CustomTestStringConvertible, Sendable {
    let testDescription: String
    var group = FolderJournal.group
    /// Of the source's three.
    var epoch = 3
    var number: UInt32 = 2
    var firstSequence: UInt64 = 6
    var firstTimestamp: UInt64 = 1_900_000_000_000_000_000
    var byteCount = FolderJournal.segmentByteCount
    var outcome = Acceptance.notNext
  }

  /// After segment 1 of epoch 3, which holds records 1 to 5.
  static let wrong = [
    Wrong(testDescription: "another group", group: GroupIdentifier(high: 7, low: 10)),
    Wrong(testDescription: "an older epoch", epoch: 2),
    Wrong(testDescription: "a number left out", number: 3),
    Wrong(testDescription: "the same number again", number: 1),
    Wrong(testDescription: "a record left out", firstSequence: 7),
    Wrong(testDescription: "a record again", firstSequence: 5),
    Wrong(testDescription: "from the beginning", number: 1, firstSequence: 1),
    Wrong(testDescription: "an instant that is over", firstTimestamp: 1),
    Wrong(testDescription: "no instant", firstTimestamp: 0),
    Wrong(
      testDescription: "segments of another size", byteCount: 2 * FolderJournal.segmentByteCount,
      outcome: .mismatch),
  ]

  private static func header(_ fields: Wrong, _ lineage: [Incarnation] = []) -> SegmentHeader {
    SegmentHeader(
      identity: .init(
        group: fields.group,
        incarnation: lineage.first { $0.epoch == fields.epoch } ?? .numbered(UInt64(fields.epoch)),
        number: fields.number),
      segmentByteCount: UInt32(fields.byteCount),
      firstSequence: SequenceNumber(fields.firstSequence),
      firstTimestamp: Timestamp(rawValue: fields.firstTimestamp))
  }

  @Test(arguments: wrong) func `a segment that is not the next is refused`(wrong: Wrong) throws {
    let source = try FolderJournal(epoch: 3)
    for number in 0..<5 {
      try source.append(.write, offset: UInt64(number) * 4096, payload: [1, 2, 3])
    }
    let segment = try #require(source.segments.first)
    let replica = try FolderJournal()
    _ = try replica.acceptSegment(segment.header)
    for record in try FolderJournal.records(of: segment) { _ = try replica.accept(record) }
    let before = replica.position
    try #require(before.stamped == SequenceNumber(5) && before.epoch == 3)

    let lineage = source.journal.lineage.incarnations
    #expect(try replica.acceptSegment(Self.header(wrong, lineage)) == wrong.outcome)
    #expect(replica.position == before)
    #expect(replica.segments.first?.isSealed == false)
    // Of another timeline, which has the same count of starts.
    let other = Self.header(Wrong(testDescription: "the same epoch"))
    #expect(try replica.acceptSegment(other) == .notNext)
    let next = Self.header(Wrong(testDescription: "the next"), lineage)
    #expect(try replica.acceptSegment(next) == .taken(SegmentHeader.byteCount))
  }

  @Test func `a first segment that leaves records out is refused`() throws {
    let replica = try FolderJournal()
    let before = replica.position
    let later = Wrong(testDescription: "later", number: 1, firstSequence: 2)
    #expect(try replica.acceptSegment(Self.header(later)) == .notNext)
    #expect(replica.position == before)
  }
}

extension FolderJournal {
  fileprivate func acceptFirst(
    _ header: SegmentHeader, _ record: [UInt8], disks: [UInt64]
  ) throws -> Bool {
    _ = try acceptSegment(header)
    return try accept(record, disks: disks) == .taken(record.count)
  }
}
