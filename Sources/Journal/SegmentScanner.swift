import BlockModel
import SystemIO

/// Reads a segment's records in order, verifying each: what recovery, `journal verify` and the
/// opening of a view stand on. It ends at the first bytes that are not the next record.
public struct SegmentScanner<File: JournalFile>: ~Copyable {
  @safe public struct Record {
    public let header: RecordHeader
    public let sequence: SequenceNumber
    /// Of the header, in the segment file.
    public let position: Int
    /// Valid until the next call of `next`; empty where payloads are not read.
    public let payload: UnsafeRawBufferPointer
  }

  public enum Depth: Sendable {
    /// Reads and verifies all bytes.
    case verified
    /// Reads headers and checkpoints' tags only, of records that were verified before.
    case headersOnly
  }

  private let file: File
  private let header: SegmentHeader
  private let seed: UInt32
  private let depth: Depth
  private let limit: Int
  private let buffer: PageBuffer
  private var bufferStart = 0
  private var bufferEnd = 0
  private var lastTimestamp: Timestamp

  /// Where the next record would begin.
  public private(set) var position: Int
  public private(set) var recordCount: UInt64

  /// - Parameters:
  ///   - limit: the position before which every record must end.
  ///   - position: where to begin.
  ///   - recordCount: so many records of the segment lie before `position`.
  public init(
    _ file: File, header: SegmentHeader, limit: Int, depth: Depth = .verified,
    from position: Int = SegmentHeader.byteCount, recordCount: UInt64 = 0
  ) {
    self.file = file
    self.header = header
    self.depth = depth
    self.limit = min(limit, Int(header.segmentByteCount))
    self.position = position
    self.recordCount = recordCount
    seed = header.identity.checksumSeed
    buffer = PageBuffer(
      byteCount: depth == .verified ? 2 * RecordHeader.payloadLimit : 64 << 10)
    lastTimestamp = Timestamp(rawValue: header.firstTimestamp.rawValue &- 1)
  }

  /// The next record; nil at the end of the valid ones. Blocks on the disk.
  public mutating func next() throws(Errno) -> Record? {
    guard position + RecordHeader.byteCount <= limit,
      try fill(RecordHeader.byteCount)
    else { return nil }
    let start = unsafe UnsafeRawPointer(buffer.base + (position - bufferStart))
    guard let record = unsafe RecordHeader(parsing: start), record.timestamp > lastTimestamp
    else { return nil }
    let byteCount = RecordHeader.byteCount + record.payloadByteCount
    guard position + byteCount <= limit else { return nil }
    var payload = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
    if depth == .verified || record.kind.isMarker {
      guard try fill(byteCount) else { return nil }
      let whole = unsafe UnsafeRawPointer(buffer.base + (position - bufferStart))
      let checksumStart = seed ^ UInt32(truncatingIfNeeded: recordCount)
      guard unsafe record.verifies(whole, checksumStart: checksumStart) else { return nil }
      unsafe payload = UnsafeRawBufferPointer(
        start: whole + RecordHeader.byteCount, count: record.payloadByteCount)
    }
    let result = unsafe Record(
      header: record, sequence: header.firstSequence.advanced(by: recordCount),
      position: position, payload: payload)
    position += byteCount
    recordCount += 1
    lastTimestamp = record.timestamp
    return result
  }

  /// Makes `count` bytes at `position` present in the buffer. False at the end of the file.
  private mutating func fill(_ count: Int) throws(Errno) -> Bool {
    if position >= bufferStart, position + count <= bufferEnd { return true }
    // Headers that are far apart are read one by one; close ones share a read.
    let wanted = depth == .verified ? buffer.count : max(count, 4096)
    let room = unsafe UnsafeMutableRawBufferPointer(start: buffer.base, count: wanted)
    let got = try unsafe file.read(into: room, at: UInt64(position))
    bufferStart = position
    bufferEnd = position + got
    return got >= count
  }
}

extension Segment {
  /// Hands over the records that it has now, in order, until `body` returns false. Throws when one
  /// does not verify. Blocks.
  public func forEachRecord(
    _ body: (SegmentScanner<File>.Record) -> Bool
  ) throws(JournalError) {
    try scan(from: SegmentHeader.byteCount, 0, body)
  }

  /// As `forEachRecord`, of records that were verified before: reads their headers only.
  func forEachHeader(
    _ body: (SegmentScanner<File>.Record) -> Void
  ) throws(JournalError) {
    try scan(from: SegmentHeader.byteCount, 0, depth: .headersOnly) { record in
      body(record)
      return true
    }
  }

  private func scan(
    from position: Int, _ recordCount: UInt64, depth: SegmentScanner<File>.Depth = .verified,
    _ body: (SegmentScanner<File>.Record) -> Bool
  ) throws(JournalError) {
    let end = self.end
    var scanner = SegmentScanner(
      file, header: header, limit: end, depth: depth, from: position, recordCount: recordCount)
    do throws(Errno) {
      while let record = try scanner.next() { if !body(record) { return } }
    } catch { throw .storage(error, doing: "reading segment \(number)") }
    guard scanner.position == end else {
      let record = header.firstSequence.advanced(by: scanner.recordCount).rawValue
      throw .damaged("record \(record) in segment \(number) does not verify")
    }
  }

  /// Throws when one of the records that it has does not verify, but for those that were noted as
  /// applied: damage to them costs the disks nothing. Reads the rest: blocks.
  ///
  /// - Returns: what is to be noted once the records up to `mark` are applied.
  public func verify(applying mark: SequenceNumber) throws(JournalError) -> AppliedPart {
    let start = applied.withLock { $0 }
    var part = start
    try scan(from: start.end, start.recordCount) { record in
      if record.sequence <= mark {
        part.end = record.position + RecordHeader.byteCount + record.header.payloadByteCount
        part.recordCount += 1
      }
      return true
    }
    return part
  }

  public func noteApplied(_ part: AppliedPart) { applied.withLock { $0 = part } }
}
