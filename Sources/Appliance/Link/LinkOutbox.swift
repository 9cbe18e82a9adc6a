import Replication
import SystemIO
import TLS

/// Messages on their way to a peer, in order: bytes, memory of the link that sends, and ranges of
/// files. Confined to its loop's thread.
struct LinkOutbox {
  enum Outcome {
    case drained
    /// The peer must take something first.
    case blocked
    /// The turn's share was sent.
    case paused
  }

  private static let stageByteCount = 256 << 10

  private var parcels: [LinkParcel] = []
  /// The one that is being sent, and how much of it was.
  private var index = 0
  private var sentOfHead = 0
  private var sentOfBody = 0
  /// Of a file, what TLS encrypts next, and which part of the body that is.
  private var stage: [UInt8] = []
  private var staged = 0..<0
  /// Since it was empty.
  private(set) var byteCount: UInt64 = 0
  private(set) var hasWaited = false

  var isEmpty: Bool { parcels.isEmpty }

  mutating func append(_ parcel: LinkParcel) { parcels.append(parcel) }

  mutating func removeAll() {
    parcels.removeAll(keepingCapacity: true)
    (index, sentOfHead, sentOfBody) = (0, 0, 0)
    staged = 0..<0
    (byteCount, hasWaited) = (0, false)
  }

  /// Sends what the transport takes, but pauses after `limit` bytes (above 0) or a little more.
  mutating func send(on transport: Transport, limit: Int) throws(Errno) -> Outcome {
    let end = byteCount + UInt64(limit)
    while index < parcels.count {
      if byteCount >= end { return .paused }
      guard let count = try sendPart(parcels[index], transport, limit) else {
        hasWaited = true
        return .blocked
      }
      byteCount += UInt64(count)
      let parcel = parcels[index]
      precondition(sentOfHead <= parcel.head.count && sentOfBody <= parcel.body.byteCount)
      if sentOfHead == parcel.head.count, sentOfBody == parcel.body.byteCount {
        index += 1
        (sentOfHead, sentOfBody) = (0, 0)
        staged = 0..<0
      }
    }
    return .drained
  }

  private mutating func sendPart(
    _ parcel: LinkParcel, _ transport: Transport, _ limit: Int
  ) throws(Errno) -> Int? {
    if sentOfHead < parcel.head.count {
      let rest = unsafe parcel.head.withUnsafeBytes { head in
        // What belongs together leaves together.
        Result { () throws(Errno) in
          try unsafe transport.send(
            UnsafeRawBufferPointer(rebasing: head[sentOfHead...]),
            more: parcel.body.byteCount > 0 || index + 1 < parcels.count)
        }
      }
      let sent = try rest.get()
      sentOfHead += sent ?? 0
      return sent
    }
    let sent: Int?
    switch parcel.body {
    case .none: return 0
    case .memory(let bytes):
      sent = try unsafe transport.send(UnsafeRawBufferPointer(rebasing: bytes[sentOfBody...]))
    case .file(let file, let offset, let byteCount) where transport.tls != nil:
      sent = try sendEncrypted(file, offset, byteCount, transport)
    case .file(let file, let offset, let byteCount):
      sent = try transport.socket.sendFile(
        file, at: offset + UInt64(sentOfBody), count: min(byteCount - sentOfBody, limit))
    }
    sentOfBody += sent ?? 0
    return sent
  }

  /// What could not be sent is offered again as it was, as TLS asks for.
  private mutating func sendEncrypted(
    _ file: File, _ offset: UInt64, _ byteCount: Int, _ transport: Transport
  ) throws(Errno) -> Int? {
    if !staged.contains(sentOfBody) { try stage(file, offset, byteCount) }
    let rest = sentOfBody - staged.lowerBound..<staged.count
    let result = unsafe stage.withUnsafeBytes { bytes in
      Result { () throws(Errno) in
        try unsafe transport.send(UnsafeRawBufferPointer(rebasing: bytes[rest]))
      }
    }
    return try result.get()
  }

  private mutating func stage(_ file: File, _ offset: UInt64, _ byteCount: Int) throws(Errno) {
    let next = sentOfBody..<min(byteCount, sentOfBody + Self.stageByteCount)
    if stage.isEmpty { stage = [UInt8](repeating: 0, count: Self.stageByteCount) }
    let read = unsafe stage.withUnsafeMutableBytes { buffer in
      Result { () throws(Errno) in
        try unsafe file.read(
          into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<next.count]),
          at: offset + UInt64(next.lowerBound))
      }
    }
    // It was there when it was to be sent.
    guard try read.get() == next.count else { throw .io }
    staged = next
  }
}
