import BlockModel
import Journal
import Storage
import Synchronization
import SystemIO

/// A group as it was at one instant: the bases plus the records with timestamp ≤ the instant.
///
/// Opened in two steps. The group's loop makes a `ViewPlan`: it takes references to the
/// generations, pins their segments and from then on keeps `applied` at or before the instant. A
/// worker turns the plan into a view. One segment at most is scanned: when somebody reads where it
/// changed something, or at once if its newest generation is not closed. Any thread reads it. When
/// the journal needs the room, the view is detached from it: see `detach`.
public struct ViewPlan<File: JournalFile>: Sendable {
  public let instant: Timestamp
  /// Whole generations at or before the instant, single or merged, oldest first.
  let whole: [Generation]
  /// The segment in which the instant may cut, and the records of it that no whole generation has.
  let cutSegment: Segment<File>?
  /// Has all of those, and later ones.
  let cut: Generation?
  let cutAfter: SequenceNumber
  /// The oldest that the view needs. Segments are recycled in order, so its pin keeps all of them.
  private let oldestSegment: Segment<File>?
  let diskCount: Int
  /// Where what a scan finds is put.
  let shelf: IndexShelf

  /// By the loop, in a time that does not grow with the history. Pins the segments; every plan is
  /// `released` once, whether it became a view or not.
  ///
  /// - Parameters:
  ///   - generations: `Journal.maps(notLaterThan: instant)`.
  ///   - cut: `Journal.generation(cutBy: instant)`.
  ///   - segments: those that hold records which are not applied, oldest first.
  public init(
    instant: Timestamp, generations: [Generation], cut: Generation?,
    segments: ArraySlice<Segment<File>>, diskCount: Int, shelf: IndexShelf
  ) {
    #if MUTANTS
      let instant =
        Mutant.openTooLate.isOn ? Timestamp(rawValue: instant.rawValue + 10_000_000) : instant
    #endif
    self.instant = instant
    whole = generations
    cutAfter = whole.last?.span.lastSequence ?? .none
    let end = segments.firstIndexInOrder { $0.header.firstTimestamp > instant }
    cutSegment = segments[..<end].last
    self.cut = cut
    oldestSegment = segments[..<end].first
    self.diskCount = diskCount
    self.shelf = shelf
    oldestSegment?.pin()
  }

  /// What the maps name in older segments is in the base.
  var floor: UInt32 { oldestSegment?.number ?? .max }

  public func release() { oldestSegment?.unpin() }
}

public final class View<File: JournalFile, Store: BackingStore>: Sendable {
  public let instant: Timestamp
  private let plan: ViewPlan<File>
  private let cover: IndexCover
  /// By number; nil: this site does not have the disk.
  private let readers: [VolumeReader<File, Store>?]
  let detachment: ViewDetachment<File>

  /// May scan the segment in which the instant lies. Blocks; for a worker.
  ///
  /// - Parameter applied: records up to here are in the bases.
  public init(
    _ plan: ViewPlan<File>, applied: SequenceNumber, stores: [Store?],
    catalog: SegmentCatalog<File>
  ) throws(VolumeError) {
    self.plan = plan
    instant = plan.instant
    detachment = ViewDetachment(floor: plan.floor)
    readers = stores.map { $0.map { VolumeReader(store: $0, catalog: catalog) } }
    var generations = plan.whole
    if let segment = plan.cutSegment, let cut = plan.cut {
      generations.append(cut.prefix(notLaterThan: plan.instant, of: segment, plan.shelf))
    } else if let segment = plan.cutSegment {
      do throws(JournalError) {
        // Not from a later `applied` on: the maps hide what the bases got since the plan was made.
        generations += try Generation.scanning(
          segment, after: plan.whole.isEmpty ? applied : plan.cutAfter, notLaterThan: plan.instant,
          diskCount: plan.diskCount, plan.shelf)
      } catch { throw .index(error) }
    }
    cover = IndexCover(generations)
  }

  /// - Precondition: the view was opened with a store for it.
  public func reader(disk: DiskNumber) -> VolumeReader<File, Store> {
    guard let reader = readers[disk.index] else { preconditionFailure("the view lacks the disk") }
    return reader
  }

  /// It was opened with a store for the disk.
  public func has(_ disk: DiskNumber) -> Bool {
    disk.index < readers.count && readers[disk.index] != nil
  }

