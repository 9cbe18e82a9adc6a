import BlockModel
import CNBD
import SystemIO

/// Why a request to an NBD server failed.
enum NBDFailure: Error {
  /// The connection is gone: the request may or may not have been executed.
  case disconnected(String)
  /// The server, or libnbd before sending, refused the request; the connection goes on.
  case refused(Errno, String)
}

/// One connection to an NBD server, through libnbd. Calls block, each at most as long as the limits
/// say. One thread at a time uses it.
@safe final class UpstreamConnection: @unchecked Sendable {
  /// Of the ledger; fixed when the connection is made.
  private(set) var generation: UInt64 = 0
  private(set) var traits: NBDTraits?
  /// Memory for gathering small buffers, and after it for one block that is changed in part.
  /// Costs nothing until it is used.
  let scratch = PageBuffer(byteCount: Int(UpstreamLimits.gatherBytes + UpstreamLimits.blockBytes))

  private let uri: String
  private let limits: UpstreamLimits
  private let patience: NBDPatience
  private var handle: OpaquePointer?

  init(uri: String, limits: UpstreamLimits, patience: NBDPatience) {
    self.uri = uri
    self.limits = limits
    self.patience = patience
  }

  deinit { close() }

  var isConnected: Bool { unsafe handle != nil }

  // MARK: Connecting

