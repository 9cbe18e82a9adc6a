import SystemIO
import TLS

/// Bytes that arrived on a socket and wait to be parsed: contiguous, with room in front for one
/// record header.
///
/// A write's payload is journaled from here. The request header in front of it becomes the record
/// header; later pieces of a long write have no header of their own in front, so the bytes right
/// before `start` serve, which were consumed already. Confined to its loop's thread.
@safe struct InputBuffer: ~Copyable {
  private var memory: PageBuffer
  private let headroom: Int
  private var start: Int
  private var end: Int
  /// Where `end` was at most since the memory is new.
  private var touched: Int

  init(byteCount: Int, headroom: Int) {
    memory = PageBuffer(byteCount: byteCount + headroom)
    self.headroom = headroom
    start = headroom
    end = headroom
    touched = headroom
  }

  @inline(__always) var count: Int { end &- start }
  @inline(__always) var first: UnsafeMutableRawPointer { unsafe memory.base + start }
  @inline(__always) var unread: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: memory.base + start, count: end - start)
  }

  @inline(__always) mutating func consume(_ count: Int) { start &+= count }

  /// Receives once, as much as there is room for. Nil when nothing has arrived, 0 when the peer
  /// closed. Moves what is unread to the front when `wanted` bytes would not fit behind `start`.
  /// Nothing handed out before may be in use.
  mutating func receive(from transport: Transport, wanted: Int) throws(Errno) -> Int? {
    if start == end {
      start = headroom
      end = headroom
    } else if start + wanted > memory.count {
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

  /// Gives the system back what only earlier bytes needed. Nothing handed out before may be in use.
  mutating func giveBack() {
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
