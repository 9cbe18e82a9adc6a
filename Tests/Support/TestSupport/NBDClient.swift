import CNBD
import Foundation

/// A connection to an NBD export through libnbd. Every call is bounded in time.
///
/// Belongs to one thread at a time. Synchronous calls block; `submit…` only queue, and
/// `completions` drives the connection and tells what has been answered.
@safe public final class NBDClient {
  /// A request that has been queued and not yet reported by `completions`.
  public struct Request: Hashable, Sendable {
    fileprivate let cookie: Int64
  }

  /// An error reported by the server for a request, or by libnbd for the connection.
  public struct Failure: Error, CustomStringConvertible, Equatable {
    public let errno: Int32
    public let message: String
    public var description: String { "\(message) (errno \(errno))" }
  }

  private let handle: OpaquePointer
  private let limit: Duration
  private var buffers: [Request: UnsafeMutableRawBufferPointer] = unsafe [:]

  /// Connects and negotiates the export that `uri` names.
  /// - Parameters:
  ///   - checksRequests: false lets requests through that libnbd itself would refuse.
  ///   - limit: how long connecting, and each later request, may take.
  public init(
    _ uri: String, checksRequests: Bool = true, contexts: [String] = [],
    within limit: Duration = hangLimit
  ) throws {
    guard let handle = unsafe nbd_create() else { throw Self.failure() }
    unsafe self.handle = unsafe handle
    self.limit = limit
    // A test's URI may name its certificates.
    unsafe nbd_set_uri_allow_local_file(handle, true)
    if !checksRequests { unsafe nbd_set_strict_mode(handle, 0) }
    // For URIs that name credentials.
    unsafe nbd_set_uri_allow_local_file(handle, true)
    for context in contexts { try Self.check(unsafe nbd_add_meta_context(handle, context)) }
    try Self.check(unsafe nbd_aio_connect_uri(handle, uri))
    try drive("connect to \(uri)") { unsafe nbd_aio_is_connecting(handle) == 0 }
    guard unsafe nbd_aio_is_ready(handle) == 1 else { throw Self.failure() }
  }

  deinit {
    unsafe nbd_close(handle)
    unsafe buffers.values.forEach { unsafe $0.deallocate() }
  }

  // MARK: Properties of the export

  public var size: Int64 { unsafe nbd_get_size(handle) }
  public var isReadOnly: Bool { unsafe nbd_is_read_only(handle) == 1 }
  public var canFlush: Bool { unsafe nbd_can_flush(handle) == 1 }
  public var canFUA: Bool { unsafe nbd_can_fua(handle) == 1 }
  public var canTrim: Bool { unsafe nbd_can_trim(handle) == 1 }
  public var canZero: Bool { unsafe nbd_can_zero(handle) == 1 }
  public var canMultiConnect: Bool { unsafe nbd_can_multi_conn(handle) == 1 }

  /// Whether requests can still be made.
  public var isAlive: Bool { unsafe nbd_aio_is_dead(handle) == 0 && nbd_aio_is_closed(handle) == 0 }

  // MARK: One request at a time

  public func read(at offset: UInt64, count: Int) throws -> [UInt8] {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
    let request = try unsafe start(keeping: buffer) { done in
      unsafe nbd_aio_pread(handle, buffer.baseAddress, count, offset, done, 0)
    }
    defer { release(request) }
    try finish(request)
    return unsafe [UInt8](buffer)
  }

  public func write(_ bytes: [UInt8], at offset: UInt64, fua: Bool = false) throws {
    try complete(submitWrite(bytes, at: offset, fua: fua))
  }

  public func zero(
    at offset: UInt64, count: Int, fua: Bool = false, keepsSpace: Bool = false
  ) throws {
    let flags = Self.flags(fua) | (keepsSpace ? UInt32(LIBNBD_CMD_FLAG_NO_HOLE) : 0)
    try complete(
      unsafe start(keeping: nil) { done in
        unsafe nbd_aio_zero(handle, UInt64(count), offset, done, flags)
      })
  }

