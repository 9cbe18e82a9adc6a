import BlockModel

/// A range cut at block boundaries: at most one piece of a block, then whole blocks, then at most
/// one piece of a block. Each part may be empty.
struct AlignedParts: Equatable {
  var head: ByteRange
  var middle: ByteRange
  var tail: ByteRange

  /// - Parameter block: bytes, a power of two.
  init(of range: ByteRange, block: UInt64) {
    let mask = block - 1
    let headEnd = min(range.end, range.start & mask == 0 ? range.start : (range.start | mask) + 1)
    let tailStart = max(headEnd, range.end & ~mask)
    head = ByteRange(start: range.start, end: headEnd)
    middle = ByteRange(start: headEnd, end: tailStart)
    tail = ByteRange(start: tailStart, end: range.end)
  }

  var isAligned: Bool { head.isEmpty && tail.isEmpty }
}
