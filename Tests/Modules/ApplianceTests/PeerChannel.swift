import Replication
import SystemIO

/// A protected site's connection as a test holds it: what it says goes out at once, what it waits
/// for blocks.
final class PeerChannel {
  private let socket: Socket
  private var inbox = LinkInbox()

  init(connectingTo endpoint: SocketAddress) throws(Errno) {
    socket = try Socket.connect(to: endpoint)
  }

  func shutDown() { socket.shutDown() }

  func send(_ frame: LinkFrame, _ body: [UInt8] = []) throws(Errno) {
    var frame = frame
    frame.bodyByteCount = body.count
    try send(frame.encoded + body)
  }

  /// Whole frames.
  func send(_ frames: [UInt8]) throws(Errno) {
    let result = unsafe frames.withUnsafeBytes { bytes in
      Result { () throws(Errno) in try unsafe socket.sendAll(bytes) }
    }
    try result.get()
  }

  /// The next frame; nil when none is complete within the time. Throws when the connection ends.
  func receive(timeoutMilliseconds: Int32) throws -> (LinkFrame, [UInt8])? {
    while true {
      if let (frame, body) = try inbox.next() { return (frame, body) }
      guard socket.waitReadable(timeoutMilliseconds: timeoutMilliseconds) else { return nil }
      guard let piece = try socket.receive(limit: 4096), !piece.isEmpty else {
        throw LinkError.network("the peer closed the connection")
      }
      inbox.append(piece)
    }
  }
}
