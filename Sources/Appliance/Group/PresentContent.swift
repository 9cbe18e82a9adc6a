import BlockModel
import Journal
import Replication
import Storage
import SystemIO
import Volume

/// What a disk of a group holds as of the newest closed record. Read on the keeper, so that the
/// base is between two steps of apply.
struct PresentContent: Sendable {
  let disk: DiskNumber
  let cover: IndexCover
  let floor: UInt32
  let reader: SiteReader

  /// Where the bytes at `offset` are, and for how many bytes that holds. Blocks.
  func piece(
    at offset: UInt64, limit: UInt64
  ) throws(JournalError) -> (length: UInt64, source: ExtentSource?) {
    try cover.pieceWaiting(disk: disk, at: offset, limit: limit, floor: floor)
  }

  /// Nil: they are zeros, and were not read. Blocks.
  func bytes(_ range: ByteRange) throws -> [UInt8]? {
    var bytes: [UInt8] = []
    var offset = range.start
    while offset < range.end {
      let (length, source) = try piece(at: offset, limit: range.end - offset)
      let found = ByteRange(start: offset, length: length)
      if let part = try dataRange(found, source) {
        if bytes.isEmpty { bytes = [UInt8](repeating: 0, count: Int(range.length)) }
        try read(source, part, into: &bytes, at: Int(part.start - range.start))
        offset = part.end
      } else {
        offset = found.end
      }
    }
    return bytes.isEmpty ? nil : bytes
  }

  /// Of what lies at one source, the first that may be something else than zeros.
  private func dataRange(
    _ range: ByteRange, _ source: ExtentSource?
  ) throws(StorageError) -> ByteRange? {
    guard let source else {
      return try reader.store.nextDataRange(from: range.start, limit: range.end).map {
        ByteRange(start: $0.start, end: min($0.end, range.end))
      }
    }
    return source.isZeros ? nil : range
  }

  func read(_ source: ExtentSource?, _ range: ByteRange) throws(VolumeError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(range.length))
    try read(source, range, into: &bytes, at: 0)
    return bytes
  }

  private func read(
    _ source: ExtentSource?, _ range: ByteRange, into bytes: inout [UInt8], at place: Int
  ) throws(VolumeError) {
    let result = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Void, VolumeError> in
      do throws(VolumeError) {
        let part = unsafe UnsafeMutableRawBufferPointer(
          rebasing: buffer[place..<place + Int(range.length)])
        return .success(try unsafe reader.read(source, at: range.start, into: part))
      } catch { return .failure(error) }
    }
    try result.get()
  }
}

extension BlockDigest {
  /// - Parameter bytes: nil: zeros.
  init(of bytes: [UInt8]?, byteCount: UInt64) {
    if let bytes {
      self = unsafe bytes.withUnsafeBytes { unsafe BlockDigest(of: $0) }
    } else {
      self = byteCount == Self.blockByteCount ? .zeroBlock : .zeros(Int(byteCount))
    }
  }
}

extension Group {
  /// As the index has closed it by now. Pins the oldest segment that it may name, until that is
  /// released.
  func presentContent(
    of disk: GroupDisk, _ journal: SiteJournal
  ) -> (content: PresentContent, oldest: Segment<SiteSegmentFile>?) {
    let (cover, floor) = journal.closedIndex
    let oldest = journal.oldestNamedSegment
    oldest?.pin()
    let content = PresentContent(
      disk: disk.number, cover: cover, floor: floor,
      reader: VolumeReader(store: disk.store, catalog: journal.catalog))
    return (content, oldest)
  }

  /// So that the index of what is closed knows all up to the record. False when the group has
  /// failed.
  func closeIndex(through record: SequenceNumber, _ journal: SiteJournal) -> Bool {
    guard let span = journal.activeSpan, span.firstSequence <= record else { return true }
    do throws(JournalError) { try journal.freezeActive() } catch { fail("\(error)") }
    return failure == nil
  }
}
