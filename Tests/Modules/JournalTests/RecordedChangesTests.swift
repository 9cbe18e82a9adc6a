import BlockModel
import JournalTestSupport
import TestSupport
import Testing

@testable import Journal

/// Proves that what records have changed is told from their headers, and only where all are there.
@Suite struct RecordedChangesTests {
  /// Of the plain history, the bytes that the records after one of them wrote.
  private func written(_ group: TestGroup, after first: Int) -> DiskExtents {
    var collector = DiskExtentCollector()
    for entry in group.history.entries[(first + 1)...] {
      guard let operation = entry.operation, !operation.kind.isMarker else { continue }
      collector.add(
        DiskExtent(
          operation.disk,
          ByteRange(start: UInt64(operation.offset), length: UInt64(operation.length))))
    }
    return collector.finish()
  }

  @Test func `it is what they wrote, after whichever record`() throws {
    let group = try TestGroup.random(60, seed: 1)
    let segments = group.segments
    #expect(segments.count > 2)
    for first in 0...60 {
      let found = try RecordedChanges.extents(
        in: segments, after: SequenceNumber(UInt64(first)), through: SequenceNumber(60))
      #expect(found == written(group, after: first), "after \(first)")
    }
  }

  @Test func `where some are missing nothing is told`() throws {
    let group = try TestGroup.random(60, seed: 2)
    let all = group.segments
    let middle = all[1].firstSequence
    let last = SequenceNumber(60)
    let before = SequenceNumber(middle.rawValue - 2)
    #expect(try RecordedChanges.extents(in: Array(all[1...]), after: before, through: last) == nil)
    #expect(
      try RecordedChanges.extents(
        in: Array(all[1...]), after: before.advanced(by: 1), through: last) != nil)
    #expect(
      try RecordedChanges.extents(in: [all[0]] + all[2...], after: .none, through: last) == nil)
    #expect(
      try RecordedChanges.extents(in: all, after: .none, through: last.advanced(by: 1)) == nil)
    let none: [Segment<FaultyFile>] = []
    #expect(try RecordedChanges.extents(in: none, after: .none, through: last) == nil)
  }
}
