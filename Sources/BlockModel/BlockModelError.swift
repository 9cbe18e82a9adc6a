/// Why a value from a file or from a configuration was refused.
public enum BlockModelError: Error, Equatable, Sendable {
  /// The arrays of a stored extent map differ in length.
  case extentArraysDiffer(starts: Int, lengths: Int, sources: Int)
  case tooManyExtents(count: Int, limit: Int)
  case extentIsEmpty(index: Int)
  /// Start plus length does not fit in 64 bits.
  case extentOverflows(index: Int)
  /// The extent begins before the end of the one before it.
  case extentOutOfOrder(index: Int)
  /// Position plus length does not fit in the 32 bits of a source's position.
  case extentSourceOverflows(index: Int)

  case chunkSizeNotPowerOfTwo(bytes: UInt64)
  case tooManyChunks(count: UInt64, limit: UInt64)
  case bitmapWordCount(found: Int, expected: Int)
  /// Bits are set for chunks behind the end of the disk.
  case bitmapBitsBehindEnd
}
