import BlockModel
import SystemIO

/// What records have changed, from their headers alone.
public struct RecordedChanges: Sendable {
  private var collector: DiskExtentCollector
  /// All up to this record that come after the first are known.
  public private(set) var through: SequenceNumber

  /// - Parameter last: of records after this one.
  public init(after last: SequenceNumber, limit: Int = DiskExtents.limit) {
    through = last
    collector = DiskExtentCollector(limit: limit)
  }

  /// Nothing else is among `finish`.
  public var isExact: Bool { collector.isExact }

  /// Takes what the segment has of the records that come next. Throws where one does not verify as
  /// far as headers tell. Blocks.
  ///
  /// - Returns: false when the segment begins behind the record that comes next.
  public mutating func take<File: JournalFile>(
    _ segment: Segment<File>
  ) throws(JournalError) -> Bool {
    guard segment.firstSequence <= through.advanced(by: 1) else { return false }
    try segment.forEachHeader { record in
      guard record.sequence > through else { return }
      through = record.sequence
      if !record.header.kind.isMarker {
        collector.add(DiskExtent(record.header.disk, record.header.range))
      }
    }
    return true
  }

  public mutating func finish() -> DiskExtents { collector.finish() }

  /// What the records after `first` up to `last` have changed; nil: not all of them are here.
  /// Blocks.
  ///
  /// - Parameter segments: in order.
  public static func extents<File: JournalFile>(
    in segments: [Segment<File>], after first: SequenceNumber, through last: SequenceNumber
  ) throws(JournalError) -> DiskExtents? {
    var changes = RecordedChanges(after: first)
    for (index, segment) in segments.enumerated() {
      let next = index + 1 < segments.count ? segments[index + 1].firstSequence : nil
      if let next, next <= first.advanced(by: 1) { continue }
      guard try changes.take(segment) else { return nil }
      // A segment's records end where the next one begins.
      if let next, changes.through.advanced(by: 1) != next { return nil }
    }
    return changes.through == last ? changes.finish() : nil
  }
}
