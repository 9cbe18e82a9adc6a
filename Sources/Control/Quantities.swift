/// Numbers as a person reads them. For output that a program reads there is JSON.
enum Quantity {
  private static let byteUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]

  /// `512 B`, `4.0 KiB`, `20.0 GiB`.
  static func bytes(_ count: UInt64) -> String {
    count < 1024 ? "\(count) B" : bytes(Double(count))
  }

  static func bytes(_ count: Double) -> String {
    guard count.isFinite else { return "-" }
    var value = count
    var unit = 0
    while value >= 1024, unit + 1 < byteUnits.count {
      value /= 1024
      unit += 1
    }
    return "\(decimal(value, places: 1)) \(byteUnits[unit])"
  }

  /// `45 µs`, `3.2 ms`, `1.5 s`.
  static func microseconds(_ value: Double) -> String {
    guard value.isFinite else { return "-" }
    if value < 1000 { return "\(decimal(value, places: 0)) µs" }
    if value < 1_000_000 { return "\(decimal(value / 1000, places: 1)) ms" }
    return seconds(value / 1_000_000)
  }

  /// `0.8 s`, `12 m 5 s`, `3 h 20 m`, `4 d 2 h`.
  static func seconds(_ value: Double) -> String {
    guard value.isFinite, value < 1e12 else { return "-" }
    guard value >= 60 else { return "\(decimal(max(value, 0), places: 1)) s" }
    let whole = Int(value)
    if whole < 3600 { return "\(whole / 60) m \(whole % 60) s" }
    if whole < 86_400 { return "\(whole / 3600) h \(whole / 60 % 60) m" }
    return "\(whole / 86_400) d \(whole / 3600 % 24) h"
  }

  /// `93 %`, and `-` where there is nothing to take a share of.
  static func percent(_ share: Double?) -> String {
    guard let share, share.isFinite else { return "-" }
    return "\(decimal(share * 100, places: 0)) %"
  }

  static func optional(_ value: Double?, places: Int) -> String {
    value.map { decimal($0, places: places) } ?? "-"
  }

  /// Rounded half up; `-` for what is no number or has no use as one.
  static func decimal(_ value: Double, places: Int) -> String {
    let scale = places == 0 ? 1.0 : places == 1 ? 10.0 : 100.0
    guard value.isFinite, value.magnitude < 1e15 else { return "-" }
    let scaled = Int((value.magnitude * scale).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard places > 0 else { return sign + String(scaled) }
    let divisor = Int(scale)
    let digits = String(scaled % divisor)
    let width = places == 1 ? 1 : 2
    let zeros = String(repeating: "0", count: max(0, width - digits.count))
    return "\(sign)\(scaled / divisor).\(zeros)\(digits)"
  }

  /// `1 record`, `2 records`.
  static func count(_ number: some BinaryInteger, _ noun: String) -> String {
    "\(number) \(noun)\(number == 1 ? "" : "s")"
  }
}
