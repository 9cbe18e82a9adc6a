import CLinux
import Glibc

// Sockets that pass from one process to another: what they are, and how descriptors travel.

extension Socket {
  /// Whether this is a stream socket that listens.
  public var isListening: Bool {
    option(SO_TYPE) == Int32(SOCK_STREAM.rawValue) && option(SO_ACCEPTCONN) == 1
  }

  /// Whether this is a connected stream socket; also true when the peer has left meanwhile.
  public var isConnection: Bool {
    option(SO_TYPE) == Int32(SOCK_STREAM.rawValue) && option(SO_ACCEPTCONN) == 0
  }

  private func option(_ name: Int32) -> Int32? {
    var value: Int32 = 0
    var length = socklen_t(4)
    guard unsafe getsockopt(rawDescriptor, SOL_SOCKET, name, &value, &length) == 0 else {
      return nil
    }
    return value
  }

  /// Not inherited by programs that this process starts.
  public func setCloseOnExec() throws(Errno) {
    _ = try retrying { fcntl(rawDescriptor, F_SETFD, FD_CLOEXEC) }
  }

  /// Where the socket is bound, with a numeric host; nil when it is bound to nothing that has a
  /// name here (an unnamed or abstract unix socket, another family).
  public var localAddress: SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let raw = rawDescriptor
    return unsafe withUnsafeMutablePointer(to: &storage) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        guard unsafe getsockname(raw, address, &length) == 0 else { return nil }
        return unsafe SocketAddress(address, length)
      }
    }
  }

  // MARK: Descriptors on their way

  /// Sends bytes and with the first of them a descriptor, if there is one; for unix sockets. The
  /// receiver gets one of its own: this process may close its own at once. Returns how many bytes
  /// the system took; nil when none now and the socket is nonblocking.
  public func send(_ bytes: UnsafeRawBufferPointer, with descriptor: Int32?) throws(Errno) -> Int? {
    try retryingNonblocking {
      unsafe linux_send_descriptor(
        rawDescriptor, bytes.baseAddress, bytes.count, descriptor ?? -1)
    }
  }

  /// As `receive`, with the descriptor that came with the bytes, if one did. The caller owns it.
  public func receiveWithDescriptor(
    into buffer: UnsafeMutableRawBufferPointer
  ) throws(Errno) -> (count: Int, descriptor: Int32?)? {
    var descriptor: Int32 = -1
    let count = try retryingNonblocking {
      unsafe linux_receive_descriptor(
        rawDescriptor, buffer.baseAddress, buffer.count, &descriptor)
    }
    return count.map { ($0, descriptor >= 0 ? descriptor : nil) }
  }
}
