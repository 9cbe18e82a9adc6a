import BlockModel
import SystemIO

/// Maps that follow each other and stand for a part of a group's order. Immutable; any thread.
///
/// See `IndexLevels` for the floor rule. A generation of which all segments are below the floor
/// needs no look: whatever it or an older one says, the base has it.
public struct IndexCover: Sendable {
  public let newestFirst: [Generation]

  public init(_ oldestFirst: [Generation]) { newestFirst = oldestFirst.reversed() }

  /// Where the bytes at `offset` are, and for how many bytes (at most `limit`) that holds. A nil
  /// source: nothing here touched them, or they are in the base. Does not block: the source is
  /// `unresolved` where an index file would have to be read.
  ///
  /// - Parameter floor: the oldest segment that is kept.
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, floor: UInt32
  ) -> (length: UInt64, source: ExtentSource?) {
    let found = rawPiece(disk: disk, at: offset, limit: limit, floor: floor)
    #if MUTANTS
      if Mutant.forgetUnresolved.isOn, found.source == .unresolved { return (found.length, nil) }
    #endif
    return (found.length, found.source?.unlessBelow(segment: floor))
  }

  /// As `piece`, but waits for the disk, and always knows.
  public func pieceWaiting(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, floor: UInt32
  ) throws(JournalError) -> (length: UInt64, source: ExtentSource?) {
    let found = try rawPieceWaiting(disk: disk, at: offset, limit: limit, floor: floor)
    return (found.length, found.source?.unlessBelow(segment: floor))
  }

  // MARK: As a part of other covers

  /// A source that is below every floor: older maps must not be asked.
  private static let base = ExtentSource(rawValue: 0)

  @inline(__always)
  func rawPiece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, floor: UInt32
  ) -> (length: UInt64, source: ExtentSource?) {
    var length = limit
    for map in newestFirst {
      if map.segment < floor { return (length, Self.base) }
      let found = map.piece(disk: disk, at: offset, limit: length, floor: floor)
      length = found.length
      if let source = found.source { return (length, source) }
    }
    return (length, nil)
  }

  func rawPieceWaiting(
    disk: DiskNumber, at offset: UInt64, limit: UInt64, floor: UInt32
  ) throws(JournalError) -> (length: UInt64, source: ExtentSource?) {
    var length = limit
    for map in newestFirst {
      if map.segment < floor { return (length, Self.base) }
      let found = try map.pieceWaiting(disk: disk, at: offset, limit: length, floor: floor)
      length = found.length
      if let source = found.source { return (length, source) }
    }
    return (length, nil)
  }
}
