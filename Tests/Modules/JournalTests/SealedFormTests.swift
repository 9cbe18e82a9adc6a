import Journal
import Testing

/// Proves that nothing but what was sealed opens, and that another version is told from damage.
@Suite struct SealedFormTests {
  private static let form = SealedForm(magic: 0x5441_504C_5445_5354, version: 7)

  /// The bytes of docs/branch-format.md, which earlier programs wrote.
  @Test func `the form is magic, version, checksum and body`() throws {
    let sealed = Self.form.seal(Array("123456789".utf8))
    let head: [UInt8] = Array("TAPLTEST".utf8) + [0, 0, 0, 7, 0xE3, 0x06, 0x92, 0x83]
    #expect(sealed == head + Array("123456789".utf8))
    #expect(try Self.form.open(sealed) == Array("123456789".utf8))
    #expect(try Self.form.open(Self.form.seal([])) == [])
  }

  @Test func `no bit may differ, and nothing be missing or added`() {
    let sealed = Self.form.seal([1, 2, 3])
    for bit in 0..<sealed.count * 8 where !(64..<96).contains(bit) {
      var bytes = sealed
      bytes[bit / 8] ^= 1 << (bit % 8)
      #expect(throws: SealedForm.Unreadable.damaged) { try Self.form.open(bytes) }
    }
    for count in 0..<sealed.count {
      #expect(throws: SealedForm.Unreadable.damaged) {
        try Self.form.open(Array(sealed.prefix(count)))
      }
    }
    #expect(throws: SealedForm.Unreadable.damaged) { try Self.form.open(sealed + [0]) }
  }

  @Test func `another version is no damage`() {
    let other = SealedForm(magic: 0x5441_504C_5445_5354, version: 8).seal([1])
    #expect(throws: SealedForm.Unreadable.otherVersion(8)) { try Self.form.open(other) }
  }
}
