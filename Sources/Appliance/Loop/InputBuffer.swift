import SystemIO
import TLS

/// Bytes that arrived on a socket and wait to be parsed: contiguous, with room in front for one
/// record header.
///
/// A write's payload is journaled from here. The request header in front of it becomes the record
/// header; later pieces of a long write have no header of their own in front, so the bytes right
/// before `start` serve, which were consumed already.
///
/// Staged records lie here until the journal has committed them. Whoever stages says so (`lend`),
/// and after the commit `settle`; in between, nothing here may be moved or freed, and this traps
/// before it happens: bytes of another client would be journaled. Confined to its loop's thread.
@safe struct InputBuffer: ~Copyable {
  private var memory: PageBuffer
  private let headroom: Int
  private var start: Int
  private var end: Int
  /// Where `end` was at most since the memory is new.
  private var touched: Int
  /// What is staged lies here.
  private(set) var isLent = false

  init(byteCount: Int, headroom: Int) {
    memory = PageBuffer(byteCount: byteCount + headroom)
    self.headroom = headroom
    start = headroom
    end = headroom
    touched = headroom
  }

  deinit { checkIsSettled() }

  @inline(__always) mutating func lend() { isLent = true }

  /// The journal has written what was lent, or will never.
  @inline(__always) mutating func settle() { isLent = false }

  private func checkIsSettled() {
    precondition(!isLent, "memory in which staged records lie is moved or freed")
  }

  #if MUTANTS
    /// As if another client's buffer lay where this one was when it ended.
    mutating func overwrite() {
      unsafe (memory.base + headroom).initializeMemory(
        as: UInt8.self, repeating: 0xEE, count: touched - headroom)
      isLent = false
    }
  #endif

  @inline(__always) var count: Int { end &- start }
  /// Nothing can be received before something is consumed.
  var isFull: Bool { count == memory.count - headroom }
  @inline(__always) var first: UnsafeMutableRawPointer { unsafe memory.base + start }
  @inline(__always) var unread: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: memory.base + start, count: end - start)
  }

  @inline(__always) mutating func consume(_ count: Int) { start &+= count }

  /// Receives once, as much as there is room for. Nil when nothing has arrived, 0 when the peer
  /// closed. Moves what is unread to the front when `wanted` bytes would not fit behind `start`, or
  /// there is no room behind it: to receive into none would look like the peer's end, as it does
  /// when the buffer is full.
  mutating func receive(from transport: Transport, wanted: Int) throws(Errno) -> Int? {
    checkIsSettled()
    if start == end {
      start = headroom
      end = headroom
    } else if start + wanted > memory.count || end == memory.count {
      let unread = end - start
      unsafe (memory.base + headroom).copyMemory(from: memory.base + start, byteCount: unread)
      start = headroom
      end = headroom + unread
    }
    let room = unsafe UnsafeMutableRawBufferPointer(
      start: memory.base + end, count: memory.count - end)
    let count = try unsafe transport.receive(into: room)
    end += count ?? 0
    touched = max(touched, end)
    return count
  }

  /// Gives the system back what only earlier bytes needed.
  mutating func giveBack() {
    checkIsSettled()
    let count = end - start
    if headroom + count == touched { return }
    let fresh = PageBuffer(byteCount: memory.count)
    unsafe (fresh.base + headroom).copyMemory(from: memory.base + start, byteCount: count)
    memory = fresh
    start = headroom
    end = headroom + count
    touched = end
  }

  /// Puts bytes that another reader of the socket had taken.
  mutating func append(_ bytes: [UInt8]) {
    precondition(end + bytes.count <= memory.count)
    unsafe bytes.withUnsafeBytes { source in
      if let base = source.baseAddress {
        unsafe (memory.base + end).copyMemory(from: base, byteCount: source.count)
      }
    }
    end += bytes.count
    touched = max(touched, end)
  }
}
