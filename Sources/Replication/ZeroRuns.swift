import BlockModel

/// What of a piece of a disk is zeros, so that it need not be sent.
public enum ZeroRuns {
  /// Smaller runs are not worth a message.
  private static var blockByteCount: Int { 64 << 10 }

  /// Calls `body` for the runs of `bytes`, in order and without gaps: a range in it, and whether it
  /// is all zeros.
  static func forEach(
    _ bytes: UnsafeRawBufferPointer, _ body: (Range<Int>, Bool) -> Void
  ) {
    var start = 0
    var end = 0
    var isRunZero = false
    while end < bytes.count {
      let next = min(end + blockByteCount, bytes.count)
      let isBlockZero = unsafe isZero(UnsafeRawBufferPointer(rebasing: bytes[end..<next]))
      if end > start, isBlockZero != isRunZero {
        body(start..<end, isRunZero)
        start = end
      }
      isRunZero = isBlockZero
      end = next
    }
    if end > start { body(start..<end, isRunZero) }
    precondition(end == bytes.count)
  }

  public static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var index = 0
    while index + 64 <= bytes.count {
      var sum: UInt64 = 0
      for word in 0..<8 {
        sum |= unsafe bytes.loadUnaligned(fromByteOffset: index + word * 8, as: UInt64.self)
      }
      if sum != 0 { return false }
      index += 64
    }
    while index < bytes.count {
      if unsafe bytes[index] != 0 { return false }
      index += 1
    }
    return true
  }
}
