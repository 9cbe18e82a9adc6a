import Foundation
import Synchronization

private func loopback(_ port: UInt16) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  return address
}

private func withAddress<Result>(
  _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) -> Result {
  var address = loopback(port)
  return unsafe withUnsafePointer(to: &address) {
    unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      unsafe body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
}

private func tcpSocket() -> Int32 {
  socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
}

/// A listening TCP socket on 127.0.0.1; port 0 lets the kernel choose.
func loopbackListener(port: UInt16) throws -> Int32 {
  let listener = tcpSocket()
  guard unsafe withAddress(port, { unsafe bind(listener, $0, $1) }) == 0, listen(listener, 64) == 0
  else {
    let error = errno
    close(listener)
    throw RigError("cannot listen on 127.0.0.1:\(port): \(unsafe String(cString: strerror(error)))")
  }
  return listener
}

func localPort(of descriptor: Int32) throws -> UInt16 {
  var address = sockaddr_in()
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let result = unsafe withUnsafeMutablePointer(to: &address) {
    unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      unsafe getsockname(descriptor, $0, &length)
    }
  }
  guard result == 0 else { throw RigError("getsockname: \(errno)") }
  return UInt16(bigEndian: address.sin_port)
}

func connectLoopback(port: UInt16) throws -> Int32 {
  let descriptor = tcpSocket()
  guard unsafe withAddress(port, { unsafe connect(descriptor, $0, $1) }) == 0 else {
    close(descriptor)
    throw RigError("nobody listens on 127.0.0.1:\(port)")
  }
  return descriptor
}

/// A TCP port of 127.0.0.1 on which nobody listens. Taken from below the range from which the
/// kernel serves outgoing connections, and not handed out twice by this process.
public func unusedPort() throws -> UInt16 {
  for _ in 0..<200 {
    let port = UInt16.random(in: 12_000..<32_000)
    let isNew = portsGiven.withLock { $0.insert(port).inserted }
    if isNew, let listener = try? loopbackListener(port: port) {
      close(listener)
      return port
    }
  }
  throw RigError("no unused port on 127.0.0.1")
}

private let portsGiven = Mutex<Set<UInt16>>([])

/// A connection to the stream socket at `path`: its descriptor, which the caller closes.
func connectUnix(_ path: String) throws -> Int32 {
  let descriptor = socket(
    AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  let result = unsafe withUnixAddress(path) { unsafe connect(descriptor, $0, $1) }
  guard result == 0 else {
    let error = errno
    close(descriptor)
    throw RigError("connect \(path): \(unsafe String(cString: strerror(error)))")
  }
  return descriptor
}

/// Lends the address of the unix socket at `path`, which must be short enough for one.
@unsafe public func withUnixAddress<Result>(
  _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) -> Result {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
  return unsafe withUnsafePointer(to: &address) {
    unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
}

/// A connection without a protocol, for sending what no client of a library would send.
public final class RawConnection {
  private let descriptor: Int32

  public init(unix path: String) throws { descriptor = try connectUnix(path) }

  public init(port: UInt16) throws { descriptor = try connectLoopback(port: port) }

  deinit { close(descriptor) }

  /// Whether a connection to the socket at `path` succeeds.
  public static func isListening(unix path: String) -> Bool {
    (try? RawConnection(unix: path)) != nil
  }

  /// Sends what the peer takes; false when it has closed the connection.
  @discardableResult
  public func send(_ bytes: [UInt8]) -> Bool {
    unsafe Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
  }

  /// Up to `count` bytes, fewer when the peer closes the connection.
  /// - Throws: `RigError` when `limit` passes before that.
  public func receive(_ count: Int, within limit: Duration = hangLimit) throws -> [UInt8] {
    var all: [UInt8] = []
    let deadline = ContinuousClock.now + limit
    while all.count < count {
      var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      let rest = Int32(max(0, (deadline - .now).inSeconds * 1000))
      guard unsafe poll(&poller, 1, rest) > 0 else { throw RigError("silence for \(limit)") }
      var part = [UInt8](repeating: 0, count: count - all.count)
      let received = unsafe recv(descriptor, &part, part.count, 0)
      guard received > 0 else { break }
      all += part.prefix(received)
    }
    return all
  }

  /// Whether the peer has closed the connection, once what it had sent has been read.
  public func isClosedByPeer(within limit: Duration = hangLimit) throws -> Bool {
    while true {
      let part = try receive(1, within: limit)
      if part.isEmpty { return true }
    }
  }
}
