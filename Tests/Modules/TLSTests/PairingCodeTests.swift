import Testing

@testable import TLS

/// Proves that a code survives being read out and typed, and that nothing else is taken for one.
@Suite struct PairingCodeTests {
  private static let secret: [UInt8] = [0, 255, 1, 254, 127, 128, 42, 0, 9, 1]

  private static func code() throws -> PairingCode {
    let key = try #require(KeyFingerprint((0..<32).map { $0 &* 9 }))
    return PairingCode(for: key, secret: secret)
  }

  @Test func `a code is the same however it is typed`() throws {
    let code = try Self.code()
    let text = "\(code)"
    let words = text.split(separator: "-")
    let typed = [
      text, text.lowercased(), words.joined(), words.joined(separator: " "),
      text.replacing("0", with: "o").replacing("1", with: "l"),
    ]
    for typed in typed { #expect(PairingCode(parsing: typed) == code, "\(typed)") }
    #expect(code.secret == Self.secret)
  }

  @Test func `it tells one key from another`() throws {
    let code = try Self.code()
    let key = try #require(KeyFingerprint((0..<32).map { $0 &* 9 }))
    var other = key.bytes
    other[PairingCode.keyByteCount - 1] ^= 1
    #expect(code.isOf(key))
    #expect(try !code.isOf(#require(KeyFingerprint(other))))
  }

  @Test func `what is too short, too long or of other letters is none`() throws {
    let text = "\(try Self.code())"
    #expect(text.count == 48)
    for wrong in ["", String(text.dropLast()), text + "0", "U" + text.dropFirst(), "é" + text] {
      #expect(PairingCode(parsing: wrong) == nil, "\(wrong)")
    }
  }
}
