import BlockModel

/// What one message on the link is.
public enum LinkFrameKind: UInt16, Sendable {
  // From the protected site.
  case hello = 1
  /// Stream from the named position on.
  case begin = 2
  /// The receiver's records after the named one are void; it answers with another welcome.
  case cut = 3
  /// The records after the named one follow, beside what is left of a full copy: the receiver's
  /// journal begins anew there.
  case baselineBegin = 4
  case baselineData = 5
  case baselineZeros = 6
  case baselineEnd = 7
  /// A segment's 4 KiB header.
  case segment = 8
  /// Bytes of the segment, whole records.
  case records = 9
  /// As `records`, LZ4 block format, with the plain length in front (32 bits).
  case compressedRecords = 10
  /// Nothing earlier than the timestamp is missing after the last record sent.
  case heartbeat = 11
  /// Everything up to the record is durable at the protected site.
  case durable = 12
  /// The sites have diverged: nothing is sent until an operator decides. The words for it follow.
  case diverged = 13
  /// A full copy begins or goes on, and has the number in the argument: the receiver forgets its
  /// journal.
  case copyBegin = 14
  /// The receiver answers `baselineStored` when the pieces that came before are durable.
  case baselineConfirm = 15
  /// As `baselineData`, the bytes in LZ4 block format.
  case compressedBaseline = 16
  /// What the receiver lacked before the position in the body is in the order, by the record in the
  /// argument.
  case restamped = 17
  /// The receiver's disks are whole with this record. Its time follows.
  case reconciled = 18
  /// The sender acknowledges nothing any more, and the receiver, which has all up to the record
  /// durably, is to own the group.
  case takeOver = 19
  /// Ranges of the disks that records have changed which were dropped for the receiver.
  case owed = 20
  /// So many ranges were named, which are all; the receiver goes on behind the record in the
  /// argument, which comes by another connection.
  case jump = 21
  /// Ranges that a full copy is about to bring: the receiver is to say what it has of them. So many
  /// as the argument says are still to be named.
  case compare = 22
  /// A piece of a full copy that is not sent: the receiver has said that it has the same.
  case baselineAlike = 23

  /// A site that is not known yet introduces itself; the only message of its connection.
  case pair = 31

  // From the recovery site.
  case welcome = 32
  case refused = 33
  /// How far the receiver has come.
  case progress = 34
  /// The receiver is there, though it has nothing to report: it is idle, or busy with something
  /// long. About once a second.
  case alive = 35
  /// What came before the `baselineConfirm` of this number is durable.
  case baselineStored = 36
  /// Ranges of the disks that the receiver has otherwise, though no record that comes says so.
  case lacking = 37
  /// So many ranges were named, which are all.
  case lackingEnd = 38
  /// What the receiver has of them, or of what the sender compares, as digests of their blocks from
  /// a position on.
  case digests = 39

  /// The receiver owns the group itself, by a higher term: a `Rival` follows.
  case outranked = 40

  /// Whoever has introduced itself is known now, by the key that it has proved.
  case paired = 63

  public var isFromRecoverySite: Bool { rawValue >= Self.welcome.rawValue }
}

/// The 16 bytes in front of each message; integers big-endian.
///
/// | bytes | field |
/// |---|---|
/// | 0–1 | kind |
/// | 2–3 | zero |
/// | 4–7 | length of the body in bytes |
/// | 8–15 | argument: for records, segment number and position in it (32 bits each) |
public struct LinkFrame: Equatable, Sendable {
  public static let byteCount = 16
  /// The longest body in bytes: records come a whole segment at a time, or a chunk when they are
  /// compressed; the rest are short messages.
  public static func bodyLimit(of kind: LinkFrameKind) -> Int {
    switch kind {
    case .records: 1 << 30
    case .compressedRecords, .baselineData, .compressedBaseline: 2 << 20
    default: 64 << 10
    }
  }

  public var kind: LinkFrameKind
  public var bodyByteCount: Int
  public var argument: UInt64

  public init(_ kind: LinkFrameKind, bodyByteCount: Int = 0, argument: UInt64 = 0) {
    self.kind = kind
    self.bodyByteCount = bodyByteCount
    self.argument = argument
  }

  public var encoded: [UInt8] {
    var encoder = WireEncoder()
    encoder.put(kind.rawValue)
    encoder.put(UInt16(0))
    encoder.put(UInt32(bodyByteCount))
    encoder.put(argument)
    return encoder.bytes
  }

  /// Nil when the 16 bytes are no frame or the body is longer than its kind may be.
  public init?(parsing bytes: UnsafeRawPointer) {
    let raw = unsafe UInt16(bigEndian: bytes.loadUnaligned(as: UInt16.self))
    guard let kind = LinkFrameKind(rawValue: raw) else { return nil }
    self.kind = kind
    bodyByteCount = Int(
      unsafe UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
    argument = unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    guard bodyByteCount <= Self.bodyLimit(of: kind) else { return nil }
  }
}

/// A place in the stream of segments: what both sites number alike.
public struct StreamPosition: Equatable, Comparable, Sendable {
  public var segment: UInt32
  public var offset: UInt32

  public init(segment: UInt32, offset: UInt32) {
    self.segment = segment
    self.offset = offset
  }

  public init(argument: UInt64) {
    segment = UInt32(truncatingIfNeeded: argument >> 32)
    offset = UInt32(truncatingIfNeeded: argument)
  }

  public var argument: UInt64 { UInt64(segment) << 32 | UInt64(offset) }

  public static func < (a: Self, b: Self) -> Bool { a.argument < b.argument }
}
