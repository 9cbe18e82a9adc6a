import BlockModel
import Journal
import Storage
import Synchronization
import SystemIO

/// What changes in a view once it is detached. The loop sets it, any thread reads it.
final class ViewDetachment<File: JournalFile>: Sendable {
  /// What apply has saved for the view; nil until it is detached.
  let overlay = AtomicLazyReference<SavedExtents<File>>()
  /// What the maps name in segments below this number is in the base, or saved.
  let floor: Atomic<UInt32>

  init(floor: UInt32) { self.floor = Atomic(floor) }
}

/// A view that the journal has no room for any more: apply passes its instant, and what apply
/// overwrites is saved for it first.
///
/// What such a view reads at a byte, from the first of these that applies:
///
/// 1. saved: the overlay has the byte;
/// 2. journal: the newest record at or before the instant lies in a segment that is kept;
/// 3. base: everything else.
///
/// **Invariant.** Let apply have finished a step through sequence B, and the *floor* be the number
/// of the first segment that holds a record after B. A byte whose newest record r at or before the
/// instant lies below the floor is in the base, or saved: r ≤ B, and the base holds the newest
/// record ≤ B on that byte. If that is r, the base is right. If it is another one, then it is later
/// than the instant, so a step that wrote it found the byte's extent to differ from what the view
/// reads, and saved it before it wrote. From then on the overlay comes first.
///
/// So a detached view needs no pins: a segment from the floor on holds records that are not
/// applied and stays for that reason, and one below it is not read any more.
///
/// **Readers run while apply writes.** Apply saves, publishes in the overlay's map, and only then
/// writes the base. A reader looks, reads, and looks again:
///
/// - It read the base, and afterwards the map still has nothing of the range. The map is under a
///   lock, so its look came before the publication, and the base was written after that: the
///   bytes are those of before.
/// - It read a segment, and afterwards the floor is not above it. The floor rises before the
///   segment may be recycled, so the file still held that segment.
/// - Otherwise it resolves the range again. The floor only rises and saved bytes stay, so for each
///   byte this happens a few times at most.
extension View {
  /// From now on apply may pass the instant, as long as each step is told of this view. The caller
  /// releases the plan afterwards. By the loop.
  ///
  /// - Parameters:
  ///   - overlay: where apply saves. Views of one group at the same instant may share it.
  ///   - floor: the first segment with a record that is not applied.
  public func detach(keepingIn overlay: SavedExtents<File>, floor: UInt32) {
    _ = detachment.overlay.storeIfNil(overlay)
    raiseFloor(to: floor)
  }

  /// Apply passes the instant, or soon will. Any thread.
  public var isDetached: Bool { detachment.overlay.load() != nil }

  /// Everything before segment `number` is applied: it is not read from the journal any more. By
  /// the loop, after a step and before its segments are recycled. A view that is not detached must
  /// not be told.
  public func raiseFloor(to number: UInt32) {
    precondition(isDetached, "what is not saved for the view is in the journal")
    _ = detachment.floor.max(number, ordering: .sequentiallyConsistent)
  }

  /// The most bytes that are saved at once.
  private static var batchByteLimit: Int { 1 << 20 }
  /// A longer piece of the base may be a hole, which is not worth reading.
  private static var holeProbeByteCount: UInt64 { 64 << 10 }

  /// Saves what a detached view reads where `step` is about to write. When that fails the view is
  /// lost, and apply goes on; unless the overlay lasts and cannot be told: then this throws.
  /// Blocks; by the thread that applies.
  func save(_ disk: DiskNumber, overwrittenBy step: SealedExtentMap) throws(VolumeError) {
    #if MUTANTS
      if Mutant.overwriteUnsaved.isOn { return }
    #endif
    // A disk that the view does not show is nothing to it.
    guard has(disk), let saved = detachment.overlay.load() else { return }
    if let failure = saved.failure {
      if saved.mustNoteLoss { try saved.giveUpForGood(failure) }
      return
    }
    do throws(VolumeError) {
      var batch = SaveBatch(byteLimit: Self.batchByteLimit)
      for index in 0..<step.count {
        try save(disk, overwrittenBy: step[index], in: saved, &batch)
      }
      try batch.flush(disk, to: saved)
      try saved.settle()
    } catch { try saved.giveUpForGood(error) }
  }

