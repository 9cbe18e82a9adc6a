import SystemIO

/// The unix socket on which one process hands a site over to another. Calls block, each until its
/// deadline at most. One thread at a time uses it.
public final class HandoverChannel: Sendable {
  public typealias Taker = HandoverTaker<Socket, File>

  private let socket: Socket

  /// - Parameter socket: connected, of the unix family; it becomes nonblocking.
  public init(_ socket: Socket) throws(HandoverError) {
    self.socket = socket
    do throws(Errno) { try socket.setNonblocking() } catch { throw .system(error) }
  }

  /// The user of the other process.
  public var peerUser: UInt32? { socket.peerUser?.user }

  /// The time after which a call that has so long must have ended.
  public static func deadline(milliseconds: UInt64) -> UInt64 {
    SystemClock.monotonicNanoseconds() + milliseconds * 1_000_000
  }

  /// - Parameter descriptor: of what the message carries. The caller keeps its own.
  public func send(
    _ message: HandoverMessage, with descriptor: Int32? = nil, deadline: UInt64
  ) throws(HandoverError) {
    precondition((message.attachment == .none) == (descriptor == nil))
    let bytes = message.encoded()
    var done = 0
    while done < bytes.count {
      let attached = done == 0 ? descriptor : nil
      let sent = unsafe bytes.withUnsafeBytes { buffer -> Result<Int?, Errno> in
        do throws(Errno) {
          return .success(
            try unsafe socket.send(
              UnsafeRawBufferPointer(rebasing: buffer[done...]), with: attached))
        } catch { return .failure(error) }
      }
      switch sent {
      case .success(let count?): done += count
      case .success(nil): try wait(until: deadline) { socket.waitWritable(timeoutMilliseconds: $0) }
      case .failure(.brokenPipe), .failure(.connectionReset): throw .gone
      case .failure(let error): throw .system(error)
      }
    }
  }

  public func receive(
    deadline: UInt64
  ) throws(HandoverError) -> (message: HandoverMessage, attachment: Taker.Attachment) {
    var descriptor: Int32?
    let bytes = try receive(HandoverMessage.headerBytes, &descriptor, deadline)
    let owned = descriptor.map { Descriptor(owning: $0) }
    let header = try HandoverMessage.Header(decoding: bytes)
    var none: Int32?
    let body = try receive(header.bodyBytes, &none, deadline)
    let message = try HandoverMessage(header.kind, body: body)
    return (message, try Self.attachment(consume owned, to: message))
  }

  private static func attachment(
    _ descriptor: consuming Descriptor?, to message: HandoverMessage
  ) throws(HandoverError) -> Taker.Attachment {
    guard let descriptor = consume descriptor else {
      if message.attachment == .none { return .none }
      throw .protocolViolation("a message without what should come with it")
    }
    switch message {
    case .listener:
      let socket = Socket(adopting: descriptor)
      guard socket.isListening else { throw .protocolViolation("a listener that does not listen") }
      return .socket(socket)
    case .connection:
      let socket = Socket(adopting: descriptor)
      guard socket.isConnection else { throw .protocolViolation("a connection that is none") }
      return .socket(socket)
    case .file(let path):
      return .file(File(adopting: descriptor, path: path))
    default:
      throw .protocolViolation("a message with what should not come with it")
    }
  }

  /// Memory is set aside as bytes arrive, not for what was announced.
  private func receive(
    _ count: Int, _ descriptor: inout Int32?, _ deadline: UInt64
  ) throws(HandoverError) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      let piece = PageBuffer(byteCount: min(count - bytes.count, Self.pieceBytes))
      let room = unsafe UnsafeMutableRawBufferPointer(
        start: piece.base, count: min(count - bytes.count, Self.pieceBytes))
      let received: (count: Int, descriptor: Int32?)?
      do throws(Errno) { received = try unsafe socket.receiveWithDescriptor(into: room) } catch {
        throw error == .connectionReset ? .gone : .system(error)
      }
      guard let received else {
        try wait(until: deadline) { socket.waitReadable(timeoutMilliseconds: $0) }
        continue
      }
      if let arrived = received.descriptor {
        if descriptor != nil { _ = Descriptor(owning: arrived) } else { descriptor = arrived }
      }
      if received.count == 0 { throw .gone }
      unsafe bytes.append(contentsOf: room[..<received.count])
    }
    return bytes
  }

  private static let pieceBytes = 256 << 10

  /// Whether a message waits, or the other side is gone: both end a wait for something else.
  public var hasNews: Bool { socket.waitReadable(timeoutMilliseconds: 0) }

  private func wait(
    until deadline: UInt64, _ wait: (Int32) -> Bool
  ) throws(HandoverError) {
    let now = SystemClock.monotonicNanoseconds()
    guard now < deadline else { throw .timedOut }
    let left = (deadline - now) / 1_000_000 + 1
    // A wait may be cut short by a signal: whoever called looks again.
    _ = wait(Int32(min(left, UInt64(Int32.max))))
  }
}
