/// What an operator carries from one site to another so that they know each other's keys: the
/// beginning of the fingerprint of the one's key, by which the other knows whom it talks to, and a
/// secret, by which the one knows the other. Good once, for some minutes.
///
/// 42 characters in groups of six: Crockford's base 32 (https://www.crockford.com/base32.html), in
/// which nothing is mistaken for anything else.
public struct PairingCode: Equatable, Sendable, CustomStringConvertible {
  public static let keyByteCount = 16
  public static let secretByteCount = 10
  private static let groupCount = 6
  private static let alphabet = Array("0123456789ABCDEFGHJKMNPQRSTVWXYZ".utf8)

  /// The first bytes of the fingerprint.
  public let key: [UInt8]
  public let secret: [UInt8]

  public init(for fingerprint: KeyFingerprint, secret: [UInt8]) {
    precondition(secret.count == Self.secretByteCount)
    key = Array(fingerprint.bytes.prefix(Self.keyByteCount))
    self.secret = secret
  }

  /// Nil: it is no such code. Lower case, spaces and hyphens do not matter.
  public init?(parsing text: String) {
    var bytes: [UInt8] = []
    var (bits, bitCount): (UInt32, UInt32) = (0, 0)
    for letter in text.uppercased().utf8 where letter != UInt8(ascii: "-") {
      if letter == UInt8(ascii: " ") { continue }
      guard let value = Self.value(of: letter) else { return nil }
      bits = bits << 5 | value
      bitCount += 5
      if bitCount >= 8 {
        bitCount -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> bitCount))
      }
    }
    guard bytes.count == Self.keyByteCount + Self.secretByteCount, bitCount < 5,
      bits & (1 << bitCount - 1) == 0
    else { return nil }
    key = Array(bytes.prefix(Self.keyByteCount))
    secret = Array(bytes.dropFirst(Self.keyByteCount))
  }

  public func isOf(_ fingerprint: KeyFingerprint) -> Bool { fingerprint.bytes.starts(with: key) }

  public var description: String {
    var letters: [UInt8] = []
    var (bits, bitCount): (UInt32, UInt32) = (0, 0)
    func put(_ value: UInt32) {
      if letters.count % (Self.groupCount + 1) == Self.groupCount {
        letters.append(UInt8(ascii: "-"))
      }
      letters.append(Self.alphabet[Int(value & 31)])
    }
    for byte in key + secret {
      bits = bits << 8 | UInt32(byte)
      bitCount += 8
      while bitCount >= 5 {
        bitCount -= 5
        put(bits >> bitCount)
      }
    }
    if bitCount > 0 { put(bits << (5 - bitCount)) }
    return String(decoding: letters, as: UTF8.self)
  }

  private static func value(of letter: UInt8) -> UInt32? {
    switch letter {
    case UInt8(ascii: "O"): 0
    case UInt8(ascii: "I"), UInt8(ascii: "L"): 1
    default: alphabet.firstIndex(of: letter).map(UInt32.init)
    }
  }
}
