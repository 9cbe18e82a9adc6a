import Journal
import SystemIO

/// The protected site's end of a connection: sends frames and reads the short ones that come back.
///
/// One thread uses it; `shutDown` may come from another and makes every call throw. A call waits
/// for the peer for at most `stallSeconds`.
final class LinkChannel: @unchecked Sendable {
  /// A peer that takes nothing for so long is given up; the link then connects again.
  static let stallMilliseconds: Int32 = 15_000

  let socket: Socket
  private var inbox: [UInt8] = []
  /// True when a send had to wait since it was last cleared: the link is the bottleneck.
  var hasWaited = false
  fileprivate(set) var sentByteCount: UInt64 = 0

  init(connectingTo endpoint: SocketEndpoint) throws(LinkError) {
    do throws(Errno) {
      socket = try Socket.connect(to: endpoint)
      socket.keepAlive(.sending)
      try socket.setNonblocking()
    } catch { throw .network("cannot connect to \(endpoint): \(error)") }
  }

  func shutDown() { socket.shutDown() }

  // MARK: Sending

  func send(_ frame: LinkFrame, _ body: [UInt8] = []) throws(LinkError) {
    var frame = frame
    frame.bodyByteCount = body.count
    let bytes = frame.encoded + body
    var failure: LinkError?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(LinkError) { try unsafe sendAll(buffer, more: false) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// A frame whose body is two pieces: a prefix and `payload`.
  func send(
    _ frame: LinkFrame, _ prefix: [UInt8], payload: UnsafeRawBufferPointer
  ) throws(LinkError) {
    var frame = frame
    frame.bodyByteCount = prefix.count + payload.count
    let bytes = frame.encoded + prefix
    var failure: LinkError?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(LinkError) { try unsafe sendAll(buffer, more: true) } catch { failure = error }
    }
    if let failure { throw failure }
    try unsafe sendAll(payload, more: false)
  }

  /// A frame whose body is a range of a file.
  func send(_ frame: LinkFrame, file: File, at offset: UInt64, count: Int) throws(LinkError) {
    var frame = frame
    frame.bodyByteCount = count
    let header = frame.encoded
    var failure: LinkError?
    unsafe header.withUnsafeBytes { buffer in
      do throws(LinkError) { try unsafe sendAll(buffer, more: true) } catch { failure = error }
    }
    if let failure { throw failure }
    var done = 0
    while done < count {
      do throws(Errno) {
        let sent = try socket.sendFile(file, at: offset + UInt64(done), count: count - done)
        if let sent {
          done += sent
          sentByteCount += UInt64(sent)
          continue
        }
      } catch { throw .network("sending to the peer: \(error)") }
      try waitWritable()
    }
  }

  private func sendAll(_ bytes: UnsafeRawBufferPointer, more: Bool) throws(LinkError) {
    var done = 0
    while done < bytes.count {
      let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
      do throws(Errno) {
        if let sent = try unsafe socket.send(rest, more: more) {
          done += sent
          sentByteCount += UInt64(sent)
          continue
        }
      } catch { throw .network("sending to the peer: \(error)") }
      try waitWritable()
    }
  }

  private func waitWritable() throws(LinkError) {
    hasWaited = true
    guard socket.waitWritable(timeoutMilliseconds: Self.stallMilliseconds) else {
      throw .network("the peer took nothing for \(Self.stallMilliseconds / 1000) s")
    }
  }

  // MARK: Receiving

  /// The next frame from the peer; nil when none is complete within the time.
  func receive(timeoutMilliseconds: Int32) throws(LinkError) -> (LinkFrame, [UInt8])? {
    while true {
      if let message = try takeMessage() { return message }
      guard socket.waitReadable(timeoutMilliseconds: timeoutMilliseconds) else { return nil }
      try fillInbox()
    }
  }

  private func takeMessage() throws(LinkError) -> (LinkFrame, [UInt8])? {
    guard inbox.count >= LinkFrame.byteCount else { return nil }
    let parsed = unsafe inbox.withUnsafeBytes { buffer in
      unsafe buffer.baseAddress.flatMap { unsafe LinkFrame(parsing: $0) }
    }
    guard let frame = parsed else { throw .protocolViolation("not a frame") }
    // Before its body is waited for: what only this side may send can be long.
    guard frame.kind.isFromRecoverySite else {
      throw .protocolViolation("unexpected \(frame.kind)")
    }
    let end = LinkFrame.byteCount + frame.bodyByteCount
    guard inbox.count >= end else { return nil }
    let body = Array(inbox[LinkFrame.byteCount..<end])
    inbox.removeFirst(end)
    return (frame, body)
  }

  private func fillInbox() throws(LinkError) {
    do throws(Errno) {
      guard let piece = try socket.receive(limit: 4096) else { return }
      if !piece.isEmpty {
        inbox += piece
        return
      }
    } catch { throw .network("receiving from the peer: \(error)") }
    throw .network("the peer closed the connection")
  }
}

extension LinkChannel {
  /// Bytes sent since the last call.
  func takeSentByteCount() -> UInt64 {
    defer { sentByteCount = 0 }
    return sentByteCount
  }
}
