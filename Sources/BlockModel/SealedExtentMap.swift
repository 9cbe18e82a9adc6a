/// An extent map that does not change any more: the index of a sealed segment, or of several.
///
/// Three flat arrays of 64-bit words in host byte order (starts, lengths in bytes, sources),
/// sorted by start, without overlaps. The arrays are the map's own or those of a mapped file.
/// Any number of threads may read at once; reading neither locks nor allocates.
@safe
public final class SealedExtentMap: Sendable {
  /// The most extents of one map: 24 GiB of arrays.
  public static let maximumCount = 1 << 30

  /// Number of extents.
  public let count: Int
  /// Sum of the extents' lengths, in bytes.
  public let mappedBytes: UInt64

  private nonisolated(unsafe) let starts: UnsafePointer<UInt64>
  private nonisolated(unsafe) let lengths: UnsafePointer<UInt64>
  private nonisolated(unsafe) let sources: UnsafePointer<UInt64>
  /// What to free at the end; nil when the arrays are borrowed.
  private nonisolated(unsafe) let ownedBlock: UnsafeMutablePointer<UInt64>?
  private let search: SealedExtentSearch
  /// Keeps borrowed arrays alive.
  private let owner: (any AnyObject & Sendable)?

  /// A map without extents.
  public convenience init() {
    unsafe self.init(SealedExtentMapBuilder(capacity: 0).release())
  }

  /// Takes over the arrays of a builder.
  init(_ arrays: SealedExtentArrays) {
    count = unsafe arrays.count
    mappedBytes = unsafe arrays.mappedBytes
    unsafe starts = unsafe UnsafePointer(arrays.block)
    unsafe lengths = unsafe UnsafePointer(arrays.block + arrays.capacity)
    unsafe sources = unsafe UnsafePointer(arrays.block + 2 * arrays.capacity)
    unsafe ownedBlock = unsafe arrays.block
    search = unsafe SealedExtentSearch(starts: UnsafePointer(arrays.block), count: arrays.count)
    owner = nil
  }

  /// Checks arrays that come from outside, such as a mapped file, and uses them in place.
  ///
  /// Reads all of them once. `owner` must keep the memory alive and unchanged for as long as it
  /// lives itself; the map holds it.
  /// - Throws: `BlockModelError.extentArraysDiffer`, `.tooManyExtents`, `.extentIsEmpty`,
  ///   `.extentOverflows`, `.extentOutOfOrder`, `.extentSourceOverflows`.
  @unsafe
  public init(
    borrowing starts: UnsafeBufferPointer<UInt64>, lengths: UnsafeBufferPointer<UInt64>,
    sources: UnsafeBufferPointer<UInt64>, owner: any AnyObject & Sendable
  ) throws(BlockModelError) {
    guard starts.count == lengths.count, starts.count == sources.count else {
      throw .extentArraysDiffer(
        starts: starts.count, lengths: lengths.count, sources: sources.count)
    }
    mappedBytes = try unsafe Self.validate(starts, lengths, sources)
    count = starts.count
    // An empty buffer may have no address; nothing is ever read through these then.
    let unused = unsafe UnsafePointer<UInt64>(bitPattern: MemoryLayout<UInt64>.alignment)!
    unsafe self.starts = unsafe starts.baseAddress ?? unused
    unsafe self.lengths = unsafe lengths.baseAddress ?? unused
    unsafe self.sources = unsafe sources.baseAddress ?? unused
    unsafe ownedBlock = nil
    search = unsafe SealedExtentSearch(starts: self.starts, count: starts.count)
    self.owner = owner
  }

  /// A map of its own of extents that come from outside, such as a file; checked as above.
  ///
  /// - Parameter extent: gives the extents `0 ..< count` in ascending order, each asked for once.
  /// - Throws: as `init(borrowing:)`, but for `.extentArraysDiffer`.
  public convenience init(
    checking count: Int, _ extent: (Int) -> Extent
  ) throws(BlockModelError) {
    guard count <= Self.maximumCount else {
      throw .tooManyExtents(count: count, limit: Self.maximumCount)
    }
    let block = UnsafeMutablePointer<UInt64>.allocate(capacity: 3 * count)
    for index in 0..<count {
      let extent = extent(index)
      unsafe (block + index).initialize(to: extent.start)
      unsafe (block + count + index).initialize(to: extent.length)
      unsafe (block + 2 * count + index).initialize(to: extent.source.rawValue)
    }
    let mappedBytes: UInt64
    do throws(BlockModelError) {
      mappedBytes = try unsafe Self.validate(
        UnsafeBufferPointer(start: block, count: count),
        UnsafeBufferPointer(start: block + count, count: count),
        UnsafeBufferPointer(start: block + 2 * count, count: count))
    } catch {
      unsafe block.deallocate()
      throw error
    }
    unsafe self.init(
      SealedExtentArrays(block: block, capacity: count, count: count, mappedBytes: mappedBytes))
  }

