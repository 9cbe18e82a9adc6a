import BlockModel
import JournalTestSupport
import SystemIO
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
        lastTimestamp: timestamp), segment: UInt32(number))
  }

  static func levels(
    _ generations: [Generation] = [], life: UInt64 = 0, _ memory: IndexMemory = IndexMemory(),
    _ storage: FaultyStorage = FaultyStorage(seed: 1)
  ) -> IndexLevels {
    IndexLevels(
      generations, life: life, shelf: IndexShelf(storage, segmentByteCount: 4096, memory))
  }

  /// The generation of a segment of its own, behind which no more will come to that.
  static func append(_ generation: Generation, to levels: inout IndexLevels) {
    levels.append(generation)
    levels.complete(before: generation.segment + 1)
  }

  static func randomRange(_ random: inout SeededGenerator) -> ByteRange {
    let start = UInt64(random.below(Int(byteCount)))
    return ByteRange(start: start, length: 1 + UInt64(random.below(Int(byteCount - start))))
  }

  static func settle(_ levels: inout IndexLevels) {
    while let job = levels.nextJob() {
      guard let result = try? job.run() else { return }
      levels.install(result.generation, of: job)
    }
  }

  /// The source of a byte by the newest of `maps` that has it; nil also below `floor`.
  static func source(
    of offset: UInt64, in maps: [Generation], floor: UInt32 = 0
  ) -> ExtentSource? {
    for map in maps.reversed() {
      if map.segment < floor { return nil }
      if let source = try? map.pieceWaiting(disk: disk, at: offset, limit: 1, floor: floor).source {
        return source.unlessBelow(segment: floor)
      }
    }
    return nil
  }

  /// Seven maps for each level: 8 generations need one map, 512 need one, 511 need 21.
  @Test func `consults at most seven maps for each power of eight`() {
    var levels = Self.levels()
    for number in UInt64(0)..<600 {
      Self.append(Self.generation(number, ByteRange(start: 0, length: 1)), to: &levels)
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
  func `covers stand for the same bytes as the generations one by one`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let storage = FaultyStorage(seed: seed)
    // Nothing, little or all of it may be in memory.
    let memory = IndexMemory(
      mapByteLimit: [0, 300, 1 << 20][Int(seed % 3)], cacheByteLimit: 16 * 600)
    var levels = Self.levels([], memory, storage)
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
        underWay = try levels.nextJob().map { ($0, try #require(try $0.run()).generation) }
      default:
        all.append(Self.generation(UInt64(all.count), Self.randomRange(&random)))
        Self.append(all[all.count - 1], to: &levels)
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

  @Test func `a file that cannot be read is replaced by what it was made of`() throws {
    let storage = FaultyStorage(seed: 1)
    var levels = Self.levels([], IndexMemory(mapByteLimit: 0, cacheByteLimit: 0), storage)
    var random = SeededGenerator(seed: 1)
    for number in UInt64(0)..<64 {
      Self.append(Self.generation(number, Self.randomRange(&random)), to: &levels)
    }
    Self.settle(&levels)
    let cover = levels.cover(64)
    #expect(cover.count == 1 && !cover[0].isInMemory)
    for _ in 0..<8 {
      // Of the file of 64 segments first, then of those of eight.
      storage.faults.fail(.read, with: .io)
      for offset in 0..<Self.byteCount {
        #expect(
          Self.source(of: offset, in: cover) == Self.source(of: offset, in: levels.generations))
      }
    }
  }

  @Test func `keeps a merged map until its newest part is applied`() {
    var levels = Self.levels()
    for number in UInt64(0)..<8 {
      Self.append(Self.generation(number, ByteRange(start: number, length: 1)), to: &levels)
    }
    Self.settle(&levels)
    levels.drop(through: SequenceNumber(7))
    #expect(levels.generations.count == 1)
    #expect(levels.cover(1).first?.span.firstSequence == SequenceNumber(1))
    levels.drop(through: SequenceNumber(8))
    #expect(levels.cover(0).isEmpty)
  }

  @Test func `makes no use of a result that comes after its generations were given up`() throws {
    var levels = Self.levels()
    for number in UInt64(0)..<8 {
      Self.append(Self.generation(number, ByteRange(start: 0, length: 1)), to: &levels)
    }
    let next = levels.nextJob()
    let flattening = try #require(next)
    Self.settle(&levels)
    var other = Self.levels([Self.generation(0, ByteRange(start: 5, length: 1))], life: 1)
    let late = try #require(try flattening.run()).generation
    other.install(late, of: flattening)
    #expect(other.cover(1)[0] === other.generations[0])
    #expect(!other.generations[0].isFlat)
    levels.drop(through: SequenceNumber(8))
    levels.install(late, of: flattening)
    #expect(levels.generations.isEmpty && levels.cover(0).isEmpty)
  }
}

extension IndexLevels {
  fileprivate mutating func nextJob() -> IndexJob? { nextPlacing() ?? nextMerge() }
}
