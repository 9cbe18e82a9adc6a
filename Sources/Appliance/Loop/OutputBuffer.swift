import SystemIO
import TLS

/// Bytes on their way to a socket: contiguous, appended at the end, sent from the start.
///
/// Grows when it must and starts over when it is empty. Confined to its loop's thread.
@safe struct OutputBuffer: ~Copyable {
  private var memory: PageBuffer
  private let initialByteCount: Int
  private var start = 0
  private var end = 0
  /// No room was asked for since the memory is new.
  private var isUntouched = true

  init(byteCount: Int) {
    initialByteCount = byteCount
    memory = PageBuffer(byteCount: byteCount)
  }

  var pendingByteCount: Int { end - start }
  var pending: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: memory.base + start, count: end - start)
  }

  /// Room for `count` bytes behind those pending; they count once `commit` is called.
  @inline(__always)
  mutating func reserve(_ count: Int) -> UnsafeMutableRawPointer {
    if end + count > memory.count { makeRoom(count) }
    isUntouched = false
    return unsafe memory.base + end
  }

  @inline(__always)
  mutating func commit(_ count: Int) { end &+= count }

  mutating func append(_ bytes: [UInt8]) {
    let target = unsafe reserve(bytes.count)
    unsafe bytes.withUnsafeBytes { source in
      if let base = source.baseAddress {
        unsafe target.copyMemory(from: base, byteCount: source.count)
      }
    }
    commit(bytes.count)
  }

  private mutating func makeRoom(_ count: Int) {
    let pending = end - start
    if pending + count <= memory.count {
      unsafe memory.base.copyMemory(from: memory.base + start, byteCount: pending)
    } else {
      let larger = PageBuffer(byteCount: max(memory.count * 2, pending + count))
      unsafe larger.base.copyMemory(from: memory.base + start, byteCount: pending)
      memory = larger
    }
    start = 0
    end = pending
  }

  /// Sends what is pending. False when the peer must read first.
  mutating func send(on transport: Transport) throws(Errno) -> Bool {
    while start < end {
      let bytes = unsafe UnsafeRawBufferPointer(start: memory.base + start, count: end - start)
      guard let sent = try unsafe transport.send(bytes) else { return false }
      start += sent
    }
    start = 0
    end = 0
    return true
  }

  /// Gives the system back what only earlier bytes needed.
  mutating func giveBack() {
    if isUntouched || start < end { return }
    memory = PageBuffer(byteCount: initialByteCount)
    isUntouched = true
  }
}
