import BlockModel
import JournalTestSupport
import TestSupport
import Testing

@testable import Journal
@testable import Volume

/// Proves against the plain list of records which bytes an interval of the history changed,
/// wherever it cuts generations and segments.
@Suite struct ChangedBlocksTests {
  private func changed(
    _ group: TestGroup, after start: Timestamp, through end: Timestamp, isWalked: Bool
  ) throws -> [[Bool]] {
    try group.journal.freezeActive()
    let plan = ChangesPlan(
      after: start, through: end, generations: group.journal.generations,
      diskCount: group.settings.diskByteCounts.count
    ) { span in
      group.journal.segments(
        after: SequenceNumber(span.firstSequence.rawValue - 1), through: span.lastSequence)
    }
    defer { plan.release() }
    // In memory, and walked through.
    let blocks = try isWalked ? ChangedBlocks(of: plan.parts()) : ChangedBlocks(plan)
    return try group.settings.diskByteCounts.enumerated().map { number, byteCount in
      var bytes: [Bool] = []
      var walk = try blocks.walk(disk: DiskNumber(UInt16(number)), from: 0)
      while bytes.count < byteCount {
        let (length, isChanged) = try walk.piece(
          at: UInt64(bytes.count), limit: UInt64(byteCount - bytes.count))
        bytes += [Bool](repeating: isChanged, count: Int(length))
      }
      return bytes
    }
  }

  private func operation(
    _ diskByteCounts: [Int], using random: inout SeededGenerator
  ) -> JournalTestSupport.Operation {
    let disk = diskByteCounts.indices.randomElement(using: &random)!
    let length = Int.random(in: 1...700, using: &random)
    let offset = Int.random(in: 0...diskByteCounts[disk] - length, using: &random)
    return switch Int.random(in: 0..<4, using: &random) {
    case 0: .zero(disk: disk, offset: offset, length: length)
    case 1: .trim(disk: disk, offset: offset, length: length)
    default: .write(disk: disk, offset: offset, [UInt8](repeating: 1, count: length))
    }
  }

  @Test(arguments: 0..<15 as Range<UInt64>)
  func `the bytes of all records in the interval, and no others`(_ seed: UInt64) throws {
    let group = try TestGroup(seed: seed, .init(diskByteCounts: [9000, 3000]))
    var random = SeededGenerator(seed: seed)
    var records: [(timestamp: Timestamp, disk: Int, range: Range<Int>)] = []
    for _ in 0..<150 {
      let operation = operation(group.settings.diskByteCounts, using: &random)
      guard try group.record(operation) else { break }
      let end = operation.offset + operation.length
      records.append(
        (group.journal.newestTimestamp, operation.disk.index, operation.offset..<end))
      if Int.random(in: 0..<10, using: &random) == 0 { try group.journal.freezeActive() }
    }
    for _ in 0..<12 {
      let instants = [
        records.randomElement(using: &random)!, records.randomElement(using: &random)!,
      ]
      .map(\.timestamp).sorted()
      var expected = group.settings.diskByteCounts.map { [Bool](repeating: false, count: $0) }
      for record in records
      where record.timestamp > instants[0] && record.timestamp <= instants[1] {
        for byte in record.range { expected[record.disk][byte] = true }
      }
      for isWalked in [false, true] {
        #expect(
          try changed(group, after: instants[0], through: instants[1], isWalked: isWalked)
            == expected)
      }
    }
    let all = try changed(group, after: .zero, through: .distantFuture, isWalked: true)
    #expect(all.joined().contains(true))
  }

  /// A backup asks for hours, and meanwhile apply goes on and segments are recycled.
  @Test func `a list outlives the records that it was made of, and their files`() throws {
    var settings = TestGroup.Settings(diskByteCounts: [9000, 3000])
    (settings.indexMapByteLimit, settings.indexCacheByteLimit) = (0, 0)
    let group = try TestGroup(seed: 1, settings)
    var random = SeededGenerator(seed: 1)
    func write() throws {
      while group.hasSpareSegment {
        try group.record(operation(settings.diskByteCounts, using: &random))
        try group.sync()
        group.keepIndex()
      }
    }
    try write()
    #expect(!(try #require(group.journal.generations.first)).isInMemory)
    let plan = ChangesPlan(
      after: .zero, through: .distantFuture, generations: group.journal.generations,
      diskCount: settings.diskByteCounts.count
    ) { span in
      group.journal.segments(
        after: SequenceNumber(span.firstSequence.rawValue - 1), through: span.lastSequence)
    }
    let blocks = try ChangedBlocks(plan)
    plan.release()
    func pieces() throws -> [UInt64] {
      var walk = try blocks.walk(disk: DiskNumber(0), from: 0)
      var pieces: [UInt64] = []
      var offset: UInt64 = 0
      while offset < 9000 {
        let (length, isChanged) = try walk.piece(at: offset, limit: 9000 - offset)
        let atOnce = blocks.piece(disk: DiskNumber(0), at: offset, limit: 9000 - offset)
        #expect(atOnce.length == length && atOnce.isChanged == isChanged)
        pieces.append(isChanged ? length : 0)
        offset += length
      }
      return pieces
    }
    let before = try pieces()
    #expect(before.contains { $0 > 0 })
    let newest = try #require(group.journal.newestSegment).number
    for _ in 0..<2 {
      try group.apply()
      try write()
    }
    #expect(try #require(group.journal.oldestSegment).number > newest)
    #expect(try pieces() == before)
  }
}
