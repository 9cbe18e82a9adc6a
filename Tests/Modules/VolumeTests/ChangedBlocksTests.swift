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
    _ group: TestGroup, after start: Timestamp, through end: Timestamp, runLimit: Int? = nil
  ) throws -> [[Bool]] {
    try group.journal.freezeActive()
    let plan = ChangesPlan(
      after: start, through: end, generations: group.journal.generations,
      diskCount: group.settings.diskByteCounts.count, shelf: group.journal.shelf
    ) { span in
      group.journal.segments(
        after: SequenceNumber(span.firstSequence.rawValue - 1), through: span.lastSequence)
    }
    defer { plan.release() }
    let blocks = try ChangedBlocks(plan)
    return try group.settings.diskByteCounts.enumerated().map { number, byteCount in
      let disk = DiskNumber(UInt16(number))
      var bytes: [Bool] = []
      while bytes.count < byteCount {
        let start = UInt64(bytes.count)
        var part = (end: UInt64(byteCount), runs: ChangedRuns?.none)
        if let runLimit {
          // As far as a few runs go.
          part.runs = try ChangedRuns(
            of: plan.parts(), disk: disk, from: start, until: &part.end, limit: runLimit)
        }
        while bytes.count < Int(part.end) {
          let (offset, limit) = (UInt64(bytes.count), part.end - UInt64(bytes.count))
          let (length, isChanged) =
            part.runs?.piece(at: offset, limit: limit)
            ?? blocks.piece(disk: disk, at: offset, limit: limit)
          bytes += [Bool](repeating: isChanged, count: Int(length))
        }
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
      for runLimit in [nil, 1, 3] {
        #expect(
          try changed(group, after: instants[0], through: instants[1], runLimit: runLimit)
            == expected)
      }
    }
    let all = try changed(group, after: .zero, through: .distantFuture)
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
      diskCount: settings.diskByteCounts.count, shelf: group.journal.shelf
    ) { span in
      group.journal.segments(
        after: SequenceNumber(span.firstSequence.rawValue - 1), through: span.lastSequence)
    }
    let blocks = try ChangedBlocks(plan)
    plan.release()
    func pieces() -> [UInt64] {
      var pieces: [UInt64] = []
      var offset: UInt64 = 0
      while offset < 9000 {
        let (length, isChanged) = blocks.piece(
          disk: DiskNumber(0), at: offset, limit: 9000 - offset)
        pieces.append(isChanged ? length : 0)
        offset += length
      }
      return pieces
    }
    let before = pieces()
    #expect(before.contains { $0 > 0 })
    let newest = try #require(group.journal.newestSegment).number
    for _ in 0..<2 {
      try group.apply()
      try write()
    }
    #expect(try #require(group.journal.oldestSegment).number > newest)
    #expect(pieces() == before)
  }

  @Test(arguments: UInt64(0)..<4)
  func `too many runs become fewer that tell of all that changed`(_ seed: UInt64) throws {
    let group = try TestGroup(seed: seed, .init(diskByteCounts: [2 << 20]))
    var random = SeededGenerator(seed: seed)
    for _ in 0..<200 {
      try group.record(.trim(disk: 0, offset: 512 * random.below(4096), length: 512))
    }
    try group.journal.freezeActive()
    var end = UInt64.max
    let disk = DiskNumber(0)
    let exact = try ChangedRuns(of: group.journal.generations, disk: disk, until: &end)
    for limit in [100, 10, 1] {
      var coarse = exact
      coarse.coarsen(to: limit)
      var (offset, count) = (UInt64(0), 0)
      while offset < 2 << 20 {
        let (length, isChanged) = coarse.piece(at: offset, limit: 2 << 20 - offset)
        if isChanged { count += 1 }
        for byte in stride(from: offset, to: offset + length, by: 512) where !isChanged {
          #expect(!exact.piece(at: byte, limit: 1).isChanged)
        }
        offset += length
      }
      #expect(count <= limit && count > 0)
    }
  }
}
