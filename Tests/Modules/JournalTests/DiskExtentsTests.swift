import BlockModel
import TestSupport
import Testing

@testable import Journal

/// Proves of lists of ranges that they hold the bytes that they were given, in order, and more only
/// where they would become too long.
@Suite struct DiskExtentsTests {
  private static let unit: UInt64 = 4096

  private func extent(_ disk: UInt16, _ range: Range<UInt64>) -> DiskExtent {
    DiskExtent(DiskNumber(disk), ByteRange(start: range.lowerBound, end: range.upperBound))
  }

  /// In any order, overlapping in every way.
  private func random(
    _ count: Int, below end: UInt64, _ generator: inout SeededGenerator
  ) -> [DiskExtent] {
    (0..<count).map { _ in
      let start = generator.next() % end
      let length = generator.next() % 40
      return extent(UInt16(generator.below(2)), start..<min(end, start + length))
    }
  }

  private func bytes(_ extents: [DiskExtent]) -> Set<DiskPosition> {
    extents.reduce(into: []) { bytes, extent in
      for offset in extent.range.start..<extent.range.end {
        bytes.insert(DiskPosition(extent.disk, offset))
      }
    }
  }

  private func collect(_ extents: [DiskExtent], limit: Int = DiskExtents.limit) -> DiskExtents {
    var collector = DiskExtentCollector(limit: limit)
    for extent in extents { collector.add(extent) }
    return collector.finish()
  }

  @Test(arguments: 0..<20)
  func `what is collected, taken away and left are the right bytes`(seed: UInt64) throws {
    var generator = SeededGenerator(seed: testSeed(seed))
    let (some, others) = (random(60, below: 2000, &generator), random(60, below: 2000, &generator))
    let (list, minus) = (collect(some), collect(others))
    #expect(bytes(list.extents) == bytes(some))
    #expect(list.byteCount == UInt64(bytes(some).count))
    #expect(DiskExtents(checking: list.extents) == list)
    // None touches the next.
    for (one, next) in zip(list.extents, list.extents.dropFirst()) { #expect(one.end < next.start) }
    let difference = list.subtracting(minus)
    #expect(bytes(difference.extents) == bytes(some).subtracting(bytes(others)))
    #expect(DiskExtents(checking: difference.extents) == difference)
    let position = DiskPosition(DiskNumber(UInt16(generator.below(3))), generator.next() % 2100)
    #expect(
      bytes(list.rest(from: position).extents) == bytes(some).filter { $0 >= position })
  }

  @Test func `too many are joined over the least that lies between`() {
    var generator = SeededGenerator(seed: testSeed(1))
    let pages = (0..<120).map { _ in
      let start = generator.next() % 10_000 * Self.unit
      return extent(0, start..<start + Self.unit)
    }
    var collector = DiskExtentCollector(limit: 50)
    for page in pages { collector.add(page) }
    let list = collector.finish()
    #expect(list.extents.count <= 50 && list.extents.count > 5)
    #expect(!collector.isExact)
    for page in pages {
      #expect(list.extents.contains { $0.disk == page.disk && $0.range.contains(page.range) })
    }
    #expect(DiskExtents(checking: list.extents) == list)
  }

  @Test func `ranges of different disks are never joined`() {
    let list = collect([extent(1, 0..<10), extent(0, 10..<20), extent(0, 0..<10)], limit: 2)
    #expect(list.extents == [extent(0, 0..<20), extent(1, 0..<10)])
  }

  @Test func `a list out of order is none`() {
    #expect(DiskExtents(checking: []) == DiskExtents())
    for bad in [
      [extent(0, 5..<5)], [extent(0, 0..<5), extent(0, 4..<6)],
      [extent(1, 0..<1), extent(0, 5..<6)], [extent(0, 6..<7), extent(0, 0..<1)],
    ] { #expect(DiskExtents(checking: bad) == nil) }
  }
}
