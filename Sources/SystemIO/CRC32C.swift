import CISAL

/// CRC-32C (Castagnoli polynomial, reflected; RFC 3720 appendix B.4), by ISA-L, which chooses the
/// fastest instructions of the processor at run time.
///
/// The value is kept in ISA-L's raw form (no final inversion): journal records chain it from a
/// seed, and a chain needs no inversions. `standard` gives the usual form.
public enum CRC32C {
  /// Continues `crc` over `byteCount` bytes. About 0.1 ns a byte.
  @inline(__always)
  public static func extend(
    _ crc: UInt32, _ bytes: UnsafeRawPointer, count byteCount: Int
  ) -> UInt32 {
    // ISA-L's declaration lacks const; it only reads.
    let pointer = unsafe UnsafeMutablePointer(
      mutating: bytes.assumingMemoryBound(to: UInt8.self))
    return unsafe crc32_iscsi(pointer, Int32(truncatingIfNeeded: byteCount), crc)
  }

  public static func extend(_ crc: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
    guard let base = bytes.baseAddress else { return crc }
    return unsafe extend(crc, base, count: bytes.count)
  }

  /// The standard check value: initial and final inversion (`"123456789"` gives 0xE3069283).
  public static func standard(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    unsafe ~extend(.max, bytes)
  }
}
