import BlockModel
import Journal
import SystemIO

/// Reads records of a segment which may not be in memory any more, as they are sent when a link is
/// behind: a chunk at a time, and the disk goes on to the next ones meanwhile.
final class SegmentReading: LinkWork, @unchecked Sendable {
  /// Holds the longest record.
  static var byteLimit: Int { RecordHeader.payloadLimit + RecordHeader.byteCount }
  /// What the disk reads ahead.
  private static var aheadByteCount: UInt64 { 8 << 20 }

  private let room = PageBuffer(byteCount: byteLimit)
  private var segment: Segment<File>?
  private var offset = 0
  private var byteCount = 0
  private var failure: Errno?

  /// The bytes of the segment from `offset` on, valid until the next are asked for: `byteCount` of
  /// them, or as many as there were when they had to be waited for. Nil when they must be: then
  /// this is prepared to be given away, and has them when it has ended. Does not block.
  ///
  /// - Precondition: `byteCount` is at most `byteLimit`.
  func bytes(
    of segment: Segment<File>, at offset: Int, _ byteCount: Int
  ) throws(LinkError) -> UnsafeRawBufferPointer? {
    precondition(byteCount <= Self.byteLimit)
    let isRead =
      self.segment === segment && self.offset == offset && self.byteCount <= byteCount
    do throws(Errno) {
      if isRead {
        self.segment = nil
        if let failure { throw failure }
        return unsafe UnsafeRawBufferPointer(start: room.base, count: self.byteCount)
      }
      let target = unsafe UnsafeMutableRawBufferPointer(start: room.base, count: byteCount)
      if try unsafe segment.file.readIfCached(into: target, at: UInt64(offset)) {
        return UnsafeRawBufferPointer(target)
      }
    } catch { throw .local("reading journal segment \(segment.number): \(error)") }
    self.segment = segment
    (self.offset, self.byteCount) = (offset, byteCount)
    return nil
  }

  override func run() {
    guard let segment else { return }
    failure = nil
    do throws(Errno) {
      let target = unsafe UnsafeMutableRawBufferPointer(start: room.base, count: byteCount)
      let got = try unsafe segment.file.read(into: target, at: UInt64(offset))
      guard got == byteCount else { throw Errno.io }
    } catch { failure = error }
    segment.file.prefetch(at: UInt64(offset + byteCount), count: Self.aheadByteCount)
  }
}