  /// Connects and finishes the handshake. Encryption is used when the URI asks for it.
  func connect(generation: UInt64) throws(NBDFailure) -> NBDTraits {
    drop()
    guard let handle = unsafe nbd_create() else { throw Self.refusal() }
    unsafe self.handle = handle
    self.generation = generation
    // The URI comes from the administrator's configuration, so it may name key files.
    unsafe nbd_set_uri_allow_local_file(handle, true)
    unsafe nbd_set_strict_mode(handle, UInt32(LIBNBD_STRICT_MASK))
    unsafe nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION)
    if unsafe nbd_aio_connect_uri(handle, uri) == -1 {
      let failure = Self.refusal()
      drop()
      throw failure
    }
    let start = SystemClock.monotonicNanoseconds()
    while unsafe nbd_aio_is_ready(handle) != 1 {
      try unsafe poll(handle, for: .connection, since: start)
      if unsafe nbd_aio_is_dead(handle) == 1 || nbd_aio_is_closed(handle) == 1 {
        throw unsafe failure(handle)
      }
    }
    KeepAlive.standard.apply(to: unsafe nbd_aio_get_fd(handle))
    let traits = unsafe NBDTraits(of: handle)
    self.traits = traits
    return traits
  }

  /// Says goodbye to the server and disconnects.
  func close() {
    guard let handle = unsafe handle else { return }
    if unsafe nbd_aio_is_ready(handle) == 1, unsafe nbd_aio_disconnect(handle, 0) == 0 {
      let start = SystemClock.monotonicNanoseconds()
      while unsafe nbd_aio_is_closed(handle) != 1 && nbd_aio_is_dead(handle) != 1 {
        guard (try? unsafe poll(handle, for: .goodbye, since: start)) != nil else { return }
      }
    }
    drop()
  }

  /// Forgets the connection at once. No buffer of an unanswered request is touched any more.
  private func drop() {
    unsafe nbd_close(handle)
    unsafe handle = nil
  }

  // MARK: Requests

  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(NBDFailure) {
    let handle = try unsafe connected()
    try unsafe finish(
      nbd_aio_pread(handle, buffer.baseAddress, buffer.count, offset, Self.noCompletion, 0))
  }

  func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(NBDFailure) {
    let handle = try unsafe connected()
    try unsafe finish(
      nbd_aio_pwrite(
        handle, buffer.baseAddress, buffer.count, offset, Self.noCompletion, durabilityFlag))
  }

  func zero(_ range: ByteRange, mayFreeSpace: Bool) throws(NBDFailure) {
    let handle = try unsafe connected()
    let flags = durabilityFlag | (mayFreeSpace ? 0 : UInt32(LIBNBD_CMD_FLAG_NO_HOLE))
    try unsafe finish(
      nbd_aio_zero(handle, range.length, range.start, Self.noCompletion, flags))
  }

  /// Does nothing when each write is durable by itself.
  func flush() throws(NBDFailure) {
    let handle = try unsafe connected()
    if traits?.needsFUA == true { return }
    try unsafe finish(nbd_aio_flush(handle, Self.noCompletion, 0), .flush)
  }

  /// Asks for the allocation of a range; `scan` gets the extents of the answer.
  func status(of range: ByteRange, scan: inout ExtentScan) throws(NBDFailure) {
    let handle = try unsafe connected()
    let failure = unsafe withUnsafeMutablePointer(to: &scan) { scan -> NBDFailure? in
      // libnbd calls it while this function waits, and never after the handle was closed.
      let callback = unsafe nbd_extent_callback(
        callback: { scan, _, _, entries, count, _ in
          let scan = unsafe scan!.assumingMemoryBound(to: ExtentScan.self)
          for index in stride(from: 0, to: count - count % 2, by: 2) {
            let (length, flags) = unsafe (entries![index], entries![index + 1])
            unsafe scan.pointee.add(length: UInt64(length), flags: flags)
          }
          return 0
        }, user_data: scan, free: nil)
      do throws(NBDFailure) {
        try unsafe finish(
          nbd_aio_block_status(
            handle, range.length, range.start, callback, Self.noCompletion, 0))
        return nil
      } catch { return error }
    }
    if let failure { throw failure }
  }

  // MARK: Waiting

  private static var noCompletion: nbd_completion_callback {
    unsafe nbd_completion_callback(callback: nil, user_data: nil, free: nil)
  }

  private var durabilityFlag: UInt32 {
    traits?.needsFUA == true ? UInt32(LIBNBD_CMD_FLAG_FUA) : 0
  }

  private func connected() throws(NBDFailure) -> OpaquePointer {
    guard let handle = unsafe handle else { throw .disconnected("not connected") }
    return unsafe handle
  }

  /// Waits for the answer to the request of `cookie`, which is -1 when it could not be sent.
  private func finish(
    _ cookie: Int64, _ wait: NBDPatience.Wait = .request
  ) throws(NBDFailure) {
    let handle = try unsafe connected()
    guard cookie >= 0 else { throw unsafe failure(handle) }
    let start = SystemClock.monotonicNanoseconds()
    while true {
      switch unsafe nbd_aio_command_completed(handle, UInt64(cookie)) {
      case 1: return
      case 0: try unsafe poll(handle, for: wait, since: start)
      default: throw unsafe failure(handle)
      }
    }
  }

  /// Moves the connection on, or waits for a while; drops it when what began at `start` (monotonic
  /// nanoseconds) takes too long.
  private func poll(
    _ handle: OpaquePointer, for wait: NBDPatience.Wait, since start: UInt64
  ) throws(NBDFailure) {
    guard let milliseconds = patience.milliseconds(for: wait, since: start) else {
      drop()
      throw .disconnected("the server has not answered in time")
    }
    if unsafe nbd_poll(handle, milliseconds) == -1 {
      let code = Errno(nbd_get_errno())
      if code == .interrupted { return }
      let message = Self.message()
      drop()
      throw .disconnected(message)
    }
  }

  /// The failure of this thread's last libnbd call; drops a connection that cannot go on.
  private func failure(_ handle: OpaquePointer) -> NBDFailure {
    let (code, message) = (Errno(nbd_get_errno()), Self.message())
    let isOver = unsafe nbd_aio_is_dead(handle) == 1 || nbd_aio_is_closed(handle) == 1
    if isOver || code == .shutDown || code == .notConnected {
      drop()
      return .disconnected(message)
    }
    return .refused(code, message)
  }

  private static func refusal() -> NBDFailure { .refused(Errno(nbd_get_errno()), message()) }

  /// libnbd keeps the text of the last error for each thread.
  private static func message() -> String {
    guard let text = unsafe nbd_get_error() else { return "unknown error" }
    return unsafe String(cString: text)
  }
}
