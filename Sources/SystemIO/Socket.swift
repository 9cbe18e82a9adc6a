import CLinux
import Glibc

/// A stream socket, connected or listening.
///
/// Sends never raise SIGPIPE. A nonblocking socket's `receive` and `send` return nil when they
/// would have to wait; a blocking one's never do.
public final class Socket: Sendable {
  private let descriptor: Descriptor

  private init(owning raw: Int32) { descriptor = Descriptor(owning: raw) }

  /// A socket that someone else made: another process, or who started this one.
  public init(adopting descriptor: consuming Descriptor) { self.descriptor = descriptor }

  public var rawDescriptor: Int32 { descriptor.raw }

  /// Makes the process ignore SIGPIPE, for calls that take no MSG_NOSIGNAL: sendfile(2), and
  /// what a library writes to a socket.
  public static let brokenPipesAreErrors: Void = SystemCalls.ignoreBrokenPipes()

  // MARK: Making sockets

  /// Listens, nonblocking. A unix socket on which nobody listens any more is replaced, and nothing
  /// else: throws ENOTSOCK when another file has the path, and EADDRINUSE when somebody listens.
  public static func listen(on endpoint: SocketAddress, backlog: Int32 = 512)
    throws(Errno) -> Socket
  {
    if case .unix(let path) = endpoint { try SocketFile.makeWay(at: path) }
    let socket = try make(endpoint)
    if case .tcp = endpoint { socket.setOption(SOL_SOCKET, SO_REUSEADDR, 1) }
    try unsafe withAddress(endpoint) { (address, length) throws(Errno) in
      _ = try retrying { unsafe SystemCalls.bind(socket.rawDescriptor, address, length) }
    }
    _ = try retrying { SystemCalls.listen(socket.rawDescriptor, backlog) }
    try socket.setNonblocking()
    return socket
  }

  /// Connects; blocks until the peer's system has answered, for at most `timeoutSeconds`. The
  /// socket is blocking.
  public static func connect(
    to endpoint: SocketAddress, timeoutSeconds: Int = 10
  ) throws(Errno) -> Socket {
    let socket = try make(endpoint)
    socket.setTimeouts(seconds: timeoutSeconds)
    defer { socket.setTimeouts(seconds: 0) }
    try unsafe withAddress(endpoint) { (address, length) throws(Errno) in
      do throws(Errno) {
        _ = try retrying { unsafe SystemCalls.connect(socket.rawDescriptor, address, length) }
      } catch Errno(EINPROGRESS) {
        throw Errno.timedOut
      }
    }
    socket.disableDelay()
    socket.keepAlive(.standard)
    return socket
  }

  /// Begins to connect, nonblocking: when that has ended, well or not, the socket can be written,
  /// and `checkConnected` tells. Blocks for an endpoint that `isName`, and for nothing else.
  public static func beginConnecting(to endpoint: SocketAddress) throws(Errno) -> Socket {
    let socket = try make(endpoint)
    try socket.setNonblocking()
    try unsafe withAddress(endpoint) { (address, length) throws(Errno) in
      do throws(Errno) {
        _ = try retrying { unsafe SystemCalls.connect(socket.rawDescriptor, address, length) }
      } catch Errno(EINPROGRESS) {}
    }
    socket.disableDelay()
    return socket
  }

  /// Throws why connecting has failed, when it has ended.
  public func checkConnected() throws(Errno) {
    var code: Int32 = 0
    let result = unsafe withUnsafeMutableBytes(of: &code) {
      unsafe SystemCalls.option(descriptor.raw, SOL_SOCKET, SO_ERROR, $0)
    }
    if result != 0 { throw Errno.current }
    if code != 0 { throw Errno(code) }
  }

  /// Connects to a unix socket, nonblocking; throws EAGAIN when the listener's queue is full.
  static func connectAtOnce(toUnix path: String) throws(Errno) -> Socket {
    let endpoint = SocketAddress.unix(path: path)
    let socket = try make(endpoint)
    try socket.setNonblocking()
    try unsafe withAddress(endpoint) { (address, length) throws(Errno) in
      _ = try retrying { unsafe SystemCalls.connect(socket.rawDescriptor, address, length) }
    }
    return socket
  }

