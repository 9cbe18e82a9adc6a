/// Latencies of writes in logarithmic buckets, over the last minute or two: two histograms, of
/// which the older is dropped every minute. Confined to the group's loop.
struct LatencyRecorder {
  /// Eight buckets to a power of two: a value is known to 9 %.
  private static let bucketCount = 64 * 8
  private var current = [UInt64](repeating: 0, count: bucketCount)
  private var previous = [UInt64](repeating: 0, count: bucketCount)
  private var startSeconds: UInt64 = 0

  mutating func record(nanoseconds: UInt64, count: Int) {
    current[Self.bucket(nanoseconds)] &+= UInt64(count)
  }

  /// Called now and then with a clock that does not go back.
  mutating func rotate(nowSeconds: UInt64) {
    guard nowSeconds >= startSeconds + 60 else { return }
    startSeconds = nowSeconds
    previous = current
    current = [UInt64](repeating: 0, count: Self.bucketCount)
  }

  var status: LatencyStatus? {
    let counts = zip(current, previous).map { $0 + $1 }
    let total = counts.reduce(0, +)
    guard total > 0 else { return nil }
    func quantile(_ share: Double) -> Double {
      var seen: UInt64 = 0
      for (bucket, count) in counts.enumerated() {
        seen += count
        if Double(seen) >= share * Double(total) { return Self.microseconds(bucket) }
      }
      return 0
    }
    return LatencyStatus(
      count: total, p50Microseconds: quantile(0.5), p99Microseconds: quantile(0.99),
      maxMicroseconds: quantile(1))
  }

  private static func bucket(_ nanoseconds: UInt64) -> Int {
    let value = max(nanoseconds, 8)
    let exponent = 63 - value.leadingZeroBitCount
    let fraction = Int(value >> UInt64(exponent - 3)) & 7
    return exponent * 8 + fraction
  }

  /// The upper bound of a bucket.
  private static func microseconds(_ bucket: Int) -> Double {
    let exponent = bucket / 8
    let fraction = Double(bucket % 8 + 1) / 8
    return (Double(UInt64(1) << UInt64(exponent)) * (1 + fraction) / 10).rounded() / 100
  }
}
