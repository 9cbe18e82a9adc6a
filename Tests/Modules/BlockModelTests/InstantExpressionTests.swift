import BlockModel
import Foundation
import Testing

/// Proves that instants and export names are read as documented, written so that they read back,
/// and that every malformed text is refused with the error of its kind.
@Suite struct InstantExpressionTests {
  @Test(arguments: [
    ("latest", InstantExpression.latest),
    ("-90s", .ago(nanoseconds: 90_000_000_000)),
    ("-1h30m", .ago(nanoseconds: 5_400_000_000_000)),
    ("-250ms", .ago(nanoseconds: 250_000_000)),
    ("-0s", .ago(nanoseconds: 0)),
    ("1970-01-01T00:00:01Z", .at(Timestamp(nanoseconds: 1_000_000_000))),
    ("checkpoint:before-upgrade", .checkpoint(tag: "before-upgrade")),
    ("checkpoint:a@b: c", .checkpoint(tag: "a@b: c")),
    ("checkpoint:\u{e9}", .checkpoint(tag: "\u{e9}")),
  ])
  func readsEveryForm(text: String, expected: InstantExpression) throws {
    #expect(try InstantExpression(parsing: text) == expected)
    #expect(try InstantExpression(parsing: expected.description) == expected)
  }

  @Test(arguments: [
    ("", InstantSyntaxError.empty),
    ("Latest", .unrecognized("Latest")),
    ("latest ", .unrecognized("latest ")),
    ("90s", .badTimestamp("90s")),
    ("-", .badDuration(.empty)),
    ("--90s", .badDuration(.notANumber("-90s"))),
    ("-\u{301}90s", .badDuration(.notANumber("\u{301}90s"))),
    ("-90", .badDuration(.missingUnit("90"))),
    ("2026-11-21", .badTimestamp("2026-11-21")),
    ("checkpoint", .unrecognized("checkpoint")),
    ("checkpoint:", .badTag("")),
    ("checkpoint:a\nb", .badTag("a\nb")),
  ])
  func refusesOtherText(text: String, expected: InstantSyntaxError) {
    #expect(throws: expected) { try InstantExpression(parsing: text) }
  }

  @Test func limitsTheLengthOfATag() throws {
    let longest = String(repeating: "t", count: CheckpointTag.maximumBytes)
    #expect(try InstantExpression(parsing: "checkpoint:" + longest) == .checkpoint(tag: longest))
    #expect(throws: InstantSyntaxError.badTag(longest + "t")) {
      try InstantExpression(parsing: "checkpoint:" + longest + "t")
    }
  }

  @Test func keepsMessagesOnOneShortLine() {
    let long = "x\n\u{1b}[2J" + String(repeating: "y", count: 4000)
    let message = InstantSyntaxError.unrecognized(long).description
    #expect(message.count < 250)
    #expect(!message.contains("\n") && !message.contains("\u{1b}"))
  }

  @Test func splitsAnExportName() throws {
    #expect(try ExportName(parsing: "shop-root") == ExportName(disk: "shop-root"))
    #expect(
      try ExportName(parsing: "shop-root@-90s")
        == ExportName(disk: "shop-root", instant: .ago(nanoseconds: 90_000_000_000)))
    let parked = ExportName(disk: "d", branch: "old", instant: .ago(nanoseconds: 1_000_000_000))
    #expect(try ExportName(parsing: "d@old@-1s") == parked)
    #expect(try ExportName(parsing: parked.description) == parked)
    #expect(throws: InstantSyntaxError.self) { try ExportName(parsing: "d@old@new") }
    let tagged = ExportName(disk: "d", instant: .checkpoint(tag: "a@b"))
    #expect(try ExportName(parsing: "d@checkpoint:a@b") == tagged)
    #expect(tagged.description == "d@checkpoint:a@b")
    #expect(throws: InstantSyntaxError.empty) { try ExportName(parsing: "d@") }
    #expect(throws: InstantSyntaxError.badDiskName("")) { try ExportName(parsing: "@latest") }
  }

  @Test(arguments: ["a", "A.b_c-9", "0", String(repeating: "n", count: 64)])
  func acceptsDiskNames(name: String) throws {
    #expect(try ExportName(parsing: name).disk == name)
  }

  @Test(arguments: [
    "", ".", "..", "-a", "_a", "a/b", "a b", "\u{e9}", "a\u{301}", "a\0",
    String(repeating: "n", count: 65),
  ])
  func refusesDiskNames(name: String) {
    #expect(throws: InstantSyntaxError.badDiskName(name)) { try ExportName(parsing: name) }
  }
}

