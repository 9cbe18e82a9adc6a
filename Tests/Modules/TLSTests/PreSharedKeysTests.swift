import Testing

@testable import TLS

/// Proves that a key file is read as the tools of others write it, and that a wrong line is named.
@Suite struct PreSharedKeysTests {
  private static let key = String(repeating: "0aF1", count: 8)

  @Test func `names are found with their keys`() throws {
    let text = "# made by psktool\nalice:\(Self.key)\r\n\nhost:1:\(Self.key.lowercased())00\n"
    let keys = try PreSharedKeys(parsing: text, file: "k")
    #expect(keys.key(of: "alice") == [UInt8](repeating: 0, count: 8).flatMap { _ in [0x0A, 0xF1] })
    #expect(keys.key(of: "host:1")?.count == 17)
    #expect(keys.key(of: "bob") == nil)
  }

  @Test(arguments: [
    ("", "no key"), ("alice", "k:1:"), ("alice:12", "16 to 256"), ("\n:\(key)", "k:2:"),
    ("alice:\(key)0", "hexadecimal"), ("alice:zz\(key)", "hexadecimal"),
    ("a:\(key)\na:\(key)", "second key"),
  ])
  func `a wrong file is refused with the line`(text: String, reason: String) {
    let error = #expect(throws: TLSError.self) { try PreSharedKeys(parsing: text, file: "k") }
    #expect(error.map { $0.description.contains(reason) } == true, "\(error as Any)")
  }
}
