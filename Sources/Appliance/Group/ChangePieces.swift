import BlockModel
import Journal
import Volume

/// Runs of changed and other bytes, as far as they could be told without waiting.
struct ChangePieces: Sendable {
  private let start: UInt64
  private let runLimit: Int
  private var pieces: [(length: UInt64, isChanged: Bool?)] = []

  /// - Parameters:
  ///   - runLimit: runs that `extents` gives at most.
  ///   - lookUp: gives the piece at an offset, at most as long as the limit.
  init(
    _ range: ByteRange, runLimit: Int,
    lookUp: (_ offset: UInt64, _ limit: UInt64) -> (length: UInt64, isChanged: Bool?)
  ) {
    start = range.start
    self.runLimit = runLimit
    var offset = start
    while offset < range.end, pieces.count < AllocationPlan.lookUpLimit {
      let piece = lookUp(offset, range.end - offset)
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
