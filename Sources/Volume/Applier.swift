import BlockModel
import Journal
import Storage
import SystemIO

/// Moves records from the journal to the base disks.
///
/// Generations are merged first, so of a block that was overwritten a thousand times one write
/// reaches the disk, and the writes are in ascending order. The base is written and synced before
/// anything says so; applying twice is harmless. Runs on a background worker, one step at a time.
public struct Applier<File: JournalFile, Store: BackingStore>: Sendable {
  public struct Outcome: Equatable, Sendable {
    public var writtenBytes: UInt64 = 0
    public var zeroedBytes: UInt64 = 0
    /// Of these, what should have kept or got space and became holes, because there was none.
    public var thinnedBytes: UInt64 = 0
    public var writeCount: UInt64 = 0
    public init() {}
  }

  private let catalog: SegmentCatalog<File>
  /// By number; nil: the disk is not here, and what is for it goes nowhere.
  private let stores: [Store?]

  public init(catalog: SegmentCatalog<File>, stores: [Store?]) {
    self.catalog = catalog
    self.stores = stores
  }

  /// Writes everything that `generations` (following each other, oldest first) changed, and syncs
  /// the bases that were touched. Durable when it returns. Blocks.
  ///
  /// - Parameters:
  ///   - views: detached views, for which what is overwritten is saved before, durably where the
  ///     overlay lasts. One of them for which that fails is lost, and nothing else happens.
  ///   - written: told what of a disk has been written, before it is durable.
  public func apply(
    _ generations: [Generation], savingFor views: [View<File, Store>] = [],
    written: (DiskNumber, SealedExtentMap) -> Void = { _, _ in }
  ) throws(VolumeError) -> Outcome {
    for (older, newer) in zip(generations, generations.dropFirst()) {
      precondition(
        older.span.lastSequence < newer.span.firstSequence, "generations are out of order")
    }
    #if MUTANTS
      let generations = Mutant.applyOutOfOrder.isOn ? generations.reversed() : generations
    #endif
    var outcome = Outcome()
    guard !generations.isEmpty else { return outcome }
    for (index, store) in stores.prefix(generations.diskCount).enumerated() {
      guard let store else { continue }
      let disk = DiskNumber(UInt16(index))
      var merge: ExtentMerge
      do throws(JournalError) { merge = try ExtentMerge(generations, disk: disk) } catch {
        throw .index(error)
      }
      var isTouched = false
      while let map = try Self.nextPart(&merge) {
        for view in views { try view.save(disk, overwrittenBy: map) }
        try write(map, to: store, &outcome)
        written(disk, map)
        isTouched = true
      }
      guard isTouched else { continue }
      do throws(StorageError) { try store.sync() } catch { throw .base(error) }
    }
    return outcome
  }

  /// So many extents are in memory at once.
  private static var partExtentLimit: Int { 8192 }

  /// What must be written next to a disk, in ascending order; nil at the end.
  private static func nextPart(
    _ merge: inout ExtentMerge
  ) throws(VolumeError) -> SealedExtentMap? {
    do throws(JournalError) {
      let map = try merge.nextMap(limit: partExtentLimit)
      return map.isEmpty ? nil : map
    } catch { throw .index(error) }
  }

  /// Extents that touch each other leave in one write of at most this many bytes.
  private static var batchByteLimit: Int { 1 << 20 }
  /// Writes that are handed to the disk together.
  private static var writesInFlight: UInt64 {
    #if MUTANTS
      // Simulated disks are small.
      1
    #else
      64
    #endif
  }

  private func write(
    _ map: SealedExtentMap, to store: Store, _ outcome: inout Outcome
  ) throws(VolumeError) {
    let reader = VolumeReader(store: store, catalog: catalog)
    let buffer = PageBuffer(byteCount: Self.batchByteLimit)
    var filled = 0
    var start: UInt64 = 0
    for index in 0..<map.count {
      let extent = map[index]
      precondition(index == 0 || extent.start >= map[index - 1].end, "extents are out of order")
      if filled > 0, extent.source.isZeros || extent.start != start + UInt64(filled) {
        try flush(buffer, &filled, start, store, &outcome)
      }
      if extent.source.isZeros {
        try zero(extent, store, &outcome)
        continue
      }
      // An extent is at most one record's payload, so it always fits an empty buffer.
      if filled + Int(extent.length) > buffer.count {
        try flush(buffer, &filled, start, store, &outcome)
      }
      if filled == 0 { start = extent.start }
      precondition(filled + Int(extent.length) <= buffer.count, "an extent is a payload at most")
      let target = unsafe UnsafeMutableRawBufferPointer(
        start: buffer.base + filled, count: Int(extent.length))
      try unsafe reader.read(extent.source, at: extent.start, into: target)
      filled += Int(extent.length)
    }
    if filled > 0 { try flush(buffer, &filled, start, store, &outcome) }
  }

  /// A guest may order zeros with space of their own for the price of a header. Where there is no
  /// space, holes read the same, and nothing waits behind them.
  private func zero(
    _ extent: Extent, _ store: Store, _ outcome: inout Outcome
  ) throws(VolumeError) {
    do throws(StorageError) {
      do throws(StorageError) {
        try store.zero(extent.range, mayFreeSpace: extent.source == .hole)
      } catch .noSpace where extent.source != .hole {
        try store.zero(extent.range, mayFreeSpace: true)
        outcome.thinnedBytes += extent.length
      }
    } catch { throw .base(error) }
    outcome.zeroedBytes += extent.length
  }

  private func flush(
    _ buffer: borrowing PageBuffer, _ filled: inout Int, _ start: UInt64, _ store: Store,
    _ outcome: inout Outcome
  ) throws(VolumeError) {
    do throws(StorageError) {
      try unsafe store.write(
        UnsafeRawBufferPointer(start: buffer.base, count: filled), at: start)
    } catch { throw .base(error) }
    outcome.writtenBytes += UInt64(filled)
    outcome.writeCount += 1
    // A guest's FLUSH must not queue behind all of a step's writes.
    if outcome.writeCount % Self.writesInFlight == 0 {
      do throws(StorageError) { try store.writeOut() } catch { throw .base(error) }
    }
    filled = 0
  }
}
