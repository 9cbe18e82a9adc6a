/// Why a text is not a size or a duration. The description is one sentence without a full stop.
public enum UnitSyntaxError: Error, Equatable, Sendable, CustomStringConvertible {
  /// No text at all.
  case empty
  /// There is no number where one must be.
  case notANumber(String)
  /// A duration's number without a unit.
  case missingUnit(String)
  /// A unit that is not in `known`.
  case unknownUnit(String, unit: String, known: String)
  /// A size with a decimal point, or a decimal point before the last number of a duration.
  case misplacedFraction(String)
  /// Units of a duration that do not go from large to small, each once.
  case unitOrder(String)
  /// Finer than one nanosecond.
  case tooFine(String)
  /// Beyond 64 bits of bytes or nanoseconds.
  case tooLarge(String)

  public var description: String {
    switch self {
    case .empty: "the text is empty"
    case .notANumber(let text): "\(text.quotedForMessage) has no number where one must be"
    case .missingUnit(let text):
      "\(text.quotedForMessage) has no unit after its last number; a unit is one of ms, s, m, h, d"
    case .unknownUnit(let text, let unit, let known):
      "\(text.quotedForMessage) has the unknown unit \(unit.quotedForMessage);"
        + " a unit is one of \(known)"
    case .misplacedFraction(let text):
      "\(text.quotedForMessage) has a fraction where only a whole number can be"
    case .unitOrder(let text):
      "\(text.quotedForMessage) must name its units from large to small, each once"
    case .tooFine(let text): "\(text.quotedForMessage) is not a whole number of nanoseconds"
    case .tooLarge(let text): "\(text.quotedForMessage) is too large"
    }
  }
}

/// Sizes in text: plain bytes, or a whole number of K, M, G or T, which are powers of 1024.
public enum ByteCount {
  private static let units: [(name: String, shift: UInt64)] = [
    ("T", 40), ("G", 30), ("M", 20), ("K", 10),
  ]

  /// The number of bytes that `text` names: `4096`, `64K`, `20G`.
  public static func parse(_ text: String) throws(UnitSyntaxError) -> UInt64 {
    var scanner = TextScanner(text)
    guard !scanner.isAtEnd else { throw .empty }
    let number = try scanner.number(of: text)
    if scanner.skip(".") { throw .misplacedFraction(text) }
    guard !scanner.isAtEnd else { return number }
    let suffix = scanner.rest
    guard let unit = units.first(where: { $0.name.hasSameBytes(as: suffix) }) else {
      throw .unknownUnit(text, unit: suffix, known: "K, M, G, T, or none for bytes")
    }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << unit.shift)
    if overflow { throw .tooLarge(text) }
    return bytes
  }

  /// `bytes` in the largest unit that loses nothing; `parse` reads it back.
  public static func format(_ bytes: UInt64) -> String {
    guard bytes != 0 else { return "0" }
    for unit in units where bytes % (1 << unit.shift) == 0 {
      return String(bytes >> unit.shift) + unit.name
    }
    return String(bytes)
  }
}

/// Durations in text: numbers with the units ms, s, m, h, d, such as `90s`, `0.5s` or `1h30m`.
public enum TimeSpan {
  /// Large to small, in nanoseconds.
  private static let units: [(name: String, nanoseconds: UInt64)] = [
    ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000),
    ("s", 1_000_000_000), ("ms", 1_000_000),
  ]

  /// The nanoseconds that `text` names. Several numbers follow each other from the largest unit to
  /// the smallest; the last one may have a decimal fraction. There is no default unit.
  public static func parse(_ text: String) throws(UnitSyntaxError) -> UInt64 {
    var scanner = TextScanner(text)
    guard !scanner.isAtEnd else { throw .empty }
    var total: UInt64 = 0
    var nextUnit = 0
    while !scanner.isAtEnd {
      let whole = try scanner.number(of: text)
      let fraction = scanner.skip(".") ? scanner.take(while: TextScanner.isDigit) : nil
      if let fraction, fraction.isEmpty { throw .notANumber(text) }
      let name = String(decoding: scanner.take(while: { !TextScanner.isDigit($0) }), as: UTF8.self)
      guard !name.isEmpty else { throw .missingUnit(text) }
      guard let unit = units.firstIndex(where: { $0.name.hasSameBytes(as: name) }) else {
        throw .unknownUnit(text, unit: name, known: "ms, s, m, h, d")
      }
      guard unit >= nextUnit else { throw .unitOrder(text) }
      nextUnit = unit + 1
      if fraction != nil, !scanner.isAtEnd { throw .misplacedFraction(text) }
      let part = try nanoseconds(whole, fraction ?? [], of: units[unit].nanoseconds, in: text)
      let (sum, overflow) = total.addingReportingOverflow(part)
      if overflow { throw .tooLarge(text) }
      total = sum
    }
    return total
  }

  /// `nanoseconds` exactly, in the units that `parse` reads back: `1h30m`, `12.5s`, `250ms`, `0s`.
  public static func format(_ nanoseconds: UInt64) -> String {
    guard nanoseconds != 0 else { return "0s" }
    var rest = nanoseconds
    var text = ""
    for unit in units.dropLast(2) where rest >= unit.nanoseconds {
      text += String(rest / unit.nanoseconds) + unit.name
      rest %= unit.nanoseconds
    }
    guard rest != 0 else { return text }
    let unit = rest < 1_000_000_000 && text.isEmpty ? units[4] : units[3]
    text += String(rest / unit.nanoseconds)
    rest %= unit.nanoseconds
    if rest != 0 {
      let width = unit.name == "s" ? 9 : 6
      var digits = decimal(Int(rest), width: width)
      while digits.last == "0" { digits.removeLast() }
      text += "." + digits
    }
    return text + unit.name
  }

  private static func nanoseconds(
    _ whole: UInt64, _ fraction: ArraySlice<UInt8>, of unit: UInt64, in text: String
  ) throws(UnitSyntaxError) -> UInt64 {
    var (total, overflow) = whole.multipliedReportingOverflow(by: unit)
    if overflow { throw .tooLarge(text) }
    var digitUnit = unit
    for digit in fraction {
      // A digit 0 after the last nanosecond changes nothing; any other cannot be kept.
      guard digit == 48 || (digitUnit != 0 && digitUnit % 10 == 0) else { throw .tooFine(text) }
      digitUnit /= 10
      (total, overflow) = total.addingReportingOverflow(UInt64(digit - 48) * digitUnit)
      if overflow { throw .tooLarge(text) }
    }
    return total
  }
}

extension TextScanner {
  /// The digits that come next as a number; `text` is what the error repeats.
  fileprivate mutating func number(of text: String) throws(UnitSyntaxError) -> UInt64 {
    let digits = take(while: Self.isDigit)
    guard !digits.isEmpty else { throw .notANumber(text) }
    guard let number = UInt64(String(decoding: digits, as: UTF8.self)) else {
      throw .tooLarge(text)
    }
    return number
  }
}
