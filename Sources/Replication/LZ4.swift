import CLZ4

/// LZ4 block format.
public enum LZ4 {
  public static func compressedLimit(_ byteCount: Int) -> Int {
    Int(LZ4_compressBound(Int32(byteCount)))
  }

  /// Returns the number of bytes written to `target`; nil when they do not fit.
  public static func compress(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
  ) -> Int? {
    let count = unsafe LZ4_compress_default(
      source.baseAddress?.assumingMemoryBound(to: CChar.self),
      target.baseAddress?.assumingMemoryBound(to: CChar.self),
      Int32(source.count), Int32(target.count))
    precondition(Int(count) <= target.count)
    return count > 0 ? Int(count) : nil
  }

  /// Returns the number of bytes written to `target`; nil when the input is malformed or does not
  /// fit.
  public static func decompress(
    _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
  ) -> Int? {
    let count = unsafe LZ4_decompress_safe(
      source.baseAddress?.assumingMemoryBound(to: CChar.self),
      target.baseAddress?.assumingMemoryBound(to: CChar.self),
      Int32(source.count), Int32(target.count))
    precondition(Int(count) <= target.count)
    return count >= 0 ? Int(count) : nil
  }
}
