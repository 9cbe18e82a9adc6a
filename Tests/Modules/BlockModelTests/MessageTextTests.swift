import BlockModel
import Testing

/// Proves that what comes from outside fits into one line of a message, and is not repeated at any
/// length.
@Suite struct MessageTextTests {
  @Test func `a name stands between quotes, without control characters`() {
    #expect("east".quotedForMessage == "'east'")
    #expect("a\nb\u{1b}[31m\u{85}".quotedForMessage == "'a?b?[31m?'")
    let long = String(repeating: "é", count: 81)
    #expect(long.quotedForMessage == "'" + String(repeating: "é", count: 80) + "…'")
  }

  @Test func `a sentence of another process is one line`() {
    #expect(String(oneLine: Array("no room: wait\r\nok".utf8)) == "no room: wait??ok")
    #expect(String(oneLine: [UInt8(ascii: "a"), 0xff, 0]) == "a\u{fffd}?")
    let long = [UInt8](repeating: UInt8(ascii: "x"), count: 64 << 10)
    #expect(String(oneLine: long).unicodeScalars.count == String.sentenceLimit + 1)
  }
}
