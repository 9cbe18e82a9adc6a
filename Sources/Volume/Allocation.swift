import BlockModel
import Journal
import Storage

/// What is known of a run of bytes without reading it: the statuses of the NBD context
/// `base:allocation` (NBD_STATE_HOLE 1, NBD_STATE_ZERO 2).
public enum Allocation: UInt32, Sendable {
  case data = 0
  /// Reads as zeros and has space.
  case zeros = 2
  /// Reads as zeros and has no space.
  case hole = 3
}

/// A range of a disk as the journal's index knows it: made on the loop, without waiting; the rest
/// is asked of the base.
public struct AllocationPlan: Sendable {
  /// Places of the index that one plan looks at, at most: a fragmented disk must not hold up the
  /// loop. The plan is then shorter than what was asked for.
  public static let lookUpLimit = 2048

  private enum Place: Equatable {
    case known(Allocation)
    case base
    /// The index must be asked by somebody who may wait.
    case unresolved
  }

  private struct Piece {
    var length: UInt64
    let place: Place
  }

  public let start: UInt64
  private var pieces: [Piece] = []

  /// - Parameter lookUp: gives the piece at an offset, at most as long as the limit.
  public init(
    _ range: ByteRange,
    lookUp: (_ offset: UInt64, _ limit: UInt64) -> (length: UInt64, source: ExtentSource?)
  ) {
    start = range.start
    var offset = range.start
    var count = 0
    while offset < range.end, count < Self.lookUpLimit {
      let (length, source) = lookUp(offset, range.end - offset)
      add(length, Self.place(source))
      offset += length
      count += 1
    }
  }

  private static func place(_ source: ExtentSource?) -> Place {
    guard let source else { return .base }
    switch source {
    case .unresolved: return .unresolved
    case .hole: return .known(.hole)
    case .zeros: return .known(.zeros)
    default: return .known(.data)
    }
  }

  private mutating func add(_ length: UInt64, _ place: Place) {
    if let last = pieces.last, last.place == place {
      pieces[pieces.count - 1].length += length
    } else {
      pieces.append(Piece(length: length, place: place))
    }
  }

  /// Asks again for what could not be told without waiting; the plan may become shorter.
  ///
  /// - Parameter lookUp: as of the initializer, but it always knows.
  public mutating func resolve(
    _ lookUp: (_ offset: UInt64, _ limit: UInt64) throws(VolumeError) -> (
      length: UInt64, source: ExtentSource?
    )
  ) throws(VolumeError) {
    let before = pieces
    pieces = []
    var offset = start
    var count = 0
    for piece in before {
      let end = offset + piece.length
      if piece.place != .unresolved {
        add(piece.length, piece.place)
        offset = end
      }
      while offset < end {
        if count == Self.lookUpLimit { return }
        let (length, source) = try lookUp(offset, end - offset)
        add(length, Self.place(source))
        offset += length
        count += 1
      }
    }
  }

  public var isUnresolved: Bool { pieces.contains { $0.place == .unresolved } }

  /// Not all of it is known.
  public var needsBase: Bool {
    pieces.contains { if case .known = $0.place { false } else { true } }
  }

  /// The status of the range, as far as the plan and `limit` runs reach.
  ///
  /// - Precondition: nothing is unresolved.
  /// - Parameter store: the base; asked only if `needsBase`, and then this blocks.
  public func extents(
    base store: some BackingStore, limit: Int
  ) throws(VolumeError) -> StatusExtents {
    var extents = StatusExtents(start: start, winner: .lowest, limit: limit)
    var offset = start
    for piece in pieces where !extents.isFull {
      if case .known(let allocation) = piece.place {
        extents.add(length: piece.length, status: allocation.rawValue)
      } else {
        try Self.add(
          ByteRange(start: offset, length: piece.length), of: store, to: &extents)
      }
      offset += piece.length
    }
    extents.finish()
    return extents
  }

  private static func add(
    _ range: ByteRange, of store: some BackingStore, to extents: inout StatusExtents
  ) throws(VolumeError) {
    let gap = store.tellsHoles ? Allocation.hole : .zeros
    var offset = range.start
    while offset < range.end, !extents.isFull {
      let data: ByteRange?
      do throws(StorageError) {
        data = try store.nextDataRange(from: offset, limit: range.end)
      } catch { throw .base(error) }
      let dataStart = data?.start ?? range.end
      if dataStart > offset {
        extents.add(length: dataStart - offset, status: gap.rawValue)
      }
      if let data { extents.add(length: data.length, status: Allocation.data.rawValue) }
      offset = data?.end ?? range.end
    }
  }
}