  private func save(
    _ disk: DiskNumber, overwrittenBy extent: Extent, in saved: SavedExtents<File>,
    _ batch: inout SaveBatch
  ) throws(VolumeError) {
    var offset = extent.start
    while offset < extent.end {
      let (free, found) = saved.piece(disk: disk, at: offset, limit: extent.end - offset)
      if found != nil {
        offset += free
        continue
      }
      let (length, source) = try pieceWaiting(disk: disk, at: offset, limit: free)
      precondition(length > 0 && length <= free && source != .unresolved)
      let new = extent.source.advanced(by: offset - extent.start)
      var range = ByteRange(start: offset, length: length)
      // The step writes what the view reads there: its newest record is not after the instant.
      let isSame = source == new || (source?.isZeros == true && new.isZeros)
      if !isSame {
        if try source == nil ? isHole(disk, &range) : source?.isZeros == true {
          try saved.storeZeros(disk: disk, range)
        } else {
          try save(disk, range, in: saved, &batch)
        }
      }
      offset = range.end
    }
  }

  /// Whether a range of the base begins with a hole; `range` is cut to where that holds.
  private func isHole(_ disk: DiskNumber, _ range: inout ByteRange) throws(VolumeError) -> Bool {
    guard range.length >= Self.holeProbeByteCount else { return false }
    do throws(StorageError) {
      let store = reader(disk: disk).store
      guard let data = try store.nextDataRange(from: range.start, limit: range.end) else {
        return true
      }
      let isHole = data.start > range.start
      range = isHole ? ByteRange(start: range.start, end: data.start) : data
      return isHole
    } catch { throw .base(error) }
  }

  private func save(
    _ disk: DiskNumber, _ range: ByteRange, in saved: SavedExtents<File>,
    _ batch: inout SaveBatch
  ) throws(VolumeError) {
    var offset = range.start
    while offset < range.end {
      if !batch.accepts(offset) { try batch.flush(disk, to: saved) }
      let target = unsafe batch.extend(from: offset, upTo: range.end - offset)
      try unsafe read(disk: disk, at: offset, into: target)
      offset += UInt64(target.count)
    }
  }
}

/// Bytes that touch each other on the way to an overlay: they become one write and one extent.
private struct SaveBatch: ~Copyable {
  private let buffer: PageBuffer
  private var start: UInt64 = 0
  private var count = 0

  init(byteLimit: Int) { buffer = PageBuffer(byteCount: byteLimit) }

  /// Whether bytes at `offset` continue what is here, and there is room.
  func accepts(_ offset: UInt64) -> Bool {
    count == 0 || (offset == start + UInt64(count) && count < buffer.count)
  }

  /// Memory for the bytes at `offset`, at least one and at most `limit`, which the caller fills.
  mutating func extend(
    from offset: UInt64, upTo limit: UInt64
  ) -> UnsafeMutableRawBufferPointer {
    precondition(accepts(offset), "not flushed")
    if count == 0 { start = offset }
    let length = Int(min(limit, UInt64(buffer.count - count)))
    defer { count += length }
    return unsafe UnsafeMutableRawBufferPointer(start: buffer.base + count, count: length)
  }

  mutating func flush<File: JournalFile>(
    _ disk: DiskNumber, to saved: SavedExtents<File>
  ) throws(VolumeError) {
    guard count > 0 else { return }
    defer { count = 0 }
    try unsafe saved.store(
      UnsafeRawBufferPointer(start: buffer.base, count: count), disk: disk, at: start)
  }
}

extension Journal {
  /// The floor of detached views: the number of the first segment with a record that is not
  /// applied; of the next segment when there is none.
  public var firstUnappliedSegment: UInt32 {
    segments(after: applied, through: stamped).first?.number ?? (newestSegment?.number ?? 0) + 1
  }
}