/// Proves that timestamps are read and written as RFC 3339 says, checked against Foundation's
/// calendar, and that dates that do not exist are refused.
@Suite struct TimestampTextTests {
  @Test(arguments: [
    ("1970-01-01T00:00:00Z", 0),
    ("1970-01-01T00:00:00.000000001Z", 1),
    ("2000-02-29T12:00:00Z", 951_825_600_000_000_000),
    ("2026-11-21T10:03:07.512Z", 1_795_255_387_512_000_000),
    ("2026-11-21T10:03:07.000512Z", 1_795_255_387_000_512_000),
    ("2100-03-01T00:00:00Z", 4_107_542_400_000_000_000),
    ("2554-07-21T23:34:33.709551615Z", UInt64.max),
  ])
  func readsAndWrites(text: String, nanoseconds: UInt64) {
    #expect(Timestamp(rfc3339: text)?.nanoseconds == nanoseconds)
    #expect(Timestamp(nanoseconds: nanoseconds).description == text)
  }

  @Test(arguments: [
    ("2026-11-21t10:03:07z", "2026-11-21T10:03:07Z"),
    ("2026-11-21T10:03:07.5Z", "2026-11-21T10:03:07.500Z"),
    ("2026-11-21T10:03:07.0000Z", "2026-11-21T10:03:07Z"),
    ("2026-11-21T10:03:07+01:30", "2026-11-21T08:33:07Z"),
    ("2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00Z"),
    ("2026-11-21T10:03:07-00:00", "2026-11-21T10:03:07Z"),
  ])
  func readsOtherSpellings(text: String, canonical: String) {
    #expect(Timestamp(rfc3339: text)?.description == canonical)
  }

  @Test(arguments: [
    "", "2026", "2026-11-21", "2026-11-21T10:03:07", "2026-11-21 10:03:07Z", "2026-11-21T10:03Z",
    "2026-11-21T10:03:07.Z", "2026-11-21T10:03:07.1234567890Z", "2026-11-21T10:03:07ZZ",
    "2026-11-21T10:03:07+0100", "2026-11-21T10:03:07+24:00", "2026-11-21T10:03:07+01:60",
    "2026-00-21T10:03:07Z", "2026-13-21T10:03:07Z", "2026-11-00T10:03:07Z",
    "2026-11-31T10:03:07Z", "2026-02-29T10:03:07Z", "2100-02-29T10:03:07Z",
    "2026-11-21T24:00:00Z", "2026-11-21T10:60:07Z", "2026-11-21T23:59:60Z",
    "1969-12-31T23:59:59Z", "1970-01-01T00:00:00+00:01", "2554-07-21T23:34:33.709551616Z",
    "2554-12-31T00:00:00Z", "2555-01-01T00:00:00Z", "+026-11-21T10:03:07Z",
    "2026-1\u{301}1-21T10:03:07Z", " 2026-11-21T10:03:07Z",
  ])
  func refusesNonsense(text: String) {
    #expect(Timestamp(rfc3339: text) == nil)
  }

  @Test func agreesWithFoundationOnEveryDay() throws {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = try #require(TimeZone(identifier: "UTC"))
    for day in stride(from: UInt64(0), to: 213_503, by: 1) {
      let timestamp = Timestamp(nanoseconds: (day * 86_400 + 86_399) * 1_000_000_000)
      let text = timestamp.description
      try #require(Timestamp(rfc3339: text) == timestamp)
      guard day % 61 == 0 else { continue }
      let date = Date(timeIntervalSince1970: Double(day) * 86_400 + 86_399)
      let parts = calendar.dateComponents([.year, .month, .day], from: date)
      let expected = try #require(parts.year.map { $0 * 10_000 + parts.month! * 100 + parts.day! })
      try #require(text.hasSuffix("T23:59:59Z"))
      try #require(Int(text.prefix(10).filter { $0 != "-" }) == expected)
    }
  }
}