  /// Where the journal has the bytes at `offset`, and for how many bytes (at most `limit`) that
  /// holds. A nil source: in the base. What is saved for a detached view comes before both. Does
  /// not block: the source is `unresolved` where an index file would have to be read.
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    cover.piece(
      disk: disk, at: offset, limit: limit, floor: detachment.floor.load(ordering: .acquiring))
  }

  /// As `piece`, but waits for the disk.
  public func pieceWaiting(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) throws(VolumeError) -> (length: UInt64, source: ExtentSource?) {
    while true {
      let floor = detachment.floor.load(ordering: .acquiring)
      do throws(JournalError) {
        return try cover.pieceWaiting(disk: disk, at: offset, limit: limit, floor: floor)
      } catch {
        // What could not be read may be recycled, and is not needed any more.
        if detachment.floor.load(ordering: .acquiring) == floor { throw .index(error) }
      }
    }
  }

  /// Fills `buffer` with the disk's bytes from `offset`. Blocks.
  public func read(
    disk: DiskNumber, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws(VolumeError) {
    _ = try unsafe read(disk, offset, buffer, waits: true)
  }

  /// As `read`, but does not block: false, with `buffer` undefined, when the disk must be waited
  /// for.
  public func readIfCached(
    disk: DiskNumber, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws(VolumeError) -> Bool {
    try unsafe read(disk, offset, buffer, waits: false)
  }

  private func read(
    _ disk: DiskNumber, _ offset: UInt64, _ buffer: UnsafeMutableRawBufferPointer, waits: Bool
  ) throws(VolumeError) -> Bool {
    let reader = reader(disk: disk)
    var done = 0
    while done < buffer.count {
      var piece = ByteRange(start: offset + UInt64(done), length: UInt64(buffer.count - done))
      if let saved = detachment.overlay.load() {
        let (length, source) = saved.piece(disk: disk, at: piece.start, limit: piece.length)
        piece.length = length
        if let source {
          let target = unsafe Self.part(of: buffer, done, piece.length)
          guard try unsafe saved.read(source, into: target, waits: waits) else { return false }
          done += Int(piece.length)
          continue
        }
      }
      let (length, source) = try look(disk, piece, waits: waits)
      precondition(length > 0 && length <= piece.length, "a piece is of what was asked for")
      if source == .unresolved { return false }
      piece.length = length
      let target = unsafe Self.part(of: buffer, done, piece.length)
      let wasRead = Result<Bool, VolumeError> { () throws(VolumeError) -> Bool in
        if !waits { return try unsafe reader.readIfCached(source, at: piece.start, into: target) }
        try unsafe reader.read(source, at: piece.start, into: target)
        return true
      }
      // An error, too, may come from a segment that is not there any more.
      guard try isStillThere(disk, piece, source) else { continue }
      guard try wasRead.get() else { return false }
      done += Int(piece.length)
    }
    return true
  }

  private func look(
    _ disk: DiskNumber, _ range: ByteRange, waits: Bool
  ) throws(VolumeError) -> (length: UInt64, source: ExtentSource?) {
    waits
      ? try pieceWaiting(disk: disk, at: range.start, limit: range.length)
      : piece(disk: disk, at: range.start, limit: range.length)
  }

  private static func part(
    of buffer: UnsafeMutableRawBufferPointer, _ start: Int, _ length: UInt64
  ) -> UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[start..<start + Int(length)])
  }

  /// Whether bytes that were just read from `source` were the view's: apply had neither
  /// overwritten nor recycled them. `DetachedView` says why looking afterwards is enough.
  func isStillThere(
    _ disk: DiskNumber, _ range: ByteRange, _ source: ExtentSource?
  ) throws(VolumeError) -> Bool {
    // The look at the floor and the overlay stays behind the read.
    atomicMemoryFence(ordering: .acquiring)
    if let source { return isKept(source) }
    guard let saved = detachment.overlay.load() else { return true }
    if saved.holdsAny(disk: disk, of: range) { return false }
    if saved.isLost { throw .viewLost(instant) }
    return true
  }

  private func isKept(_ source: ExtentSource) -> Bool {
    source.isZeros || source.segment >= detachment.floor.load(ordering: .acquiring)
  }
}
