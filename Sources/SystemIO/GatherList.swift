import Glibc

/// Pieces of memory that are written one after the other in one call.
///
/// Pieces that lie next to each other in memory become one. The memory must stay valid until the
/// list is written or cleared. Storage for the list is allocated once.
@safe public struct GatherList: ~Copyable {
  private let vectors: UnsafeMutablePointer<iovec>
  private let capacity: Int
  public private(set) var pieceCount = 0
  public private(set) var byteCount = 0

  public init(capacity: Int) {
    self.capacity = capacity
    unsafe vectors = .allocate(capacity: capacity)
  }

  deinit { unsafe vectors.deallocate() }

  @inline(__always) public var isEmpty: Bool { pieceCount == 0 }
  @inline(__always) public var isFull: Bool { pieceCount == capacity }

  /// - Precondition: not full.
  @inline(__always)
  public mutating func append(_ base: UnsafeMutableRawPointer, count: Int) {
    byteCount &+= count
    if pieceCount > 0 {
      let last = unsafe vectors + (pieceCount - 1)
      if unsafe last.pointee.iov_base + last.pointee.iov_len == base {
        unsafe last.pointee.iov_len += count
        return
      }
    }
    precondition(pieceCount < capacity)
    unsafe vectors[pieceCount] = iovec(iov_base: base, iov_len: count)
    pieceCount += 1
  }

  public mutating func clear() {
    pieceCount = 0
    byteCount = 0
  }

  /// Calls `body` with each piece in order.
  public func forEachPiece(_ body: (UnsafeRawBufferPointer) -> Void) {
    for index in 0..<pieceCount {
      let vector = unsafe vectors[index]
      unsafe body(UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len))
    }
  }

  /// Writes all pieces to `file` at `offset` and clears the list. May block.
  public mutating func write(to file: File, at offset: UInt64) throws(Errno) {
    let count = pieceCount
    clear()
    try unsafe file.write(
      vectors: UnsafeMutableBufferPointer(start: vectors, count: count), at: offset)
  }
}
