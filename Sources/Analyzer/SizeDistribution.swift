/// Counts of writes by length, in buckets bounded by powers of two.
///
/// Bucket 0 holds lengths up to 512 bytes, bucket 1 to 1 KiB, … bucket 16 to 32 MiB; the last
/// holds everything longer. A bound belongs to its own bucket: 4096 bytes is "up to 4 KiB".
struct SizeDistribution: Sendable {
  static let bucketCount = 18
  /// log2 of the first bucket's bound.
  private static let firstBoundShift = 9

  private var counts = InlineArray<18, UInt64>(repeating: 0)

  /// Bytes that the bucket's writes do not exceed; nil for the last bucket.
  static func upperBound(ofBucket bucket: Int) -> UInt64? {
    bucket < bucketCount - 1 ? 1 << (firstBoundShift + bucket) : nil
  }

  @inline(__always)
  static func bucket(ofLength length: UInt32) -> Int {
    guard length > 1 else { return 0 }
    let ceilingLog2 = UInt32.bitWidth - (length - 1).leadingZeroBitCount
    return min(max(ceilingLog2 - firstBoundShift, 0), bucketCount - 1)
  }

  @inline(__always)
  mutating func count(length: UInt32) {
    counts[Self.bucket(ofLength: length)] &+= 1
  }

  subscript(bucket: Int) -> UInt64 { counts[bucket] }

  static func -= (a: inout Self, b: Self) {
    for bucket in 0..<bucketCount { a.counts[bucket] &-= b.counts[bucket] }
  }
}
