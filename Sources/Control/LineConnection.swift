import SystemIO

/// The server's side of one control connection: lines in, lines out, each within a bounded time.
struct LineConnection: ~Copyable {
  enum Event {
    /// Without its newline.
    case line([UInt8])
    /// Closed by the client, silent for too long, or a line that is too long.
    case ended
  }

  private let socket: Socket
  private let chunk = PageBuffer(byteCount: 16 << 10)
  private var pending: [UInt8] = []
  private var searched = 0
  private(set) var isTooLong = false

  /// - Parameter socket: nonblocking.
  init(_ socket: Socket) { self.socket = socket }

  /// Blocks for at most `ControlLimits.idleMilliseconds`, however the bytes trickle in.
  mutating func receiveLine() throws(Errno) -> Event {
    let start = SystemClock.monotonicNanoseconds()
    while true {
      if let newline = pending[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        let line = Array(pending[..<newline])
        pending.removeFirst(newline + 1)
        searched = 0
        guard line.count <= ControlLimits.requestBytes else {
          isTooLong = true
          return .ended
        }
        return .line(line)
      }
      searched = pending.count
      guard pending.count <= ControlLimits.requestBytes else {
        isTooLong = true
        return .ended
      }
      let target = unsafe UnsafeMutableRawBufferPointer(start: chunk.base, count: chunk.count)
      if let count = try unsafe socket.receive(into: target) {
        if count == 0 { return .ended }
        unsafe pending.append(contentsOf: UnsafeRawBufferPointer(rebasing: target[..<count]))
      } else {
        let elapsed = (SystemClock.monotonicNanoseconds() - start) / 1_000_000
        let left = Int64(ControlLimits.idleMilliseconds) - Int64(clamping: elapsed)
        guard left > 0, socket.waitReadable(timeoutMilliseconds: Int32(left)) else {
          return .ended
        }
      }
    }
  }

  /// Whether the client took all bytes. Blocks while it takes some at least every
  /// `ControlLimits.sendMilliseconds`.
  mutating func send(_ bytes: [UInt8]) throws(Errno) -> Bool {
    var done = 0
    while done < bytes.count {
      let sent = unsafe bytes.withUnsafeBytes { buffer -> Result<Int?, Errno> in
        do throws(Errno) {
          return .success(
            try unsafe socket.send(UnsafeRawBufferPointer(rebasing: buffer[done...])))
        } catch { return .failure(error) }
      }
      if let count = try sent.get() {
        done += count
      } else if !socket.waitWritable(timeoutMilliseconds: ControlLimits.sendMilliseconds) {
        return false
      }
    }
    return true
  }
}