  deinit {
    unsafe ownedBlock?.deallocate()
  }

  private static func validate(
    _ starts: UnsafeBufferPointer<UInt64>, _ lengths: UnsafeBufferPointer<UInt64>,
    _ sources: UnsafeBufferPointer<UInt64>
  ) throws(BlockModelError) -> UInt64 {
    guard starts.count <= maximumCount else {
      throw .tooManyExtents(count: starts.count, limit: maximumCount)
    }
    var mappedBytes: UInt64 = 0
    var previousEnd: UInt64 = 0
    for index in starts.indices {
      let length = unsafe lengths[index]
      guard length > 0 else { throw .extentIsEmpty(index: index) }
      let start = unsafe starts[index]
      let (end, overflow) = start.addingReportingOverflow(length)
      guard !overflow else { throw .extentOverflows(index: index) }
      guard start >= previousEnd else { throw .extentOutOfOrder(index: index) }
      let source = unsafe ExtentSource(rawValue: sources[index])
      let room = 1 << 32 - UInt64(source.position)
      guard source.isZeros || length <= room else { throw .extentSourceOverflows(index: index) }
      previousEnd = end
      mappedBytes += length
    }
    return mappedBytes
  }

  public var isEmpty: Bool { count == 0 }

  /// The extent at `index` in ascending order, `0 ..< count`.
  @inline(__always)
  public subscript(index: Int) -> Extent {
    precondition(index >= 0 && index < count, "no such extent")
    return unsafe Extent(
      start: starts[index], length: lengths[index],
      source: ExtentSource(rawValue: sources[index]))
  }

  /// Number of extents that start at or before `offset`: the index behind the last of them.
  @inline(__always)
  private func rank(of offset: UInt64) -> Int { unsafe search.rank(of: offset, in: starts) }

  /// Index of the first extent that ends behind `offset`; `count` when there is none.
  @inline(__always)
  public func firstIndex(endingAfter offset: UInt64) -> Int {
    let rank = rank(of: offset)
    return rank > 0 && self[rank &- 1].end > offset ? rank &- 1 : rank
  }

  /// How far the bytes from `offset` on have one source, and which.
  ///
  /// For a reader in a loop:
  /// ```
  /// while offset < end {
  ///   let piece = map.piece(at: offset, limit: end - offset)
  ///   …
  ///   offset += piece.length
  /// }
  /// ```
  /// - Parameters:
  ///   - offset: Offset in the disk, in bytes; less than 2⁶⁴ − 1.
  ///   - limit: The most bytes that the piece may have; at least 1.
  /// - Returns: `length` is in bytes, from 1 to `limit`. `source` is that of the byte at `offset`;
  ///   nil when the map has nothing there.
  public func piece(
    at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    precondition(limit > 0 && offset < .max, "a piece has at least one byte")
    let rank = rank(of: offset)
    if rank > 0 {
      let extent = self[rank &- 1]
      let skipped = offset &- extent.start
      if skipped < extent.length {
        return (min(extent.length &- skipped, limit), extent.source.advanced(by: skipped))
      }
    }
    let next = rank < count ? self[rank].start : .max
    return (min(next &- offset, limit), nil)
  }

  /// Calls `body` for the pieces of `range` in order, cut at the borders of extents, without gaps.
  ///
  /// The source is that of a piece's first byte; nil for a piece of which the map has nothing.
  @inline(__always)
  public func forEachPiece<Failure: Error>(
    in range: ByteRange, _ body: (ByteRange, ExtentSource?) throws(Failure) -> Void
  ) throws(Failure) {
    guard !range.isEmpty else { return }
    var offset = range.start
    var index = firstIndex(endingAfter: offset)
    while offset < range.end, index < count {
      let extent = self[index]
      guard extent.start < range.end else { break }
      if extent.start > offset {
        try body(ByteRange(start: offset, end: extent.start), nil)
        offset = extent.start
      }
      let end = min(extent.end, range.end)
      let source = extent.source.advanced(by: offset &- extent.start)
      try body(ByteRange(start: offset, end: end), source)
      offset = end
      index &+= 1
    }
    if offset < range.end { try body(ByteRange(start: offset, end: range.end), nil) }
  }
}
