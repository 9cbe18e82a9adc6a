import BlockModel
import Journal
import Storage
import SystemIO
import Volume

/// Answers from the index for somebody who may wait, where the loop could not without waiting.
struct ColdLookUp: Sendable {
  enum Index: Sendable {
    /// Of the disk as it is, where what is not closed yet knows nothing. The oldest segment is
    /// pinned: all that the index names stays.
    case live(IndexCover, floor: UInt32, oldest: Segment<SiteSegmentFile>?)
    case view(SiteView)
  }

  let disk: DiskNumber
  let index: Index

  /// Blocks.
  func piece(
    at offset: UInt64, limit: UInt64
  ) throws(VolumeError) -> (length: UInt64, source: ExtentSource?) {
    switch index {
    case .view(let view): return try view.pieceWaiting(disk: disk, at: offset, limit: limit)
    case .live(let cover, let floor, _):
      do throws(JournalError) {
        return try cover.pieceWaiting(disk: disk, at: offset, limit: limit, floor: floor)
      } catch { throw .index(error) }
    }
  }

  /// Once, after the last use of what `piece` gave.
  func release() {
    if case .live(_, _, let oldest) = index { oldest?.unpin() }
  }
}
