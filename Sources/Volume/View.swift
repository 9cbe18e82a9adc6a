import BlockModel
import Journal
import Storage
import SystemIO

/// A group as it was at one instant: the bases plus the records with timestamp ≤ the instant.
///
/// Opened in two steps. The group's loop makes a `ViewPlan`: it takes references to the
/// generations, pins their segments and from then on keeps `applied` at or before the instant. A
/// worker turns the plan into a view, which scans at most one segment. A view is immutable; any
/// thread reads it.
public struct ViewPlan<File: JournalFile>: Sendable {
  public let instant: Timestamp
  /// Whole generations at or before the instant, single or merged, oldest first.
  let whole: [Generation]
  /// The segment in which the instant may cut, and the records of it that no whole generation has.
  let cutSegment: Segment<File>?
  let cutAfter: SequenceNumber
  public let segments: [Segment<File>]
  let diskCount: Int

  /// By the loop. Pins the segments; every plan is `released` once, whether it became a view or
  /// not.
  ///
  /// - Parameters:
  ///   - generations: `Journal.maps(notLaterThan: instant)`.
  ///   - segments: those that hold records which are not applied.
  public init(
    instant: Timestamp, generations: [Generation], segments: [Segment<File>], diskCount: Int
  ) {
    self.instant = instant
    whole = generations
    cutAfter = whole.last?.span.lastSequence ?? .none
    self.segments = segments.filter { $0.header.firstTimestamp <= instant }
    cutSegment = self.segments.last
    self.diskCount = diskCount
    for segment in self.segments { segment.pin() }
  }

  /// What the maps name in older segments is in the base.
  var floor: UInt32 { segments.first?.number ?? .max }

  public func release() {
    for segment in segments { segment.unpin() }
  }
}

public final class View<File: JournalFile, Store: BackingStore>: Sendable {
  public let instant: Timestamp
  private let plan: ViewPlan<File>
  /// Newest first.
  private let generations: [Generation]
  private let readers: [VolumeReader<File, Store>]
  private let floor: UInt32

  /// Scans the segment in which the instant lies. Blocks; for a worker.
  ///
  /// - Parameter applied: records up to here are in the bases.
  public init(
    _ plan: ViewPlan<File>, applied: SequenceNumber, stores: [Store],
    catalog: SegmentCatalog<File>
  ) throws(VolumeError) {
    self.plan = plan
    instant = plan.instant
    floor = plan.floor
    readers = stores.map { VolumeReader(store: $0, catalog: catalog) }
    var newestFirst = Array(plan.whole.reversed())
    if let segment = plan.cutSegment {
      do throws(Errno) {
        // Not from a later `applied` on: the maps hide what the bases got since the plan was made.
        let partial = try Generation.scanning(
          segment, after: plan.whole.isEmpty ? applied : plan.cutAfter, notLaterThan: plan.instant,
          diskCount: plan.diskCount)
        if let partial { newestFirst.insert(partial, at: 0) }
      } catch { throw .journal(error, segment: segment.number) }
    }
    generations = newestFirst
  }

  public func byteCount(disk: DiskNumber) -> UInt64 { readers[disk.index].store.byteCount }

  public func reader(disk: DiskNumber) -> VolumeReader<File, Store> { readers[disk.index] }

  /// Where the bytes at `offset` were, and for how many bytes (at most `limit`) that holds.
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    var found: (length: UInt64, source: ExtentSource?) = (limit, nil)
    for generation in generations {
      found = generation.piece(disk: disk, at: offset, limit: found.length)
      if found.source != nil { break }
    }
    return (found.length, found.source?.unlessBelow(segment: floor))
  }

  /// Fills `buffer` with the disk's bytes from `offset`. Blocks.
  public func read(
    disk: DiskNumber, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws(VolumeError) {
    let range = ByteRange(start: offset, length: UInt64(buffer.count))
    let plan = ReadPlan(range) { piece(disk: disk, at: $0, limit: $1) }
    try unsafe readers[disk.index].read(plan, into: buffer)
  }
}
