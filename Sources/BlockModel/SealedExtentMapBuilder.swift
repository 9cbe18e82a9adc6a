/// The arrays of a map on their way from a builder to a `SealedExtentMap`: three runs of
/// `capacity` words in one block, of which the first `count` words are in use.
@unsafe
struct SealedExtentArrays {
  var block: UnsafeMutablePointer<UInt64>
  var capacity: Int
  var count: Int
  var mappedBytes: UInt64
}

/// Collects extents in ascending order for a `SealedExtentMap`.
@safe
struct SealedExtentMapBuilder: ~Copyable {
  private var block: UnsafeMutablePointer<UInt64>
  private let capacity: Int
  private var count = 0
  private var mappedBytes: UInt64 = 0
  private var lastEnd: UInt64 = 0
  private var lastSource: ExtentSource?

  /// - Parameter capacity: The most extents that will be appended.
  init(capacity: Int) {
    precondition(capacity <= 3 * SealedExtentMap.maximumCount)
    self.capacity = capacity
    unsafe block = .allocate(capacity: 3 * capacity)
  }

  deinit { unsafe block.deallocate() }

  /// Appends an extent that begins at or after the end of the last one. Zeros that continue zeros
  /// of the same kind become one extent.
  @inline(__always)
  mutating func append(_ extent: Extent) {
    assert(extent.length > 0 && extent.start >= lastEnd)
    mappedBytes &+= extent.length
    if extent.source == lastSource, extent.source.isZeros, extent.start == lastEnd {
      unsafe block[capacity &+ count &- 1] &+= extent.length
    } else {
      precondition(count < capacity, "more extents than announced")
      unsafe block[count] = extent.start
      unsafe block[capacity &+ count] = extent.length
      unsafe block[2 &* capacity &+ count] = extent.source.rawValue
      count &+= 1
    }
    lastSource = extent.source
    lastEnd = extent.end
  }

  consuming func finish() -> SealedExtentMap { unsafe SealedExtentMap(release()) }

  /// Hands the arrays over; moves them to a block of their size when much of this one is unused.
  consuming func release() -> SealedExtentArrays {
    let arrays: SealedExtentArrays
    if capacity - count > capacity / 8 {
      let exact = UnsafeMutablePointer<UInt64>.allocate(capacity: 3 * count)
      for array in 0..<3 {
        unsafe (exact + array * count).initialize(from: block + array * capacity, count: count)
      }
      unsafe arrays = unsafe SealedExtentArrays(
        block: exact, capacity: count, count: count, mappedBytes: mappedBytes)
      unsafe block.deallocate()
    } else {
      unsafe arrays = unsafe SealedExtentArrays(
        block: block, capacity: capacity, count: count, mappedBytes: mappedBytes)
    }
    discard self
    return unsafe arrays
  }
}
