import BlockModel
import Journal
import JournalTestSupport
import SystemIO
import TestSupport
import Testing

/// Proves that a journal which takes the bytes of another's segments becomes the same journal,
/// however the bytes are cut on their way.
struct AcceptingTests {
  private static let diskByteCounts = FolderJournal.disks.map(\.byteCount)

  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func `segments that arrive in random pieces are byte-identical`(seed: UInt64) throws {
    let source = try FolderJournal()
    try source.fill(segments: 3, seed: seed)
    let replica = try FolderJournal()
    var random = SeededGenerator(seed: seed ^ 0xACCE)
    for segment in source.segments {
      #expect(try replica.acceptSegment(segment.header) == .taken(SegmentHeader.byteCount))
      try Self.deliver(segment, to: replica, largest: 1 << (1 + random.below(16)), &random)
    }
    try Self.expectSame(source, replica)
  }

  /// Lets the records arrive a random number of bytes at a time, and commits now and then.
  private static func deliver(
    _ segment: Segment<File>, to replica: FolderJournal, largest: Int,
    _ random: inout SeededGenerator
  ) throws {
    let bytes = Array(try FolderJournal.bytes(of: segment).dropFirst(SegmentHeader.byteCount))
    let buffer = PageBuffer(byteCount: bytes.count)
    unsafe buffer.base.copyMemory(from: bytes, byteCount: bytes.count)
    var arrived = 0
    var taken = 0
    while arrived < bytes.count {
      arrived = min(bytes.count, arrived + 1 + random.below(largest))
      let window = unsafe UnsafeMutableRawBufferPointer(
        start: buffer.base + taken, count: arrived - taken)
      guard case .taken(let count) = unsafe replica.accept(window, disks: diskByteCounts) else {
        Issue.record("refused at \(taken) of \(bytes.count) bytes")
        break
      }
      taken += count
      if random.below(3) == 0 { try replica.journal.commit() }
    }
    try replica.journal.commit()
    #expect(taken == bytes.count)
  }

  private static func expectSame(_ source: FolderJournal, _ replica: FolderJournal) throws {
    #expect(replica.position == source.position)
    #expect(replica.journal.appended == source.journal.appended)
    #expect(replica.segments.count == source.segments.count)
    for (ours, theirs) in zip(source.segments, replica.segments) {
      #expect(theirs.header == ours.header)
      #expect(theirs.isSealed == ours.isSealed)
      let same = try FolderJournal.bytes(of: theirs) == FolderJournal.bytes(of: ours)
      #expect(same, "segment \(ours.number)")
    }
  }

  @Test func `the index of what was accepted is the source's`() throws {
    let source = try FolderJournal()
    try source.fill(segments: 2, seed: 7)
    let replica = try FolderJournal()
    var random = SeededGenerator(seed: 8)
    for segment in source.segments {
      _ = try replica.acceptSegment(segment.header)
      try Self.deliver(segment, to: replica, largest: 5000, &random)
    }
    for (number, disk) in FolderJournal.disks.enumerated() {
      var offset: UInt64 = 0
      while offset < disk.byteCount {
        let number = DiskNumber(UInt16(number))
        let ours = source.journal.piece(disk: number, at: offset, limit: disk.byteCount)
        let theirs = replica.journal.piece(disk: number, at: offset, limit: disk.byteCount)
        #expect(theirs == ours, "disk \(number.rawValue) at \(offset)")
        offset += max(1, ours.length)
      }
    }
  }

  @Test func `the beginning of a record is left for later`() throws {
    let source = try FolderJournal()
    try source.append(.write, offset: 0, payload: [1, 2, 3])
    let segment = try #require(source.segments.first)
    let record = try #require(try FolderJournal.records(of: segment).first)
    let replica = try FolderJournal()
    _ = try replica.acceptSegment(segment.header)
    let before = replica.position
    for count in 0..<record.count {
      #expect(try replica.accept(Array(record.prefix(count))) == .taken(0))
    }
    #expect(replica.position == before)
    #expect(try replica.accept(record + record.prefix(20)) == .taken(record.count))
    #expect(replica.journal.appended == SequenceNumber(1))
  }

  @Test func `a replica of a later epoch goes on with it`() throws {
    let source = try FolderJournal(epoch: 4)
    try source.fill(segments: 1, seed: 9)
    let segment = try #require(source.segments.first)
    let replica = try FolderJournal()
    #expect(try replica.acceptSegment(segment.header) == .taken(SegmentHeader.byteCount))
    #expect(replica.journal.currentEpoch == 4)
  }
}
