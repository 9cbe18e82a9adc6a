import COpenSSL

/// SHA-256 of a public key, as its certificate has it (SubjectPublicKeyInfo, RFC 5280): what a peer
/// is known by, whatever else its certificate says.
public struct KeyFingerprint: Hashable, Sendable, CustomStringConvertible {
  public static let byteCount = 32

  public let bytes: [UInt8]

  /// Nil: another number of bytes.
  public init?(_ bytes: [UInt8]) {
    guard bytes.count == Self.byteCount else { return nil }
    self.bytes = bytes
  }

  /// As `description` writes it.
  public init?(parsing text: some StringProtocol) {
    let digits = Array(text.utf8)
    guard digits.count == 2 * Self.byteCount else { return nil }
    var bytes: [UInt8] = []
    for place in stride(from: 0, to: digits.count, by: 2) {
      guard let byte = UInt8(String(decoding: digits[place..<place + 2], as: UTF8.self), radix: 16)
      else { return nil }
      bytes.append(byte)
    }
    self.bytes = bytes
  }

  init?(of certificate: OpaquePointer) {
    var encoded: UnsafeMutablePointer<UInt8>?
    let count = unsafe i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &encoded)
    guard count > 0, let start = unsafe encoded else { return nil }
    defer { unsafe CRYPTO_free(start, "", 0) }
    var bytes = [UInt8](repeating: 0, count: Self.byteCount)
    guard
      unsafe EVP_Digest(start, Int(count), &bytes, nil, EVP_sha256(), nil) == 1
    else { return nil }
    self.bytes = bytes
  }

  /// 64 hexadecimal digits.
  public var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
