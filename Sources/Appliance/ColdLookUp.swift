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

  /// - Parameter resolve: asked, in ascending order, for what is not known; may block. Nil: the
  ///   answer ends here.
  func extents(
    resolve: (_ offset: UInt64, _ limit: UInt64) throws(VolumeError) -> (
      length: UInt64, isChanged: Bool
    )?
  ) throws(VolumeError) -> StatusExtents {
    var extents = StatusExtents(start: start, winner: .highest, limit: runLimit)
    var offset = start
    pieces: for piece in pieces where !extents.isFull {
      let end = offset + piece.length
      if let isChanged = piece.isChanged {
        extents.add(length: piece.length, status: isChanged ? 1 : 0)
        offset = end
      }
      while offset < end, !extents.isFull {
        guard let (length, isChanged) = try resolve(offset, end - offset) else { break pieces }
        extents.add(length: length, status: isChanged ? 1 : 0)
        offset += length
      }
    }
    extents.finish()
    return extents
  }

  var end: UInt64 { pieces.reduce(start) { $0 + $1.length } }
}

/// What tells of changes to the disk as it is where a loop could not.
struct ColdChanges: Sendable {
  /// What stands for the closed generations after the border. They stay: it is held.
  let later: [Generation]
  let disk: DiskNumber

  /// So many runs are in memory at once, for each few maps.
  private static let runLimit = 16 << 10

  /// Blocks.
  func extents(of pieces: ChangePieces) throws(VolumeError) -> StatusExtents {
    var runs: ChangedRuns?
    var end = pieces.end
    return try pieces.extents { (offset, limit) throws(VolumeError) in
      if runs == nil {
        runs = try ChangedRuns(
          of: later, disk: disk, from: offset, until: &end, limit: Self.runLimit)
      }
      guard let runs, offset < end else { return nil }
      return runs.piece(at: offset, limit: min(limit, end - offset))
    }
  }
}
