/// Tells which writes are sequential: those that belong to a run of at least two writes, each of
/// which begins exactly where an earlier one ended.
///
/// The ends of 16 runs are remembered and given up in the order in which they began, so interleaved
/// streams, requests that a deep queue reordered, and up to 15 scattered writes between two of a
/// stream do not hide it. The first write of a run is counted when the second arrives.
struct RunDetector: Sendable {
  static let runCount = 16

  private var ends = InlineArray<16, UInt64>(repeating: .max)
  /// Length of a run's only write until a second one arrives, then 0.
  private var uncountedBytes = InlineArray<16, UInt64>(repeating: 0)
  private var hand = 0

  /// - Parameters: a write of at least one byte, `start ..< end`.
  /// - Returns: writes and bytes that have now turned out to be sequential.
  @inline(__always)
  mutating func note(start: UInt64, end: UInt64) -> (writes: UInt64, bytes: UInt64) {
    for run in 0..<Self.runCount where ends[run] == start {
      let waiting = uncountedBytes[run]
      ends[run] = end
      uncountedBytes[run] = 0
      return (waiting == 0 ? 1 : 2, end &- start &+ waiting)
    }
    ends[hand] = end
    uncountedBytes[hand] = end &- start
    hand = (hand + 1) % Self.runCount
    return (0, 0)
  }
}
