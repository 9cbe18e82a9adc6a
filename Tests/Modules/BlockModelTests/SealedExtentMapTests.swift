import BlockModel
import TestSupport
import Testing

/// Proves that merging maps equals applying their writes in order, and that arrays from outside are
/// used in place when they are sound and refused with the reason when not.
@Suite struct SealedExtentMapTests {
  private static let window = ByteRange(start: 0, length: 6_000)

  /// The maps of `count` runs of writes, oldest first, and the map of all these writes.
  private static func runs(
    _ count: Int, seed: UInt64, mix: WriteMix
  ) -> (maps: [SealedExtentMap], all: SealedExtentMap) {
    var generator = SeededGenerator(seed: seed)
    var all = ExtentMap()
    var maps: [SealedExtentMap] = []
    for run in 0..<count {
      var map = ExtentMap()
      // Runs of very different length, and an empty one.
      for number in 0..<[300, 7, 60, 0, 900][run % 5] {
        let write = mix.write(&generator, in: window, number: run * 1_000 + number)
        map.insert(write.range, write.source)
        all.insert(write.range, write.source)
      }
      maps.append(map.sealed())
    }
    return (maps, all.sealed())
  }

  @Test(arguments: [1, 2] as [UInt64], WriteMix.all)
  func mergingTwoEqualsWritingBoth(seed: UInt64, mix: WriteMix) {
    let (maps, all) = Self.runs(2, seed: seed, mix: mix)
    let merged = SealedExtentMap.merging(older: maps[0], newer: maps[1])
    #expect(merged.extents == all.extents)
    #expect(merged.mappedBytes == all.mappedBytes)
    #expect(areEqual(merged.piecesOneByOne(in: Self.window), all.pieces(in: Self.window)))
  }

  @Test(arguments: [0, 1, 3, 4, 5, 8, 13], WriteMix.all)
  func mergingManyEqualsWritingAllInOrder(count: Int, mix: WriteMix) {
    let (maps, all) = Self.runs(count, seed: UInt64(count) + 100, mix: mix)
    let merged = SealedExtentMap.merging(maps)
    #expect(merged.extents == all.extents)
    #expect(merged.mappedBytes == all.mappedBytes)
  }

  @Test func mergingWithAnEmptyMapGivesTheOther() {
    let (maps, _) = Self.runs(1, seed: 9, mix: WriteMix.all[0])
    #expect(SealedExtentMap.merging(older: maps[0], newer: SealedExtentMap()) === maps[0])
    #expect(SealedExtentMap.merging(older: SealedExtentMap(), newer: maps[0]) === maps[0])
  }

  @Test(arguments: [0, 300])
  func arraysFromOutsideAreUsedInPlace(writes: Int) throws {
    var generator = SeededGenerator(seed: 21)
    var written = ExtentMap()
    for number in 0..<writes {
      let write = WriteMix.all[2].write(&generator, in: Self.window, number: number)
      written.insert(write.range, write.source)
    }
    let original = written.sealed()
    var arrays: ForeignArrays? = ForeignArrays(copying: original)
    weak let watched = arrays
    var borrowed: SealedExtentMap? = try arrays?.map()
    arrays = nil
    #expect(watched != nil, "the map must keep its arrays' owner")
    #expect(borrowed?.extents == original.extents)
    #expect(borrowed?.mappedBytes == original.mappedBytes)
    borrowed = nil
    #expect(watched == nil, "the owner must go with the map")
  }

  typealias Refusal = (
    starts: [UInt64], lengths: [UInt64], sources: [UInt64], error: BlockModelError
  )

  static let refusals: [Refusal] = [
    ([0, 10], [5], [0, 0], .extentArraysDiffer(starts: 2, lengths: 1, sources: 2)),
    ([0], [5], [], .extentArraysDiffer(starts: 1, lengths: 1, sources: 0)),
    ([0, 10], [5, 0], [0, 0], .extentIsEmpty(index: 1)),
    ([.max - 3], [5], [0], .extentOverflows(index: 0)),
    ([0, 4], [5, 5], [0, 0], .extentOutOfOrder(index: 1)),
    ([10, 0], [5, 5], [0, 0], .extentOutOfOrder(index: 1)),
    ([0], [17], [0x1_FFFF_FFF0], .extentSourceOverflows(index: 0)),
    ([0], [1 << 33], [0], .extentSourceOverflows(index: 0)),
  ]

  @Test(arguments: refusals)
  func unsoundArraysAreRefused(_ row: Refusal) {
    let arrays = ForeignArrays(starts: row.starts, lengths: row.lengths, sources: row.sources)
    #expect(throws: row.error) { try arrays.map() }
  }

  @Test func zerosMayBeLongerThanASegmentAndDataMayFillOne() throws {
    let arrays = ForeignArrays(
      starts: [0, 1 << 40, 1 << 41], lengths: [1 << 40, 1 << 35, 16],
      sources: [
        ExtentSource.zeros.rawValue, ExtentSource.hole.rawValue, 0x1_FFFF_FFF0,
      ])
    let map = try arrays.map()
    #expect(map.count == 3)
    #expect(map.piece(at: 1 << 39, limit: .max) == (1 << 39, .zeros))
  }
}

/// Arrays that do not belong to a map, as those of a mapped file.
@safe
private final class ForeignArrays: @unchecked Sendable {
  private let starts: UnsafeMutableBufferPointer<UInt64>
  private let lengths: UnsafeMutableBufferPointer<UInt64>
  private let sources: UnsafeMutableBufferPointer<UInt64>

  init(starts: [UInt64], lengths: [UInt64], sources: [UInt64]) {
    unsafe self.starts = unsafe Self.copy(starts)
    unsafe self.lengths = unsafe Self.copy(lengths)
    unsafe self.sources = unsafe Self.copy(sources)
  }

  convenience init(copying map: SealedExtentMap) {
    let extents = (0..<map.count).map { map[$0] }
    self.init(
      starts: extents.map(\.start), lengths: extents.map(\.length),
      sources: extents.map(\.source.rawValue))
  }

  deinit {
    unsafe starts.deallocate()
    unsafe lengths.deallocate()
    unsafe sources.deallocate()
  }

  func map() throws(BlockModelError) -> SealedExtentMap {
    try unsafe SealedExtentMap(
      borrowing: UnsafeBufferPointer(starts), lengths: UnsafeBufferPointer(lengths),
      sources: UnsafeBufferPointer(sources), owner: self)
  }

  private static func array(_ span: Span<UInt64>) -> [UInt64] { span.indices.map { span[$0] } }

  private static func copy(_ array: [UInt64]) -> UnsafeMutableBufferPointer<UInt64> {
    let copy = UnsafeMutableBufferPointer<UInt64>.allocate(capacity: array.count)
    _ = unsafe copy.initialize(from: array)
    return unsafe copy
  }
}
