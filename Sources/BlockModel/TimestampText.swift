extension Timestamp: CustomStringConvertible {
  /// The instant in UTC as RFC 3339 writes it, such as `2026-11-21T10:03:07.512Z`. The fraction
  /// has 0, 3, 6 or 9 digits: as many groups as it takes to lose nothing.
  public var description: String {
    let time = CivilTime(self)
    var text = decimal(time.year, width: 4)
    text += "-" + decimal(time.month, width: 2) + "-" + decimal(time.day, width: 2)
    text += "T" + decimal(time.secondOfDay / 3600, width: 2)
    text += ":" + decimal(time.secondOfDay / 60 % 60, width: 2)
    text += ":" + decimal(time.secondOfDay % 60, width: 2)
    if time.nanosecond != 0 {
      if time.nanosecond % 1_000_000 == 0 {
        text += "." + decimal(time.nanosecond / 1_000_000, width: 3)
      } else if time.nanosecond % 1000 == 0 {
        text += "." + decimal(time.nanosecond / 1000, width: 6)
      } else {
        text += "." + decimal(time.nanosecond, width: 9)
      }
    }
    return text + "Z"
  }

  /// Parses a `date-time` of RFC 3339, section 5.6: `2026-11-21T10:03:07.512Z`, with a fraction of
  /// at most nine digits, and `Z` or an offset such as `+01:00`. `T` and `Z` may be lower case.
  ///
  /// Nil for any other text, for a date or time of day that does not exist, for a year outside
  /// 1970 to 2554, for an instant that 64 bits of nanoseconds do not reach, and for second 60:
  /// a timestamp does not count leap seconds.
  public init?(rfc3339 text: String) {
    var scanner = TextScanner(text)
    guard let year = scanner.digits(exactly: 4), scanner.skip("-"),
      let month = scanner.digits(exactly: 2), scanner.skip("-"),
      let day = scanner.digits(exactly: 2), scanner.skip("T") || scanner.skip("t"),
      let hour = scanner.digits(exactly: 2), scanner.skip(":"),
      let minute = scanner.digits(exactly: 2), scanner.skip(":"),
      let second = scanner.digits(exactly: 2),
      let nanosecond = Self.fraction(&scanner),
      let offsetSeconds = Self.offset(&scanner), scanner.isAtEnd,
      let time = CivilTime(
        year: year, month: month, day: day, hour: hour, minute: minute, second: second,
        nanosecond: nanosecond),
      let timestamp = time.timestamp(offsetSeconds: offsetSeconds)
    else { return nil }
    self = timestamp
  }

  private static func fraction(_ scanner: inout TextScanner) -> Int? {
    guard scanner.skip(".") else { return 0 }
    let digits = scanner.take(while: TextScanner.isDigit)
    guard (1...9).contains(digits.count) else { return nil }
    var value = 0
    for index in 0..<9 {
      value = value * 10 + (index < digits.count ? Int(digits[digits.startIndex + index] - 48) : 0)
    }
    return value
  }

  /// Seconds that local time is ahead of UTC.
  private static func offset(_ scanner: inout TextScanner) -> Int? {
    if scanner.skip("Z") || scanner.skip("z") { return 0 }
    let isAhead = scanner.skip("+")
    guard isAhead || scanner.skip("-"),
      let hours = scanner.digits(exactly: 2), scanner.skip(":"),
      let minutes = scanner.digits(exactly: 2), hours <= 23, minutes <= 59
    else { return nil }
    return (isAhead ? 1 : -1) * (hours * 60 + minutes) * 60
  }
}

/// `value` in decimal, filled with zeros on the left.
func decimal(_ value: Int, width: Int) -> String {
  let digits = String(value)
  return String(repeating: "0", count: max(0, width - digits.count)) + digits
}
