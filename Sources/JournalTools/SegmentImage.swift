import BlockModel
import Journal
import SystemIO

/// A segment file in memory, searched for whole records beyond a place where the next one does not
/// verify. `SegmentScanner` stops there; this tells what it stopped at.
struct SegmentImage: ~Copyable {
  private let buffer: PageBuffer
  private let count: Int

  struct Found: Equatable {
    var position: Int
    /// In the segment, from 0.
    var index: UInt64
    var header: RecordHeader
    var end: Int { position + RecordHeader.byteCount + header.payloadByteCount }
  }

  /// The most records between two whole ones that the search considers lost.
  static let lostRecordLimit = 4096

  /// Reads the whole file: as much memory as a segment has bytes. Parts that the disk cannot read
  /// are zeros.
  init(_ segment: SegmentFile, folder: String) throws(JournalToolsError) {
    count = min(Int(clamping: segment.byteCount), Self.byteLimit)
    buffer = PageBuffer(byteCount: count)
    var start = 0
    while start < count {
      let length = min(Self.readByteCount, count - start)
      if !read(segment.file, start, length) {
        for page in stride(from: start, to: start + length, by: Self.pageByteCount) {
          _ = read(segment.file, page, min(Self.pageByteCount, count - page))
        }
      }
      start += length
    }
  }

  /// The largest segment of the format.
  private static let byteLimit = 1 << 30
  private static let readByteCount = 1 << 20
  private static let pageByteCount = 4096

  private func read(_ file: File, _ start: Int, _ length: Int) -> Bool {
    let target = unsafe UnsafeMutableRawBufferPointer(start: buffer.base + start, count: length)
    return (try? unsafe file.read(into: target, at: UInt64(start))) != nil
  }

  /// Valid while this value lives.
  func payload(of record: Found) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(
      start: buffer.base + record.position + RecordHeader.byteCount,
      count: record.header.payloadByteCount)
  }

  /// Headers that follow each other from `start` on and look like those of records that end by
  /// `end`. Their sums are wrong, so each may be, too.
  func plausibleHeaders(
    from start: Int, to end: Int, after earlier: Timestamp, limit: Int
  ) -> [RecordHeader] {
    var headers: [RecordHeader] = []
    var position = start
    var last = earlier
    while headers.count < limit, position < end,
      let header = plausibleHeader(at: position, after: last)
    {
      position += RecordHeader.byteCount + header.payloadByteCount
      guard position <= end else { break }
      headers.append(header)
      last = header.timestamp
    }
    return headers
  }

  /// The header at `position` if it can be a record's that was written after `earlier`. Its sum
  /// is not checked.
  func plausibleHeader(at position: Int, after earlier: Timestamp) -> RecordHeader? {
    guard position + RecordHeader.byteCount <= count else { return nil }
    let start = unsafe UnsafeRawPointer(buffer.base + position)
    guard let header = unsafe RecordHeader(parsing: start), header.timestamp > earlier,
      position + RecordHeader.byteCount + header.payloadByteCount <= count
    else { return nil }
    return header
  }

  /// The record at `position` if it is whole and the `index`th of the segment.
  func record(
    at position: Int, index: UInt64, seed: UInt32, after earlier: Timestamp
  ) -> Found? {
    guard let header = plausibleHeader(at: position, after: earlier),
      verifies(header, at: position, index: index, seed: seed)
    else { return nil }
    return Found(position: position, index: index, header: header)
  }

  /// The first whole record behind `position`, where the `index`th should be and is not. Bytes of
  /// an earlier use of the file have other seeds and older timestamps, so they are never found.
  func nextRecord(
    behind position: Int, index: UInt64, seed: UInt32, after earlier: Timestamp
  ) -> Found? {
    var candidate = position + 1
    while candidate + RecordHeader.byteCount <= count {
      if let header = plausibleHeader(at: candidate, after: earlier) {
        let room = (candidate - position) / RecordHeader.byteCount + 1
        for lost in 1...UInt64(min(max(room, 1), Self.lostRecordLimit))
        where verifies(header, at: candidate, index: index + lost, seed: seed) {
          return Found(position: candidate, index: index + lost, header: header)
        }
      }
      candidate += 1
    }
    return nil
  }

  /// The last of the whole records that follow `first` without a break.
  func lastRecord(of first: Found, seed: UInt32) -> Found {
    var last = first
    while let next = record(
      at: last.end, index: last.index + 1, seed: seed, after: last.header.timestamp)
    {
      last = next
    }
    return last
  }

  private func verifies(
    _ header: RecordHeader, at position: Int, index: UInt64, seed: UInt32
  ) -> Bool {
    let start = unsafe UnsafeRawPointer(buffer.base + position)
    return unsafe header.verifies(start, checksumStart: seed ^ UInt32(truncatingIfNeeded: index))
  }
}
