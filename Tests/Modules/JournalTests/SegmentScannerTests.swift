import BlockModel
import JournalTestSupport
import SystemIO
import TestSupport
import Testing

@testable import Journal

/// The scanner gives exactly the records that were appended, and ends at the first bytes that are
/// not the next record, whatever they are.
@Suite struct SegmentScannerTests {
  struct Found: Equatable {
    var header: RecordHeader
    var sequence: SequenceNumber
    var position: Int
    var payload: [UInt8]
  }

  static func scan(
    _ file: FaultyFile, limit: Int = .max, depth: SegmentScanner<FaultyFile>.Depth = .verified
  ) throws -> [Found] {
    let header = try #require(try JournalRecovery<FaultyStorage>.readHeader(of: file))
    var scanner = SegmentScanner(file, header: header, limit: limit, depth: depth)
    var found: [Found] = []
    while let record = try scanner.next() {
      found.append(
        Found(
          header: record.header, sequence: record.sequence, position: record.position,
          payload: unsafe Array(record.payload)))
      #expect(scanner.recordCount == UInt64(found.count))
    }
    return found
  }

  /// A group with some records in its first segment, and that segment's file.
  static func filled(_ count: Int = 12) throws -> (TestGroup, FaultyFile) {
    let group = try TestGroup(seed: 3)
    for number in 0..<count {
      switch number % 4 {
      case 0: try group.record(.write(disk: 0, offset: number, [UInt8(number), 1, 2]))
      case 1: try group.record(.zero(disk: 1, offset: number, length: 100))
      case 2: try group.record(.checkpoint(tag: "t\(number)"))
      default: try group.record(.write(disk: 1, offset: 9, [UInt8](repeating: 7, count: 700)))
      }
    }
    return (group, try group.storage.open("segment-00000"))
  }

  @Test func `what is applied need not verify again, and what is not must`() throws {
    let (group, file) = try Self.filled()
    let segment = try #require(group.journal.newestSegment)
    let found = try Self.scan(file)
    segment.noteApplied(try segment.verify(applying: SequenceNumber(4)))
    file.damage(found[3].position + 20) { $0 ^ 1 }
    segment.noteApplied(try segment.verify(applying: SequenceNumber(6)))
    try group.record(.write(disk: 0, offset: 3, [9]))
    file.damage(found[7].position + 20) { $0 ^ 1 }
    #expect(throws: JournalError.self) { _ = try segment.verify(applying: SequenceNumber(7)) }
    // It was never applied, so it is looked at again.
    #expect(throws: JournalError.self) { _ = try segment.verify(applying: SequenceNumber(12)) }
  }

  @Test func findsWhatWasAppended() throws {
    let (group, file) = try Self.filled()
    let found = try Self.scan(file)
    #expect(found.count == 12)
    var position = 4096
    for (index, record) in found.enumerated() {
      let entry = group.history.entries[index + 1]
      let operation = try #require(entry.operation)
      #expect(record.sequence.rawValue == UInt64(index + 1))
      #expect(record.header.kind == operation.kind)
      #expect(record.header.disk == operation.disk)
      #expect(record.header.offset == UInt64(operation.offset))
      #expect(record.header.length == UInt32(operation.length))
      #expect(record.header.timestamp == entry.timestamp)
      #expect(record.payload == operation.payload)
      #expect(record.position == position)
      position += 28 + operation.payload.count
    }
  }

  @Test func headersOnlyFindsTheSameWithoutData() throws {
    let (_, file) = try Self.filled()
    let whole = try Self.scan(file)
    let headers = try Self.scan(file, limit: 4096 + 5000, depth: .headersOnly)
    let end = try #require(whole.last).position + 28 + 700
    let expected = whole.map { record in
      var record = record
      if record.header.kind != .checkpoint { record.payload = [] }
      return record
    }
    #expect(end <= 4096 + 5000)
    #expect(headers == expected)
  }

