import SystemIO

/// A connected stream: in the clear, or inside TLS once the client has asked for it.
///
/// Confined to whoever owns the connection.
public struct Transport: Sendable {
  public let socket: Socket
  public let tls: TLSSession?

  public init(_ socket: Socket, tls: TLSSession? = nil) {
    self.socket = socket
    self.tls = tls
  }

  /// As `Socket.receive`.
  @inline(__always)
  public func receive(into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int? {
    if let tls { return try unsafe tls.receive(into: buffer) }
    return try unsafe socket.receive(into: buffer)
  }

  /// As `receive`, into new memory: nil when nothing has arrived, empty when the peer has closed.
  public func receive(limit: Int) throws(Errno) -> [UInt8]? {
    try unsafe Socket.collect(limit: limit) { (buffer) throws(Errno) in
      try unsafe receive(into: buffer)
    }
  }

  /// As `Socket.send`.
  @inline(__always)
  public func send(_ buffer: UnsafeRawBufferPointer, more: Bool = false) throws(Errno) -> Int? {
    if let tls { return try unsafe tls.send(buffer) }
    return try unsafe socket.send(buffer, more: more)
  }

  /// More has arrived than was received, and the poller will not say so.
  @inline(__always)
  public var hasBufferedInput: Bool { tls?.hasBufferedInput ?? false }

  /// Ends both directions.
  public func shutDown() {
    tls?.sayGoodbye()
    socket.shutDown()
  }
}