  public func trim(at offset: UInt64, count: Int, fua: Bool = false) throws {
    try complete(
      unsafe start(keeping: nil) { done in
        unsafe nbd_aio_trim(handle, UInt64(count), offset, done, Self.flags(fua))
      })
  }

  public func flush() throws { try complete(submitFlush()) }

  // MARK: Many requests in flight

  public func submitWrite(_ bytes: [UInt8], at offset: UInt64, fua: Bool = false) throws -> Request
  {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
    unsafe buffer.copyBytes(from: bytes)
    return try unsafe start(keeping: buffer) { done in
      unsafe nbd_aio_pwrite(handle, buffer.baseAddress, bytes.count, offset, done, Self.flags(fua))
    }
  }

  /// What is read is thrown away.
  public func submitRead(at offset: UInt64, count: Int) throws -> Request {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
    return try unsafe start(keeping: buffer) { done in
      unsafe nbd_aio_pread(handle, buffer.baseAddress, count, offset, done, 0)
    }
  }

  public func submitFlush() throws -> Request {
    try unsafe start(keeping: nil) { done in unsafe nbd_aio_flush(handle, done, 0) }
  }

  /// Of `requests`, those that have been answered, each with its error if it failed. Waits up to
  /// `limit` for the first. When the connection breaks, the requests in flight fail.
  public func completions(
    of requests: some Collection<Request>, within limit: Duration
  ) throws -> [(Request, Failure?)] {
    let deadline = ContinuousClock.now + limit
    while true {
      var done: [(Request, Failure?)] = []
      for request in requests {
        let state = unsafe nbd_aio_command_completed(handle, UInt64(request.cookie))
        guard state != 0 else { continue }
        done.append((request, state < 0 ? Self.failure() : nil))
        release(request)
      }
      if !done.isEmpty || requests.isEmpty { return done }
      guard ContinuousClock.now < deadline else { return [] }
      // An error here means that the connection is dead; the requests then report it.
      _ = unsafe nbd_poll(handle, 20)
    }
  }

  // MARK: Machinery

  private func start(
    keeping buffer: UnsafeMutableRawBufferPointer?,
    _ submit: (nbd_completion_callback) -> Int64
  ) throws -> Request {
    let cookie = unsafe submit(nbd_completion_callback())
    guard cookie >= 0 else {
      let failure = Self.failure()
      unsafe buffer?.deallocate()
      throw failure
    }
    let request = Request(cookie: cookie)
    if let buffer = unsafe buffer { unsafe buffers[request] = unsafe buffer }
    return request
  }

  private func complete(_ request: Request) throws {
    defer { release(request) }
    try finish(request)
  }

  private func finish(_ request: Request) throws {
    var state: Int32 = 0
    try drive("an answer") {
      state = unsafe nbd_aio_command_completed(handle, UInt64(request.cookie))
      return state != 0
    }
    try Self.check(state)
  }

  private func release(_ request: Request) {
    unsafe buffers.removeValue(forKey: request)?.deallocate()
  }

  private func drive(_ what: String, until condition: () -> Bool) throws {
    let deadline = ContinuousClock.now + limit
    while !condition() {
      guard ContinuousClock.now < deadline else {
        throw RigError("NBD client: not within \(limit): \(what)")
      }
      _ = unsafe nbd_poll(handle, 20)
    }
  }

  private static func flags(_ fua: Bool) -> UInt32 { fua ? UInt32(LIBNBD_CMD_FLAG_FUA) : 0 }

  private static func check(_ result: Int32) throws {
    if result < 0 { throw failure() }
  }

  private static func failure() -> Failure {
    unsafe Failure(
      errno: nbd_get_errno(),
      message: nbd_get_error().map { unsafe String(cString: $0) } ?? "unknown error")
  }
}