  @Test func aLimitInsideARecordEndsBeforeIt() throws {
    let (_, file) = try Self.filled()
    let whole = try Self.scan(file)
    for limit in stride(from: 4096, through: 7000, by: 3) {
      let expected = whole.filter { record in
        record.position + 28 + (record.payload.count) <= limit
      }
      #expect(try Self.scan(file, limit: limit) == expected, "limit \(limit)")
    }
  }

  @Test func damageAnywhereEndsBeforeTheDamagedRecord() throws {
    let (_, file) = try Self.filled()
    let whole = try Self.scan(file)
    for (index, record) in whole.enumerated() {
      for position in [0, 5, 7, 15, 23, 27, 27 + record.payload.count] {
        file.damage(record.position + position) { $0 ^ 0x40 }
        #expect(try Self.scan(file) == Array(whole[..<index]), "record \(index), \(position)")
        file.damage(record.position + position) { $0 ^ 0x40 }
      }
    }
    #expect(try Self.scan(file) == whole)
  }

  /// Bytes of a whole record of the same segment, in the wrong place, are not the next record.
  @Test func aRecordThatIsRepeatedIsNotTheNext() throws {
    let (_, file) = try Self.filled()
    let whole = try Self.scan(file)
    let end = try #require(whole.last).position + 28 + 700
    let first = Array(file.bytes[whole[1].position..<whole[1].position + 28])
    for (index, byte) in first.enumerated() { file.damage(end + index) { _ in byte } }
    #expect(try Self.scan(file) == whole)
  }

  /// What an earlier use of the file left behind the records never counts.
  @Test func recordsOfARecycledFileDoNotComeBack() throws {
    let group = try TestGroup(seed: 9)
    var random = SeededGenerator(seed: 9)
    // Records of one size, so that old and new ones lie at the same places.
    func fill() throws {
      while group.journal.hasRoom(payloadByteCount: 100), group.journal.segmentCount < 2 {
        try group.record(.write(disk: 0, offset: 0, random.bytes(100)))
      }
    }
    for _ in 0..<6 {
      try fill()
      try group.apply()
      try group.journal.sealActive()
      let name = group.history.lastSequence
      try group.record(.write(disk: 0, offset: 0, random.bytes(100)))
      try group.apply()
      let segment = try #require(group.journal.newestSegment)
      let found = try Self.scan(segment.file)
      #expect(found.map(\.sequence) == [name.advanced(by: 1)])
    }
  }

  @Test func aReadErrorIsPassedOn() throws {
    let (group, file) = try Self.filled()
    group.storage.faults.fail(.read, with: .io, afterCalls: 1)
    #expect(throws: Errno.io) { try Self.scan(file) }
  }

  /// The largest payload there is fits the scanner's memory, at both depths.
  @Test(arguments: [SegmentScanner<FaultyFile>.Depth.verified, .headersOnly])
  func aLongTagIsReadOrRefused(depth: SegmentScanner<FaultyFile>.Depth) throws {
    var settings = TestGroup.Settings(diskByteCounts: [4096])
    settings.segmentByteCount = 8 << 20
    settings.capacityByteCount = 32 << 20
    let group = try TestGroup(seed: 1, settings)
    let tag = String(repeating: "x", count: 200 << 10)
    // Below the group's own arrangements, as a peer might send it.
    group.createSlots()
    var record = [UInt8](repeating: 0, count: 28) + Array(tag.utf8)
    try unsafe record.withUnsafeMutableBytes { buffer in
      try unsafe group.journal.append(
        .checkpoint, disk: DiskNumber(0), offset: 0, length: UInt32(tag.utf8.count),
        now: .zero, record: buffer.baseAddress!)
      try group.journal.commit()
    }
    let found = try Self.scan(try group.storage.open("segment-00000"), depth: depth)
    #expect(found.isEmpty || found.map { String(decoding: $0.payload, as: UTF8.self) } == [tag])
  }
}
