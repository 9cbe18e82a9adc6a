import Foundation
import Synchronization

/// A client with simple replies, made to be had by the thousand: one descriptor, no library, calls
/// that block but are bounded in time. Requests may be sent ahead of their replies. One thread at a
/// time uses it.
public final class SimpleSession: Sendable {
  public enum Command: Int, Sendable { case read, write, disconnect, flush }

  private let descriptor: Int32

  /// What a client sends to open an export, from its flags on.
  public static func opening(_ export: String) -> [UInt8] {
    let name = Array(export.utf8)
    var message = option(7, byteCount: name.count + 6)
    message += bytes(name.count, 4)
    message += name
    message += [0, 0]
    return message
  }

  /// What a client sends to begin TLS.
  public static let startTLS = option(5, byteCount: 0)

  /// The client's flags and the head of its first option.
  private static func option(_ number: Int, byteCount: Int) -> [UInt8] {
    var message = bytes(3, 4)
    message += Array("IHAVEOPT".utf8)
    message += bytes(number, 4)
    message += bytes(byteCount, 4)
    return message
  }

  public static func request(
    _ command: Command, at offset: Int = 0, count: Int = 0, cookie: Int = 0,
    payload: [UInt8] = []
  ) -> [UInt8] {
    bytes(0x2560_9513, 4) + bytes(0, 2) + bytes(command.rawValue, 2) + bytes(cookie, 8)
      + bytes(offset, 8) + bytes(count, 4) + payload
  }

  /// Connects and says nothing.
  public init(socket path: String, within limit: Duration = hangLimit) throws {
    descriptor = try connectUnix(path)
    var time = timeval(tv_sec: Int(limit.components.seconds), tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, size)
    _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, size)
  }

  /// Connects and opens an export.
  /// - Throws: `RigError` with the server's message when it refuses.
  public convenience init(
    _ socket: String, _ export: String, within limit: Duration = hangLimit
  ) throws {
    try self.init(socket: socket, within: limit)
    try open(export)
  }

  /// - Throws: `RigError` with the server's message when it refuses.
  public func open(_ export: String) throws {
    try send(Self.opening(export))
    _ = try receive(18)
    while true {
      let header = try receive(20)
      let type = number(header[12..<16])
      let data = try receive(Int(number(header[16..<20])))
      if type == 1 { return }
      guard type < 1 << 31 else { throw RigError(String(decoding: data, as: UTF8.self)) }
    }
  }

  deinit { close(descriptor) }

  /// - Throws: `RigError` when the server does not take the bytes.
  public func send(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let sent = unsafe bytes.withUnsafeBytes {
        unsafe Glibc.send(
          descriptor, $0.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { throw RigError("send: errno \(errno)") }
      done += sent
    }
  }

  /// - Throws: `RigError` when the server closes the connection or stays silent.
  public func receive(_ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let got = unsafe bytes.withUnsafeMutableBytes {
        unsafe recv(descriptor, $0.baseAddress! + done, count - done, 0)
      }
      guard got > 0 else {
        throw RigError(got == 0 ? "the server closed the connection" : "recv: errno \(errno)")
      }
      done += got
    }
    return bytes
  }

  /// Takes a reply that must be that of `cookie`, with `count` bytes of data.
  public func takeReply(to cookie: Int = 0, count: Int = 0) throws -> [UInt8] {
    let header = try receive(16)
    guard header[0..<4] == [0x67, 0x44, 0x66, 0x98], number(header[4..<8]) == 0,
      number(header[8..<16]) == UInt64(cookie)
    else { throw RigError("the reply to request \(cookie) begins with \(header)") }
    return try receive(count)
  }

  public func write(_ payload: [UInt8], at offset: Int) throws {
    try send(Self.request(.write, at: offset, count: payload.count, payload: payload))
    _ = try takeReply()
  }

  public func read(at offset: Int, count: Int) throws -> [UInt8] {
    try send(Self.request(.read, at: offset, count: count))
    return try takeReply(count: count)
  }

  /// Whether the server has closed the connection, once what it had sent has been taken.
  public func isClosedByServer() throws -> Bool {
    while true {
      var byte: UInt8 = 0
      let got = unsafe recv(descriptor, &byte, 1, 0)
      if got == 0 || (got < 0 && errno == ECONNRESET) { return true }
      guard got > 0 else { throw RigError("recv: errno \(errno)") }
    }
  }
}

/// Calls `body` on `count` threads at once, each with its number, and passes on what the first
/// throws. Blocks until all are done.
public func onThreads(
  _ count: Int, _ body: @escaping @Sendable (Int) throws -> Void
) throws {
  let group = DispatchGroup()
  let box = FirstFailure()
  for index in 0..<count {
    group.enter()
    Thread {
      do { try body(index) } catch { box.note(error) }
      group.leave()
    }.start()
  }
  group.wait()
  if let failure = box.failure { throw failure }
}

private final class FirstFailure: Sendable {
  private let noted = Mutex<(any Error)?>(nil)

  func note(_ error: any Error) { noted.withLock { $0 = $0 ?? error } }
  var failure: (any Error)? { noted.withLock { $0 } }
}
