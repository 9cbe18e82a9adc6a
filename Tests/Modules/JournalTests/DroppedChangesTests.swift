import BlockModel
import JournalTestSupport
import TestSupport
import Testing

@testable import Journal

/// Proves that what dropped records have changed is told in full, in whatever steps segments are
/// dropped, or not at all, and is believed only as it was written.
@Suite struct DroppedChangesTests {
  private static let identifier = GroupIdentifier(high: 1, low: 2)

  private func disks(_ group: TestGroup) -> [JournalState.Disk] {
    group.settings.diskByteCounts.enumerated().map { number, byteCount in
      .init(number: DiskNumber(UInt16(number)), name: "d\(number)", byteCount: UInt64(byteCount))
    }
  }

  private func changes(after last: UInt64) -> DroppedChanges {
    DroppedChanges(group: Self.identifier, site: "west", after: SequenceNumber(last))
  }

  @Test func `every byte that a dropped record wrote is in a block`() throws {
    let group = try TestGroup.random(60, seed: 1)
    let (all, disks) = (group.segments, disks(group))
    #expect(all.count > 2)
    for first in [0, 1, 7, 20] as [UInt64] {
      var dropped = changes(after: first)
      for segment in all {
        #expect(try dropped.take(segment, of: disks))
        // It goes on after a start.
        dropped = try #require(DroppedChanges(decoding: dropped.encoded()))
      }
      #expect(dropped.span == .init(after: SequenceNumber(first), through: SequenceNumber(60)))
      #expect(dropped.through.timestamp == group.journal.newestTimestamp)
      let written = try #require(
        try RecordedChanges.extents(
          in: all, after: SequenceNumber(first), through: SequenceNumber(60)))
      let told = dropped.extents(of: disks)
      #expect(written.subtracting(told).isEmpty, "after \(first)")
      // Blocks, and not whole disks.
      for extent in told.extents {
        let isWanted = written.extents.contains {
          $0.disk == extent.disk && $0.range.start < extent.range.end
            && extent.range.start < $0.range.end
        }
        #expect(isWanted, "\(extent)")
        #expect(extent.range.end <= disks[extent.disk]?.byteCount ?? 0)
      }
    }
  }

  @Test func `nothing is told where records are missing`() throws {
    let group = try TestGroup.random(60, seed: 2)
    let (all, disks) = (group.segments, disks(group))
    var gapped = changes(after: 0)
    #expect(try gapped.take(all[0], of: disks))
    #expect(try !gapped.take(all[2], of: disks))
    var late = changes(after: all[1].firstSequence.rawValue - 2)
    #expect(try !late.take(all[1], of: disks))
    var exact = changes(after: all[1].firstSequence.rawValue - 1)
    #expect(try exact.take(all[1], of: disks))
  }

  @Test func `a file that is damaged or cut off is none`() throws {
    let group = try TestGroup.random(60, seed: 3)
    var dropped = changes(after: 0)
    for segment in group.segments { _ = try dropped.take(segment, of: disks(group)) }
    let bytes = dropped.encoded()
    #expect(DroppedChanges(decoding: bytes) == dropped)
    for position in stride(from: 0, to: bytes.count, by: 7) {
      var damaged = bytes
      damaged[position] ^= 0x10
      #expect(DroppedChanges(decoding: damaged) == nil, "byte \(position)")
      #expect(DroppedChanges(decoding: Array(bytes[..<position])) == nil, "\(position) bytes")
    }
  }
}
