import BlockModel
import SystemIO

/// Where the records up to an instant end, and what follows them.
public struct ForkPoint: Hashable, Sendable {
  /// The last record that is not later than the instant.
  public var last: JournalState.Mark
  /// Number of the segment in which what follows begins; nil: nothing follows.
  public var tail: UInt32?
  /// What follows: its last record, and about how many bytes it takes in the journal.
  public var end: JournalState.Mark
  public var byteCount: UInt64

  public init(last: JournalState.Mark, tail: UInt32?, end: JournalState.Mark, byteCount: UInt64) {
    self.last = last
    self.tail = tail
    self.end = end
    self.byteCount = byteCount
  }

  public var recordCount: UInt64 { end.sequence.rawValue - last.sequence.rawValue }

  /// Reads the headers of one segment: blocks.
  ///
  /// - Parameters:
  ///   - instant: not before `applied`.
  ///   - segments: in the order of their records, without a hole, from one that is not later than
  ///     the first record that is not applied.
  ///   - end: the last record.
  public static func find<File: JournalFile>(
    _ instant: Timestamp, in segments: [Segment<File>], applied: JournalState.Mark,
    end: JournalState.Mark
  ) throws(JournalError) -> ForkPoint {
    var point = ForkPoint(last: applied, tail: nil, end: end, byteCount: 0)
    let next = segments.firstIndex { $0.header.firstTimestamp > instant } ?? segments.endIndex
    for segment in segments[next...] {
      point.byteCount += UInt64(segment.end - SegmentHeader.byteCount)
    }
    if next > 0 {
      let cut = segments[next - 1]
      var position = SegmentHeader.byteCount
      var scanner = SegmentScanner(
        cut.file, header: cut.header, limit: cut.end, depth: .headersOnly)
      do throws(Errno) {
        while let record = try scanner.next(), record.header.timestamp <= instant {
          position = scanner.position
          if record.sequence <= applied.sequence { continue }
          point.last = .init(record.sequence, record.header.timestamp)
        }
      } catch { throw .storage(error, doing: "reading segment \(cut.number)") }
      point.byteCount += UInt64(cut.end - position)
      if cut.end > position { point.tail = cut.number }
    }
    if point.last.sequence >= end.sequence {
      point.last = end
      point.byteCount = 0
      point.tail = nil
    } else if point.tail == nil {
      point.tail = next < segments.endIndex ? segments[next].number : nil
    }
    return point
  }
}
