import Glibc

/// A page-aligned block of memory straight from the kernel, returned to it when its life ends.
///
/// Pages cost memory only once touched, so a connection may own a large one. Contents start as
/// zeros. One thread at a time uses it.
@safe public struct PageBuffer: ~Copyable, @unchecked Sendable {
  public let bytes: UnsafeMutableRawBufferPointer

  /// - Parameter byteCount: rounded up to whole pages. Traps when the system has no address space.
  public init(byteCount: Int) {
    let size = (max(byteCount, 1) + 4095) & ~4095
    let address = unsafe mmap(
      nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    precondition(unsafe address != MAP_FAILED, "out of address space")
    unsafe bytes = UnsafeMutableRawBufferPointer(start: address, count: size)
  }

  deinit { unsafe munmap(bytes.baseAddress, bytes.count) }

  public var base: UnsafeMutableRawPointer {
    unsafe bytes.baseAddress.unsafelyUnwrapped
  }

  public var count: Int { unsafe bytes.count }
}
