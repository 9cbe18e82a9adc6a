import SystemIO

/// Names one consistency group for ever: 128 random bits, made when the protected site creates it.
public struct GroupIdentifier: Hashable, Sendable, CustomStringConvertible {
  public let high: UInt64
  public let low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  public static func random(using generator: inout some RandomNumberGenerator) -> GroupIdentifier {
    GroupIdentifier(high: generator.next(), low: generator.next())
  }

  /// 32 hexadecimal digits.
  public var description: String {
    [high, low].map { word in
      let digits = String(word, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }
}

/// What a segment is, and nothing about where it lies: the same at every site.
///
/// Every checksum of the segment's records starts from it, so bytes that an earlier use of the file
/// left behind never verify, and a record sealed at the protected site verifies at the other.
public struct SegmentIdentity: Hashable, Sendable {
  public let group: GroupIdentifier
  public let incarnation: Incarnation
  public let number: UInt32

  public init(group: GroupIdentifier, incarnation: Incarnation, number: UInt32) {
    self.group = group
    self.incarnation = incarnation
    self.number = number
  }

  public var epoch: UInt64 { incarnation.epoch }

  /// CRC-32C (raw form, from all ones) of group, incarnation and number, big-endian, 8 bytes each
  /// word.
  public var checksumSeed: UInt32 {
    let identifier = incarnation.identifier
    var words = (
      group.high.bigEndian, group.low.bigEndian, identifier.high.bigEndian,
      identifier.low.bigEndian, UInt64(number).bigEndian
    )
    return unsafe withUnsafeBytes(of: &words) { unsafe CRC32C.extend(.max, $0) }
  }
}
