import BlockModel
import Journal
import Synchronization

/// What the receiver of a full copy has said of what is to be sent: where it has the same, nothing
/// is. Between the link, which hears it, and who reads the disks. Any thread.
///
/// A word counts for the first piece that brings its block on this connection, and for no other:
/// nothing else changes the block at the receiver before that. Records that follow do, so it is
/// over when they begin.
final class CopyComparison: Sendable {
  private let window: Mutex<DigestWindow>

  init(of extents: DiskExtents) { window = Mutex(DigestWindow(of: extents)) }

  /// The digests of as many blocks from the position on. Throws, with nothing taken, when they are
  /// not what is asked for.
  func take(_ digests: [BlockDigest], from position: DiskPosition) throws(LinkError) {
    let result = window.withLock { window -> Result<Void, LinkError> in
      do throws(LinkError) { return .success(try window.take(digests, from: position)) } catch {
        return .failure(error)
      }
    }
    try result.get()
  }

  /// A piece that ends there was read: what was said before is not asked for again.
  func passed(_ position: DiskPosition) { window.withLock { $0.passed(position) } }

  /// Records follow.
  func end() { passed(DigestWindow.end) }

  /// Some of what the receiver was asked for is to be sent or passed yet.
  var isUnderWay: Bool { window.withLock { !$0.isOver } }

  /// Where the first byte at or after `offset` lies of which the receiver is still to tell; nil:
  /// nowhere on this disk.
  func awaited(_ disk: DiskNumber, from offset: UInt64) -> UInt64? {
    window.withLock { $0.awaited(from: DiskPosition(disk, offset)) }
      .flatMap { $0.disk == disk ? $0.offset : nil }
  }

  /// The block that has the byte, if it is told of; nil also while that is awaited.
  func block(_ disk: DiskNumber, at offset: UInt64) -> ByteRange? {
    guard case .said(let block, _) = window.withLock({ $0.word(at: DiskPosition(disk, offset)) })
    else { return nil }
    return block.range
  }

  /// What was said of blocks that lie in the range as a whole, in their order.
  func words(
    _ disk: DiskNumber, in range: ByteRange
  ) -> [(block: ByteRange, digest: BlockDigest)] {
    window.withLock { window in
      var words: [(block: ByteRange, digest: BlockDigest)] = []
      var position = DiskPosition(disk, range.start)
      while position < DiskPosition(disk, range.end) {
        switch window.word(at: position) {
        case .awaited: return words
        case .nothing(let next): position = next
        case .said(let block, let digest):
          if block.range.start >= range.start, block.range.end <= range.end {
            words.append((block.range, digest))
          }
          position = block.end
        }
      }
      return words
    }
  }
}
