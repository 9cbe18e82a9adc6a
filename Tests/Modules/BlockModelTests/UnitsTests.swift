import BlockModel
import Testing

/// Proves that sizes and durations are read exactly, written so that they read back, and refused
/// with a reason when they are malformed, too fine or too large.
@Suite struct UnitsTests {
  @Test(
    arguments: [
      ("0", 0), ("1", 1), ("4096", 4096), ("64K", 65_536), ("1M", 1 << 20), ("20G", 20 << 30),
      ("16777215T", 16_777_215 << 40), ("18446744073709551615", UInt64.max),
    ] as [(String, UInt64)])
  func readsSizes(text: String, bytes: UInt64) throws {
    #expect(try ByteCount.parse(text) == bytes)
  }

  @Test(arguments: [
    ("", UnitSyntaxError.empty),
    ("K", .notANumber("K")),
    ("-1", .notANumber("-1")),
    (" 1", .notANumber(" 1")),
    ("1.5G", .misplacedFraction("1.5G")),
    ("1k", .unknownUnit("1k", unit: "k", known: "K, M, G, T, or none for bytes")),
    ("1KiB", .unknownUnit("1KiB", unit: "KiB", known: "K, M, G, T, or none for bytes")),
    (
      "1\u{212a}",
      .unknownUnit("1\u{212a}", unit: "\u{212a}", known: "K, M, G, T, or none for bytes")
    ),
    ("18446744073709551616", .tooLarge("18446744073709551616")),
    ("16777216T", .tooLarge("16777216T")),
  ])
  func refusesSizes(text: String, expected: UnitSyntaxError) {
    #expect(throws: expected) { try ByteCount.parse(text) }
  }

  @Test(
    arguments: [
      (0, "0"), (1023, "1023"), (1024, "1K"), (1536 << 20, "1536M"), (1 << 40, "1T"),
      ((1 << 40) + 1, "1099511627777"), (UInt64.max, "18446744073709551615"),
    ] as [(UInt64, String)])
  func writesSizes(bytes: UInt64, text: String) throws {
    #expect(ByteCount.format(bytes) == text)
    #expect(try ByteCount.parse(text) == bytes)
  }

  @Test(
    arguments: [
      ("0s", 0), ("1ms", 1_000_000), ("0.5s", 500_000_000), ("90s", 90_000_000_000),
      ("1h30m", 5_400_000_000_000), ("1m0.25s", 60_250_000_000), ("1.5d", 129_600_000_000_000),
      ("0.000001ms", 1), ("1.0000000000s", 1_000_000_000), ("1s500ms", 1_500_000_000),
      ("2d3h4m5s6ms", 183_845_006_000_000), ("18446744073.709551615s", UInt64.max),
    ] as [(String, UInt64)])
  func readsDurations(text: String, nanoseconds: UInt64) throws {
    #expect(try TimeSpan.parse(text) == nanoseconds)
  }

  @Test(arguments: [
    ("", UnitSyntaxError.empty),
    ("s", .notANumber("s")),
    ("1.s", .notANumber("1.s")),
    ("0", .missingUnit("0")),
    ("1h30", .missingUnit("1h30")),
    ("5 s", .unknownUnit("5 s", unit: " s", known: "ms, s, m, h, d")),
    ("5sec", .unknownUnit("5sec", unit: "sec", known: "ms, s, m, h, d")),
    ("1.2.3s", .unknownUnit("1.2.3s", unit: ".", known: "ms, s, m, h, d")),
    ("30m1h", .unitOrder("30m1h")),
    ("1s1s", .unitOrder("1s1s")),
    ("1.5h30m", .misplacedFraction("1.5h30m")),
    ("0.0000000001s", .tooFine("0.0000000001s")),
    ("0.00000000001s", .tooFine("0.00000000001s")),
    ("213504d", .tooLarge("213504d")),
    ("18446744073.709551616s", .tooLarge("18446744073.709551616s")),
    ("99999999999999999999s", .tooLarge("99999999999999999999s")),
    ("18446744073s1000ms", .tooLarge("18446744073s1000ms")),
  ])
  func refusesDurations(text: String, expected: UnitSyntaxError) {
    #expect(throws: expected) { try TimeSpan.parse(text) }
  }

  @Test(
    arguments: [
      (0, "0s"), (1, "0.000001ms"), (1_500_000, "1.5ms"), (250_000_000, "250ms"),
      (1_000_000_000, "1s"), (12_500_000_000, "12.5s"), (60_000_000_000, "1m"),
      (5_400_000_000_000, "1h30m"), (60_000_000_001, "1m0.000000001s"),
      (UInt64.max, "213503d23h34m33.709551615s"),
    ] as [(UInt64, String)])
  func writesDurations(nanoseconds: UInt64, text: String) throws {
    #expect(TimeSpan.format(nanoseconds) == text)
    #expect(try TimeSpan.parse(text) == nanoseconds)
  }

  @Test func readsBackWhatItWrites() throws {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<2000 {
      let value = generator.next() >> UInt64.random(in: 0..<64, using: &generator)
      try #require(try ByteCount.parse(ByteCount.format(value)) == value)
      try #require(try TimeSpan.parse(TimeSpan.format(value)) == value)
    }
  }
}
