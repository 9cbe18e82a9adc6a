import SystemIO

/// One message to the peer: the bytes that it begins with, and what follows them, which is not
/// copied.
@safe public struct LinkParcel {
  @safe public enum Body {
    case none
    /// Of the link that gave the parcel, which leaves it as it is until everything is sent.
    case memory(UnsafeRawBufferPointer)
    /// Of a segment, which that link keeps from being recycled until everything is sent.
    case file(File, offset: UInt64, byteCount: Int)

    public var byteCount: Int {
      switch self {
      case .none: 0
      case .memory(let bytes): bytes.count
      case .file(_, _, let count): count
      }
    }
  }

  public let head: [UInt8]
  public let body: Body

  /// - Parameter prefix: what of the frame's body comes before the rest of it.
  init(_ frame: LinkFrame, _ prefix: [UInt8] = [], _ body: Body = .none) {
    var frame = frame
    frame.bodyByteCount = prefix.count + body.byteCount
    precondition(
      frame.bodyByteCount <= LinkFrame.bodyLimit(of: frame.kind), "the peer would refuse it")
    head = frame.encoded + prefix
    self.body = body
  }
}

/// What the sending end of a link wants to be sent, and to be read from the disks.
struct LinkOutput {
  private(set) var parcels: [LinkParcel] = []
  private(set) var work: LinkWork?

  var isEmpty: Bool { parcels.isEmpty && work == nil }

  mutating func put(
    _ frame: LinkFrame, _ prefix: [UInt8] = [], _ body: LinkParcel.Body = .none
  ) {
    parcels.append(LinkParcel(frame, prefix, body))
  }

  /// One at a time: the link goes on when it has ended.
  mutating func ask(_ work: LinkWork) { self.work = work }

  mutating func removeAll() {
    parcels.removeAll(keepingCapacity: true)
    work = nil
  }
}
