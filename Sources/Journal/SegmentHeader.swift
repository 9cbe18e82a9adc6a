import BlockModel
import SystemIO

/// The first 4 KiB of a segment file; all integers big-endian.
///
/// | bytes | field |
/// |---|---|
/// | 0–7 | `TAPLSEG1` |
/// | 8–11 | format version, 2 |
/// | 12–15 | size of the segment file, bytes |
/// | 16–31 | group identifier |
/// | 32–39 | segment number |
/// | 40–47 | sequence number of the first record |
/// | 48–55 | timestamp of the first record |
/// | 56–119 | incarnation: identity, parent, term, epoch, and number and timestamp of the record
///   after which it begins |
/// | 120–4091 | zero |
/// | 4092–4095 | CRC-32C (standard form) of bytes 0–4091 |
public struct SegmentHeader: Equatable, Sendable {
  public static let byteCount = 4096
  public static let magic: UInt64 = 0x5441_504C_5345_4731  // "TAPLSEG1"
  public static let version: UInt32 = 2

  public let identity: SegmentIdentity
  public let segmentByteCount: UInt32
  public let firstSequence: SequenceNumber
  public let firstTimestamp: Timestamp

  public init(
    identity: SegmentIdentity, segmentByteCount: UInt32, firstSequence: SequenceNumber,
    firstTimestamp: Timestamp
  ) {
    self.identity = identity
    self.segmentByteCount = segmentByteCount
    self.firstSequence = firstSequence
    self.firstTimestamp = firstTimestamp
  }

  public var number: UInt32 { identity.number }
  public var incarnation: Incarnation { identity.incarnation }
  public var epoch: UInt64 { identity.epoch }

  public func encoded() -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(Self.magic)
    encoder.put(Self.version)
    encoder.put(segmentByteCount)
    encoder.put(identity.group.high)
    encoder.put(identity.group.low)
    encoder.put(UInt64(identity.number))
    encoder.put(firstSequence.rawValue)
    encoder.put(firstTimestamp.rawValue)
    encoder.put(identity.incarnation)
    encoder.pad(to: Self.byteCount - 4)
    unsafe encoder.put(encoder.bytes.withUnsafeBytes { unsafe CRC32C.standard($0) })
    return encoder.bytes
  }

  public enum Refusal: Error, Equatable, Sendable {
    /// Never used, or torn while it was being replaced: nothing durable is in the segment. Also
    /// what verifies and cannot be: segments and records are numbered from 1, no record is of
    /// 1970-01-01T00:00:00Z, and none is of before its incarnation.
    case blank
    case otherVersion(UInt32)
  }

  public init(decoding bytes: [UInt8]) throws(Refusal) {
    guard bytes.count == Self.byteCount else { throw .blank }
    var decoder = WireDecoder(bytes)
    do {
      guard try decoder.take(UInt64.self) == Self.magic else { throw Refusal.blank }
      let version = try decoder.take(UInt32.self)
      let sum = unsafe bytes.withUnsafeBytes {
        unsafe CRC32C.standard(UnsafeRawBufferPointer(rebasing: $0[..<(Self.byteCount - 4)]))
      }
      var tail = WireDecoder(Array(bytes[(Self.byteCount - 4)...]))
      guard try tail.take(UInt32.self) == sum else { throw Refusal.blank }
      guard version == Self.version else { throw Refusal.otherVersion(version) }
      segmentByteCount = try decoder.take()
      let group = GroupIdentifier(high: try decoder.take(), low: try decoder.take())
      guard let number = UInt32(exactly: try decoder.take(UInt64.self)) else {
        throw Refusal.blank
      }
      firstSequence = SequenceNumber(try decoder.take())
      firstTimestamp = Timestamp(rawValue: try decoder.take())
      identity = SegmentIdentity(
        group: group, incarnation: try decoder.takeIncarnation(), number: number)
      guard number > 0, number < .max, firstSequence > .none, firstTimestamp > .zero,
        firstSequence > identity.incarnation.after.sequence
      else {
        throw Refusal.blank
      }
    } catch let refusal as Refusal {
      throw refusal
    } catch {
      throw .blank
    }
  }
}
