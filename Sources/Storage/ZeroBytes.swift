import SystemIO

/// Zeros to write where nothing better is offered.
enum ZeroBytes {
  /// Never written to. Reading its untouched pages costs no memory: they are the kernel's one
  /// page of zeros.
  private static let pages = PageBuffer(byteCount: 1 << 20)

  static var count: Int { pages.count }

  /// - Parameter byteCount: at most `count`.
  static func first(_ byteCount: Int) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(rebasing: pages.bytes[..<byteCount])
  }
}
