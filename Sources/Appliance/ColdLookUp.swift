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

/// Runs of changed and other bytes, as far as they could be told without waiting.
struct ChangePieces: Sendable {
  private let start: UInt64
  private let runLimit: Int
  private var pieces: [(length: UInt64, isChanged: Bool?)] = []

  /// - Parameter lookUp: gives the piece at an offset, at most as long as the limit.
  init(
    _ query: StatusQuery,
    lookUp: (_ offset: UInt64, _ limit: UInt64) -> (length: UInt64, isChanged: Bool?)
  ) {
    (start, runLimit) = (query.range.start, query.runLimit)
    var offset = start
    while offset < query.range.end, pieces.count < AllocationPlan.lookUpLimit {
      let piece = lookUp(offset, query.range.end - offset)
      pieces.append(piece)
      offset += piece.length
    }
  }

  var isUnresolved: Bool { pieces.contains { $0.isChanged == nil } }

  /// - Parameter resolve: asked, in ascending order, for what is not known; may block.
  func extents(
    resolve: (_ offset: UInt64, _ limit: UInt64) throws(VolumeError) -> (
      length: UInt64, isChanged: Bool
    )
  ) throws(VolumeError) -> StatusExtents {
    var extents = StatusExtents(start: start, winner: .highest, limit: runLimit)
    var offset = start
    for piece in pieces where !extents.isFull {
      let end = offset + piece.length
      if let isChanged = piece.isChanged {
        extents.add(length: piece.length, status: isChanged ? 1 : 0)
        offset = end
      }
      while offset < end, !extents.isFull {
        let (length, isChanged) = try resolve(offset, end - offset)
        extents.add(length: length, status: isChanged ? 1 : 0)
        offset += length
      }
    }
    extents.finish()
    return extents
  }
}

/// What tells of changes where a loop could not.
struct ColdChanges: Sendable {
  let blocks: ChangedBlocks
  /// Closed generations after the border, for the disk as it is.
  let later: ChangedBlocks?
  let disk: DiskNumber

  /// Blocks.
  func extents(of pieces: ChangePieces) throws(VolumeError) -> StatusExtents {
    var walk: ChangedBlocks.Walk?
    var laterWalk: ChangedBlocks.Walk?
    return try pieces.extents { (offset, limit) throws(VolumeError) in
      if walk == nil {
        walk = try blocks.walk(disk: disk, from: offset)
        laterWalk = try later?.walk(disk: disk, from: offset)
      }
      var found: (length: UInt64, isChanged: Bool) = (limit, false)
      if let told = try walk?.piece(at: offset, limit: limit) { found = told }
      if !found.isChanged, let told = try laterWalk?.piece(at: offset, limit: found.length) {
        found = told
      }
      return found
    }
  }
}
