/// A date and a time of day in UTC, in the proleptic Gregorian calendar, for the years that
/// `Timestamp` can hold: 1970 to 2554.
///
/// Days are counted from 1970-01-01. A year is divisible by 4 but not by 100, or by 400, to be a
/// leap year; RFC 3339, appendix C.
struct CivilTime: Equatable {
  var year: Int
  var month: Int
  var day: Int
  var secondOfDay: Int
  var nanosecond: Int

  static let years = 1970...2554
  static let secondsPerDay = 86_400
  static let nanosecondsPerSecond = 1_000_000_000

  init(_ timestamp: Timestamp) {
    let seconds = Int(timestamp.rawValue / UInt64(Self.nanosecondsPerSecond))
    nanosecond = Int(timestamp.rawValue % UInt64(Self.nanosecondsPerSecond))
    secondOfDay = seconds % Self.secondsPerDay
    var days = seconds / Self.secondsPerDay
    // No year has fewer than 365 days, so the guess is never too early.
    year = 1970 + days / 365
    while Self.days(before: year) > days { year -= 1 }
    days -= Self.days(before: year)
    month = 1
    while days >= Self.days(in: month, of: year) {
      days -= Self.days(in: month, of: year)
      month += 1
    }
    day = days + 1
  }

  /// Nil when there is no such day or second.
  init?(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int, nanosecond: Int) {
    guard Self.years.contains(year), (1...12).contains(month),
      (1...Self.days(in: month, of: year)).contains(day),
      (0...23).contains(hour), (0...59).contains(minute), (0...59).contains(second),
      (0..<Self.nanosecondsPerSecond).contains(nanosecond)
    else { return nil }
    self.year = year
    self.month = month
    self.day = day
    self.secondOfDay = (hour * 60 + minute) * 60 + second
    self.nanosecond = nanosecond
  }

  /// The instant when this is local time `offsetSeconds` ahead of UTC; nil when it lies outside
  /// what `Timestamp` holds.
  func timestamp(offsetSeconds: Int) -> Timestamp? {
    var days = Self.days(before: year) + day - 1
    for earlier in 1..<month { days += Self.days(in: earlier, of: year) }
    let seconds = days * Self.secondsPerDay + secondOfDay - offsetSeconds
    guard let seconds = UInt64(exactly: seconds) else { return nil }
    let (whole, tooLate) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (total, overflow) = whole.addingReportingOverflow(UInt64(nanosecond))
    return tooLate || overflow ? nil : Timestamp(nanoseconds: total)
  }

  static func isLeap(_ year: Int) -> Bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
  }

  static func days(in month: Int, of year: Int) -> Int {
    switch month {
    case 2: isLeap(year) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  /// Days from 1970-01-01 to the first day of `year`.
  static func days(before year: Int) -> Int {
    func leapYears(through year: Int) -> Int { year / 4 - year / 100 + year / 400 }
    return (year - 1970) * 365 + leapYears(through: year - 1) - leapYears(through: 1969)
  }
}
