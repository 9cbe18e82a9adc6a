import SystemIO

extension SimulationRandom {
  mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }

  mutating func pick(_ range: ClosedRange<Int>) -> Int {
    range.lowerBound + below(range.upperBound - range.lowerBound + 1)
  }

  /// Each power of two as likely as the next.
  mutating func pick(logarithmic range: ClosedRange<UInt64>) -> UInt64 {
    let low = range.lowerBound.leadingZeroBitCount
    let high = range.upperBound.leadingZeroBitCount
    let bits = 64 - (high + below(low - high + 1))
    let value = UInt64(1) << (bits - 1) | next() >> (65 - bits)
    return min(max(value, range.lowerBound), range.upperBound)
  }

  /// Around `mean`: from a fourth of it to seven fourths.
  mutating func around(_ mean: UInt64) -> UInt64 {
    mean / 4 + UInt64(below(Int(clamping: mean / 2 * 3 + 1)))
  }
}

/// Durations in nanoseconds.
extension UInt64 {
  static func milliseconds(_ count: UInt64) -> UInt64 { count * 1_000_000 }
  static func seconds(_ count: UInt64) -> UInt64 { count * 1_000_000_000 }
}
