/// Bytes from the peer, and the messages in them: short ones, at the sending end.
public struct LinkInbox {
  private var bytes: [UInt8] = []

  public init() {}

  public mutating func append(_ piece: [UInt8]) { bytes += piece }

  public mutating func removeAll() { bytes.removeAll() }

  /// The next message; nil when none is whole yet.
  public mutating func next() throws(LinkError) -> (frame: LinkFrame, body: [UInt8])? {
    guard bytes.count >= LinkFrame.byteCount else { return nil }
    let parsed = unsafe bytes.withUnsafeBytes { buffer in
      unsafe buffer.baseAddress.flatMap { unsafe LinkFrame(parsing: $0) }
    }
    guard let frame = parsed else { throw .protocolViolation("not a frame") }
    // Before its body is waited for: what only this side may send can be long.
    guard frame.kind.isFromRecoverySite else {
      throw .protocolViolation("unexpected \(frame.kind)")
    }
    let end = LinkFrame.byteCount + frame.bodyByteCount
    guard bytes.count >= end else { return nil }
    let body = Array(bytes[LinkFrame.byteCount..<end])
    bytes.removeFirst(end)
    return (frame, body)
  }
}
