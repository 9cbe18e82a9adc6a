import BlockModel
import SystemIO

extension ActiveIndex {
  /// Adds a record that was read back from a segment.
  mutating func add<File: JournalFile>(_ record: SegmentScanner<File>.Record, segment: UInt32) {
    if record.header.kind == .checkpoint {
      add(
        Checkpoint(
          sequence: record.sequence, timestamp: record.header.timestamp,
          tag: unsafe String(decoding: record.payload, as: UTF8.self)))
    } else {
      add(
        record.header, record.sequence,
        record.header.extentSource(segment: segment, position: record.position))
    }
  }
}

extension Generation {
  /// The index of a segment's records after `after`, later than `start` and not later than
  /// `instant`; nil when there are none. Verifies what it reads: a header that is not what was
  /// written would put other bytes in place of the record's. Blocks; for a worker.
  public static func scanning<File: JournalFile>(
    _ segment: Segment<File>, after: SequenceNumber, laterThan start: Timestamp = .zero,
    notLaterThan instant: Timestamp, diskCount: Int
  ) throws(JournalError) -> Generation? {
    var index = ActiveIndex(diskCount: diskCount)
    try segment.forEachRecord { record in
      guard record.header.timestamp <= instant else { return false }
      if record.sequence > after, record.header.timestamp > start {
        index.add(record, segment: segment.number)
      }
      return true
    }
    return index.span.map {
      Generation(freezing: index, span: $0, segment: segment.number)
    }
  }
}
