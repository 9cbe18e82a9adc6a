import BlockModel
import JournalTestSupport
import TestSupport
import Testing

@testable import Journal

/// Proves that the covers of `IndexLevels` are short, stand for exactly the generations that were
/// asked for, whatever was merged and applied, and never use the work of an index that is gone.
@Suite struct IndexLevelsTests {
  static let disk = DiskNumber(0)
  static let byteCount: UInt64 = 64

  /// Generation `number` wrote one byte range, in segment `number`.
  static func generation(_ number: UInt64, _ range: ByteRange) -> Generation {
    var index = ActiveIndex(diskCount: 1)
    let sequence = SequenceNumber(number + 1)
    let timestamp = Timestamp(rawValue: number + 1)
    let header = RecordHeader(
      disk: disk, kind: .write, timestamp: timestamp, offset: range.start,
      length: UInt32(range.length))
    index.add(
      header, sequence, ExtentSource(segment: UInt32(number), position: UInt32(range.start)))
    return Generation(
      freezing: index,
      span: RecordSpan(
        firstSequence: sequence, lastSequence: sequence, firstTimestamp: timestamp,
        lastTimestamp: timestamp))
  }

  static func randomRange(_ random: inout SeededGenerator) -> ByteRange {
    let start = UInt64(random.below(Int(byteCount)))
    return ByteRange(start: start, length: 1 + UInt64(random.below(Int(byteCount - start))))
  }

  static func settle(_ levels: inout IndexLevels) {
    while let job = levels.nextJob() { levels.install(job.run(), of: job) }
  }

  /// The source of a byte by the newest of `maps` that has it; nil also below `floor`.
  static func source(
    of offset: UInt64, in maps: [Generation], floor: UInt32 = 0
  ) -> ExtentSource? {
    for map in maps.reversed() {
      if let source = map.piece(disk: disk, at: offset, limit: 1).source {
        return source.unlessBelow(segment: floor)
      }
    }
    return nil
  }

  /// Seven maps for each level: 8 generations need one map, 512 need one, 511 need 21.
  @Test func `consults at most seven maps for each power of eight`() {
    var levels = IndexLevels([], first: 0)
    for number in UInt64(0)..<600 {
      levels.append(Self.generation(number, ByteRange(start: 0, length: 1)))
      Self.settle(&levels)
      let count = Int(number + 1)
      var digits = 0
      var rest = count
      while rest > 0 {
        digits += rest % 8
        rest /= 8
      }
      #expect(levels.cover(count).count == digits)
    }
    for count in 0...600 { #expect(levels.cover(count).count <= 4 * 7) }
    #expect(levels.cover(512).count == 1)
    #expect(levels.cover(511).count == 21)
  }

  @Test(arguments: UInt64(0)..<12)
  func `covers stand for the same bytes as the generations one by one`(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var levels = IndexLevels([], first: 0)
    var all: [Generation] = []
    var applied = 0
    var underWay: (IndexJob, Generation)?
    for _ in 0..<500 {
      switch random.below(8) {
      case 0:
        applied = min(all.count, applied + random.below(4))
        levels.drop(through: SequenceNumber(UInt64(applied)))
      case 1, 2, 3:
        if let (job, result) = underWay { levels.install(result, of: job) }
        underWay = levels.nextJob().map { ($0, $0.run()) }
      default:
        all.append(Self.generation(UInt64(all.count), Self.randomRange(&random)))
        levels.append(all[all.count - 1])
      }
      #expect(levels.generations.count == all.count - applied)
      // Of the maps' sources, those of applied generations are read from the base.
      let count = random.below(levels.generations.count + 1)
      let cover = levels.cover(count)
      for offset in 0..<Self.byteCount {
        #expect(
          Self.source(of: offset, in: cover, floor: UInt32(applied))
            == Self.source(of: offset, in: Array(all[applied..<applied + count])))
      }
      #expect(cover.last?.span.lastSequence.rawValue ?? UInt64(applied) == UInt64(applied + count))
    }
  }

  @Test func `keeps a merged map until its newest part is applied`() {
    var levels = IndexLevels([], first: 0)
    for number in UInt64(0)..<8 {
      levels.append(Self.generation(number, ByteRange(start: number, length: 1)))
    }
    Self.settle(&levels)
    levels.drop(through: SequenceNumber(7))
    #expect(levels.generations.count == 1)
    #expect(levels.cover(1).first?.span.firstSequence == SequenceNumber(1))
    levels.drop(through: SequenceNumber(8))
    #expect(levels.cover(0).isEmpty && levels.next == 8)
  }

  @Test func `makes no use of a result that comes after its generations were given up`() throws {
    var levels = IndexLevels([], first: 0)
    for number in UInt64(0)..<8 {
      levels.append(Self.generation(number, ByteRange(start: 0, length: 1)))
    }
    let next = levels.nextJob()
    let flattening = try #require(next)
    Self.settle(&levels)
    var other = IndexLevels(
      [Self.generation(3, ByteRange(start: 5, length: 1))], first: levels.next)
    other.install(flattening.run(), of: flattening)
    #expect(other.cover(1)[0] === other.generations[0])
    #expect(other.generations[0].span.firstSequence == SequenceNumber(4))
    levels.drop(through: SequenceNumber(8))
    levels.install(flattening.run(), of: flattening)
    #expect(levels.generations.isEmpty && levels.cover(0).isEmpty)
  }
}
