import BlockModel
import Journal
import JournalTestSupport
import Storage
import StorageTesting
import SystemIO
import Testing
import Volume

/// A read is resolved once into pieces, and reads each from its place.
@Suite struct ReadPlanTests {
  static func source(_ segment: UInt32, _ position: UInt32) -> ExtentSource {
    ExtentSource(segment: segment, position: position)
  }

  @Test func coversItsRangeInOrder() {
    var asked: [[UInt64]] = []
    let plan = ReadPlan(ByteRange(start: 100, length: 50)) { offset, limit in
      asked.append([offset, limit])
      return switch offset {
      case 100: (10, nil)
      case 110: (15, Self.source(7, 4000))
      case 125: (5, .zeros)
      default: (limit, Self.source(3, 9))
      }
    }
    #expect(asked == [[100, 50], [110, 40], [125, 25], [130, 20]])
    #expect(plan.pieces.map(\.length) == [10, 15, 5, 20])
    #expect(plan.pieces.map(\.source) == [nil, Self.source(7, 4000), .zeros, Self.source(3, 9)])
  }

  @Test func namesEachSegmentOnceInOrder() {
    let sources: [ExtentSource?] = [
      Self.source(9, 1), nil, .zeros, Self.source(2, 1), Self.source(9, 5), .hole,
    ]
    let plan = ReadPlan(ByteRange(start: 0, length: 6)) { offset, _ in (1, sources[Int(offset)]) }
    #expect(plan.segments == [2, 9])
  }

  @Test func anEmptyRangeHasNoPieces() {
    let plan = ReadPlan(ByteRange(start: 5, length: 0)) { _, _ in
      Issue.record("looked up")
      return (1, nil)
    }
    #expect(plan.pieces.isEmpty && plan.segments.isEmpty)
  }

  enum Way: CaseIterable { case waiting, ifCached }

  static func read(
    _ reader: VolumeReader<FaultyFile, MemoryStore>, _ source: ExtentSource?, at offset: UInt64,
    _ way: Way
  ) throws -> [UInt8]? {
    try unsafe bytes(2) { buffer throws(VolumeError) in
      if way == .ifCached {
        return try unsafe reader.readIfCached(source, at: offset, into: buffer)
      }
      try unsafe reader.read(source, at: offset, into: buffer)
      return true
    }
  }

  private static func bytes(
    _ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws(VolumeError) -> Bool
  ) throws -> [UInt8]? {
    var bytes = [UInt8](repeating: 0xEE, count: count)
    let result = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Bool, VolumeError> in
      do throws(VolumeError) { return .success(try unsafe body(buffer)) } catch {
        return .failure(error)
      }
    }
    return try result.get() ? bytes : nil
  }

  @Test func readsEachKindOfPieceAlsoFromMemory() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1, 2, 3]))
    let reader = VolumeReader(store: group.stores[0], catalog: group.journal.catalog)
    let record = Self.source(1, 4096 + 28 + 1)
    for way in Way.allCases {
      #expect(try Self.read(reader, record, at: 9, way) == [2, 3])
      #expect(try Self.read(reader, .zeros, at: 9, way) == [0, 0])
      #expect(try Self.read(reader, .hole, at: 9, way) == [0, 0])
      #expect(try Self.read(reader, nil, at: 9, way) == [0, 0])
    }
  }

  @Test func bytesThatAreNotThereAreAnError() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1, 2, 3]))
    let reader = VolumeReader(store: group.stores[0], catalog: group.journal.catalog)
    let behindTheEnd = Self.source(1, 16 << 10 - 1)
    for source in [Self.source(99, 4096), behindTheEnd] {
      #expect(throws: VolumeError.self) { try Self.read(reader, source, at: 0, .waiting) }
    }
    let outside = group.stores[0].byteCount
    #expect(throws: VolumeError.self) { try Self.read(reader, nil, at: outside, .waiting) }
  }
}

/// What a full copy writes to a target.
@Suite struct BaselineTargetTests {
  @Test func aPieceIsWritten() throws {
    let store = RecordingStore(byteCount: 4096)
    try store.write([1, 2, 3], at: 10)
    #expect(Array(store.memory.bytes[9..<14]) == [0, 1, 2, 3, 0])
    store.memory.failNext(.write, with: .noSpace)
    #expect(throws: StorageError.self) { try store.write([1], at: 0) }
    #expect(throws: StorageError.self) { try store.write([1, 2], at: 4095) }
  }

  @Test func clearingLeavesZerosAlone() throws {
    let store = RecordingStore(byteCount: 65536)
    try store.clear(ByteRange(start: 0, length: 65536))
    #expect(store.calls.isEmpty)
    try store.write([7, 7, 7, 7], at: 100)
    try store.write([9], at: 300)
    store.forgetCalls()
    try store.clear(ByteRange(start: 102, length: 1000))
    #expect(
      store.calls == [
        .zero(ByteRange(start: 102, length: 2), mayFreeSpace: true),
        .zero(ByteRange(start: 300, length: 1), mayFreeSpace: true),
      ])
    #expect(Array(store.memory.bytes[99..<105]) == [0, 7, 7, 0, 0, 0])
  }
}
