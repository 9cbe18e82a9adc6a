import BlockModel
import SystemIO

/// What a sealed segment is, without a look into it: the head of its sidecar.
///
/// It was written when the segment was durable and another one begun, and a segment's identity and
/// number of records fix its content. So it stands for the segment as long as the slot has not been
/// used again, which `JournalState.oldestSegment` tells.
public struct SegmentSeal: Equatable, Sendable {
  static let byteCount = 40

  public let identity: SegmentIdentity
  /// Position of the end of the last record.
  public let end: Int
  /// Of all its records.
  public let span: RecordSpan

  public var recordCount: UInt64 { next.distance(from: span.firstSequence) }
  /// The number after the last record.
  var next: SequenceNumber { span.lastSequence.advanced(by: 1) }

  init(identity: SegmentIdentity, end: Int, span: RecordSpan) {
    self.identity = identity
    self.end = end
    self.span = span
  }

  /// Reads first sequence, number of records, end, and the timestamps of the first and the last
  /// record, 64 bits each; throws when they cannot be of the segment with this header.
  init(decoding fields: ArraySlice<UInt8>, of header: SegmentHeader) throws {
    var decoder = WireDecoder(Array(fields.prefix(Self.byteCount)))
    let first = SequenceNumber(try decoder.take())
    let count = try decoder.take(UInt64.self)
    let end = try decoder.take(UInt64.self)
    let firstTimestamp = Timestamp(rawValue: try decoder.take())
    let lastTimestamp = Timestamp(rawValue: try decoder.take())
    guard first == header.firstSequence,
      count > 0, count <= UInt64(header.segmentByteCount) / UInt64(RecordHeader.byteCount),
      end > UInt64(SegmentHeader.byteCount), end <= UInt64(header.segmentByteCount),
      firstTimestamp >= header.firstTimestamp, lastTimestamp >= firstTimestamp
    else { throw SidecarIndex.Refused() }
    identity = header.identity
    self.end = Int(end)
    span = RecordSpan(
      firstSequence: first, lastSequence: first.advanced(by: count - 1),
      firstTimestamp: firstTimestamp, lastTimestamp: lastTimestamp)
  }
}

extension Segment {
  /// Its seal, when it is sealed and the next segment begins with record `next`.
  func seal(before next: SequenceNumber) -> SegmentSeal {
    SegmentSeal(
      identity: header.identity, end: end,
      span: RecordSpan(
        firstSequence: firstSequence, lastSequence: SequenceNumber(next.rawValue - 1),
        firstTimestamp: header.firstTimestamp,
        lastTimestamp: max(header.firstTimestamp, lastTimestamp)))
  }
}
