import CLinux
import Glibc

extension SystemCalls {
  static func socket(_ family: Int32, _ type: Int32) -> Int32 {
    let process = simulation.process
    return process.install(OpenSocket(machine: process.machine.name))
  }

  private static func name(_ address: UnsafePointer<sockaddr>) -> SocketName {
    if unsafe Int32(address.pointee.sa_family) == AF_UNIX {
      let path = unsafe UnsafeRawPointer(address).assumingMemoryBound(to: sockaddr_un.self)
      return unsafe withUnsafeBytes(of: path.pointee.sun_path) {
        unsafe .unix(String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self))
      }
    }
    // sin_port and sin6_port are at the same place, in network order.
    let bytes = unsafe UnsafeRawBufferPointer(start: UnsafeRawPointer(address), count: 4)
    return unsafe .port(UInt16(bytes[2]) << 8 | UInt16(bytes[3]))
  }

  static func bind(
    _ descriptor: Int32, _ address: UnsafePointer<sockaddr>, _ length: socklen_t
  ) -> Int32 {
    guard let socket = object(descriptor, OpenSocket.self) else { return fail(EBADF) }
    let name = unsafe name(address)
    if simulation.network.listeners[name] != nil { return fail(EADDRINUSE) }
    if case .unix(let path) = name {
      let network = simulation.network
      guard network.socketFiles[path] == nil else { return fail(EADDRINUSE) }
      network.lastSocketInode += 1
      network.socketFiles[path] = network.lastSocketInode
    }
    socket.name = name
    return 0
  }

  /// Knows sockets; other names are files.
  static func linkStatus(_ path: String, _ status: inout stat) -> Int32 {
    if let inode = simulation.network.socketFiles[path] {
      status.st_mode = S_IFSOCK
      status.st_ino = UInt(inode)
      return 0
    }
    guard exists(path) else { return fail(ENOENT) }
    status.st_mode = S_IFREG
    return 0
  }

  /// Of sockets.
  static func renameAnew(_ from: String, _ to: String) -> Int32 {
    if exists(to) { return fail(EEXIST) }
    guard let inode = simulation.network.socketFiles.removeValue(forKey: from) else {
      return fail(ENOENT)
    }
    simulation.network.socketFiles[to] = inode
    return 0
  }

  static func listen(_ descriptor: Int32, _ backlog: Int32) -> Int32 {
    guard let socket = object(descriptor, OpenSocket.self), let name = socket.name else {
      return fail(EINVAL)
    }
    socket.isListening = true
    simulation.network.listeners[name] = socket
    return 0
  }

  static func connect(
    _ descriptor: Int32, _ address: UnsafePointer<sockaddr>, _ length: socklen_t
  ) -> Int32 {
    simulation.pass()
    guard let socket = object(descriptor, OpenSocket.self) else { return fail(EBADF) }
    guard let listener = simulation.network.listeners[unsafe name(address)] else {
      return fail(ECONNREFUSED)
    }
    let isHeld = { [machine = socket.machine] in
      simulation.network.isHeld(between: machine, and: listener.machine)
    }
    if socket.flags & O_NONBLOCK != 0, isHeld() {
      socket.target = listener
      return fail(EINPROGRESS)
    }
    let limit = simulation.now + (socket.timeoutNanoseconds ?? 60_000_000_000)
    guard simulation.wait(until: limit, { !isHeld() }) else { return fail(EINPROGRESS) }
    // It may have been closed meanwhile.
    guard listener.references > 0 else { return fail(ECONNREFUSED) }
    OpenSocket.connect(socket, to: listener)
    return 0
  }

  static func accept(_ descriptor: Int32, _ flags: Int32) -> Int32 {
    guard let listener = object(descriptor, OpenSocket.self), listener.isListening else {
      return fail(EINVAL)
    }
    guard !listener.backlog.isEmpty else { return fail(EAGAIN) }
    let socket = listener.backlog.removeFirst()
    if flags & Int32(SOCK_NONBLOCK.rawValue) != 0 { socket.flags |= O_NONBLOCK }
    return simulation.process.install(socket)
  }

  @discardableResult
  static func setOption(
    _ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: UnsafeRawBufferPointer
  ) -> Int32 {
    guard let socket = object(descriptor, OpenSocket.self) else { return fail(EBADF) }
    if level == SOL_SOCKET, name == SO_RCVTIMEO || name == SO_SNDTIMEO {
      let time = unsafe value.loadUnaligned(as: timeval.self)
      socket.timeoutNanoseconds = time.tv_sec == 0 ? nil : UInt64(time.tv_sec) * 1_000_000_000
    }
    return 0
  }

  static func option(
    _ descriptor: Int32, _ level: Int32, _ name: Int32, _ value: UnsafeMutableRawBufferPointer
  ) -> Int32 {
    guard level == SOL_SOCKET, name == SO_ERROR, let socket = object(descriptor, OpenSocket.self)
    else { return fail(ENOPROTOOPT) }
    unsafe value.storeBytes(of: socket.finishConnecting(), as: Int32.self)
    return 0
  }

  static func name(_ descriptor: Int32, _ address: inout sockaddr_storage) -> Int32 {
    guard case .port(let port)? = object(descriptor, OpenSocket.self)?.name else {
      return fail(EINVAL)
    }
    unsafe withUnsafeMutableBytes(of: &address) {
      unsafe $0[2] = UInt8(port >> 8)
      unsafe $0[3] = UInt8(truncatingIfNeeded: port)
    }
    return 0
  }

  /// The part of `count` that one transfer moves.
  private static func part(_ count: Int) -> Int {
    guard count > 1, simulation.random.chance(simulation.network.shortTransfer) else {
      return count
    }
    return 1 + simulation.random.below(count - 1)
  }

  private static func limit(_ socket: OpenSocket) -> UInt64? {
    socket.timeoutNanoseconds.map { simulation.now + $0 }
  }

  static func receive(_ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Int {
    simulation.pass()
    guard let socket = object(descriptor, OpenSocket.self), let pipe = socket.incoming else {
      return fail(ENOTCONN)
    }
    if socket.flags & O_NONBLOCK == 0 {
      guard simulation.wait(until: limit(socket), { pipe.isReady }) else { return fail(EAGAIN) }
    }
    switch pipe.receive(part(buffer.count)) {
    case .bytes(let bytes):
      unsafe buffer.copyBytes(from: bytes)
      return bytes.count
    case .end: return 0
    case .reset: return fail(ECONNRESET)
    case .nothing: return fail(EAGAIN)
    }
  }

  static func send(
    _ descriptor: Int32, _ buffer: UnsafeRawBufferPointer, _ flags: Int32
  ) -> Int {
    simulation.pass()
    guard let socket = object(descriptor, OpenSocket.self), let pipe = socket.outgoing else {
      return fail(ENOTCONN)
    }
    if socket.flags & O_NONBLOCK == 0 {
      guard simulation.wait(until: limit(socket), { pipe.room > 0 || pipe.isRefusing }) else {
        return fail(EAGAIN)
      }
    }
    if pipe.isReset { return fail(ECONNRESET) }
    if pipe.isRefusing { return fail(EPIPE) }
    if pipe.room == 0 { return fail(EAGAIN) }
    let count = part(min(buffer.count, pipe.room))
    pipe.send(unsafe Array(buffer[..<count]))
    return count
  }

  static func ignoreBrokenPipes() {}

  static func sendFile(
    _ descriptor: Int32, _ file: Int32, _ offset: off_t, _ count: Int
  ) -> Int {
    guard let inode = object(file, OpenFile.self)?.inode else { return fail(EBADF) }
    var bytes = [UInt8](repeating: 0, count: count)
    let got = unsafe bytes.withUnsafeMutableBytes {
      unsafe inode.read(into: $0, at: UInt64(offset))
    }
    if got == 0 { return 0 }
    return unsafe bytes.withUnsafeBytes {
      unsafe send(descriptor, UnsafeRawBufferPointer(rebasing: $0[..<got]), 0)
    }
  }

  static func shutDown(_ descriptor: Int32) -> Int32 {
    object(descriptor, OpenSocket.self)?.shutDown()
    return 0
  }
}