  /// The next connection, nonblocking; nil when none waits.
  public func accept() throws(Errno) -> Socket? {
    let flags = Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let raw: Int32?
    do {
      raw = try retryingNonblocking { SystemCalls.accept(descriptor.raw, flags) }
    } catch Errno(ECONNABORTED) {
      return nil
    }
    guard let raw else { return nil }
    let socket = Socket(owning: raw)
    socket.disableDelay()
    socket.keepAlive(.standard)
    return socket
  }

  private static func make(_ endpoint: SocketAddress) throws(Errno) -> Socket {
    let family: Int32
    switch endpoint {
    case .unix: family = AF_UNIX
    case .tcp(let host, _): family = host.contains(":") ? AF_INET6 : AF_INET
    }
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    return Socket(owning: try retrying { SystemCalls.socket(family, type) })
  }

  static func withAddress(
    _ endpoint: SocketAddress,
    _ body: (UnsafePointer<sockaddr>, socklen_t) throws(Errno) -> Void
  ) throws(Errno) {
    switch endpoint {
    case .unix(let path):
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      let bytes = Array(path.utf8)
      guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
        throw Errno(ENAMETOOLONG)
      }
      unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
      let length = socklen_t(MemoryLayout<sockaddr_un>.size)
      try unsafe rebound(&address) { (pointer) throws(Errno) in
        try unsafe body(pointer, length)
      }
    case .tcp(let host, let port):
      var hints = unsafe addrinfo()
      unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
      unsafe hints.ai_family = host.contains(":") ? AF_INET6 : AF_INET
      var found: UnsafeMutablePointer<addrinfo>?
      guard unsafe getaddrinfo(host, String(port), &hints, &found) == 0,
        let found = unsafe found, let address = unsafe found.pointee.ai_addr
      else { throw Errno(EHOSTUNREACH) }
      defer { unsafe freeaddrinfo(found) }
      try unsafe body(address, found.pointee.ai_addrlen)
    }
  }

  private static func rebound(
    _ address: inout sockaddr_un, _ body: (UnsafePointer<sockaddr>) throws(Errno) -> Void
  ) throws(Errno) {
    var failure: Errno?
    unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        do throws(Errno) { try unsafe body(pointer) } catch { failure = error }
      }
    }
    if let failure { throw failure }
  }

  // MARK: Options

  public func setNonblocking() throws(Errno) {
    let flags = try retrying { SystemCalls.flags(descriptor.raw) }
    _ = try retrying { SystemCalls.setFlags(descriptor.raw, flags | O_NONBLOCK) }
  }

  /// Small replies leave at once. Has no effect on unix sockets.
  private func disableDelay() { setOption(Int32(IPPROTO_TCP), TCP_NODELAY, 1) }

  public func setBufferBytes(send: Int32, receive: Int32) {
    setOption(SOL_SOCKET, SO_SNDBUF, send)
    setOption(SOL_SOCKET, SO_RCVBUF, receive)
  }

  public func keepAlive(_ how: KeepAlive) { how.apply(to: descriptor.raw) }

  private func setOption(_ level: Int32, _ name: Int32, _ value: Int32) {
    var value = value
    unsafe withUnsafeBytes(of: &value) { bytes in
      _ = unsafe SystemCalls.setOption(descriptor.raw, level, name, bytes)
    }
  }

  /// The port a TCP listener got when it asked for port 0.
  public func localPort() throws(Errno) -> UInt16 {
    var storage = sockaddr_storage()
    if SystemCalls.name(descriptor.raw, &storage) != 0 { throw Errno.current }
    // sin_port and sin6_port are at the same place, in network order.
    return unsafe withUnsafeBytes(of: &storage) { UInt16(unsafe $0[2]) << 8 | UInt16(unsafe $0[3]) }
  }

  /// The user and group of the process that connected to a unix socket, as it was then; nil for
  /// other sockets.
  public var peerUser: (user: UInt32, group: UInt32)? {
    var credentials = linux_ucred()
    let code = unsafe withUnsafeMutableBytes(of: &credentials) {
      unsafe SystemCalls.option(descriptor.raw, SOL_SOCKET, SO_PEERCRED, $0)
    }
    guard code == 0, credentials.pid != 0 else { return nil }
    return (credentials.uid, credentials.gid)
  }

  // MARK: Transfer

  /// What has arrived, at most `buffer.count` bytes; 0 when the peer has closed its side; nil when
  /// nothing has arrived and the socket is nonblocking.
  @inline(__always)
  public func receive(into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int? {
    try retryingNonblocking { unsafe SystemCalls.receive(descriptor.raw, buffer) }
  }

  /// As `receive`, into new memory: nil when nothing has arrived, empty when the peer has closed.
  public func receive(limit: Int) throws(Errno) -> [UInt8]? {
    try unsafe Self.collect(limit: limit) { (buffer) throws(Errno) in
      try unsafe receive(into: buffer)
    }
  }

  /// What `receive` puts into new memory of `limit` bytes, with the meaning of its result.
  public static func collect(
    limit: Int, _ receive: (UnsafeMutableRawBufferPointer) throws(Errno) -> Int?
  ) throws(Errno) -> [UInt8]? {
    var failure: Errno?
    var hasArrived = true
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
      do throws(Errno) {
        let got = try unsafe receive(UnsafeMutableRawBufferPointer(buffer))
        hasArrived = got != nil
        count = got ?? 0
      } catch { failure = error }
    }
    if let failure { throw failure }
    return hasArrived ? bytes : nil
  }

  /// How many bytes the system took; nil when none now and the socket is nonblocking.
  @inline(__always)
  public func send(_ buffer: UnsafeRawBufferPointer, more: Bool = false) throws(Errno) -> Int? {
    let flags = Int32(MSG_NOSIGNAL) | (more ? Int32(MSG_MORE) : 0)
    return try retryingNonblocking {
      unsafe SystemCalls.send(descriptor.raw, buffer, flags)
    }
  }

  /// As `send`, from a file, without bringing the bytes into this process.
  public func sendFile(_ file: File, at offset: UInt64, count: Int) throws(Errno) -> Int? {
    Self.brokenPipesAreErrors
    let sent = try retryingNonblocking {
      SystemCalls.sendFile(descriptor.raw, file.rawDescriptor, off_t(offset), count)
    }
    if sent == 0 { throw Errno.io }
    return sent
  }

  /// Sends all bytes; for blocking sockets.
  public func sendAll(_ buffer: UnsafeRawBufferPointer) throws(Errno) {
    var done = 0
    while done < buffer.count {
      let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[done...])
      guard let count = try unsafe send(rest) else { throw Errno.timedOut }
      done += count
    }
  }

  /// Ends both directions: every thread that waits on this socket returns.
  public func shutDown() { _ = SystemCalls.shutDown(descriptor.raw) }

  /// Waits until there is something to receive. False after `timeoutMilliseconds`.
  public func waitReadable(timeoutMilliseconds: Int32) -> Bool {
    wait(for: POLLIN, timeoutMilliseconds)
  }

  /// Waits until more can be sent. False after `timeoutMilliseconds`.
  public func waitWritable(timeoutMilliseconds: Int32) -> Bool {
    wait(for: POLLOUT, timeoutMilliseconds)
  }

  private func wait(for events: Int32, _ timeoutMilliseconds: Int32) -> Bool {
    var entries = [pollfd(fd: descriptor.raw, events: Int16(events), revents: 0)]
    return SystemCalls.poll(&entries, timeoutMilliseconds) > 0
  }

  /// Bounds how long a blocking `receive` or `send` waits; it then returns nil or `timedOut`.
  public func setTimeouts(seconds: Int) {
    var time = timeval(tv_sec: seconds, tv_usec: 0)
    unsafe withUnsafeBytes(of: &time) { bytes in
      for name in [SO_RCVTIMEO, SO_SNDTIMEO] {
        _ = unsafe SystemCalls.setOption(descriptor.raw, SOL_SOCKET, name, bytes)
      }
    }
  }
}
