/// How many segments a journal keeps free for what comes, so that nobody waits for room: below
/// `low`, room is made until `high` are free.
///
/// A sixteenth of the journal, at least two segments, at most a quarter; and up to that again, but
/// not more than 16 MiB, between the two marks, so that room is made in steps which are worth
/// their syncs.
public struct SegmentReserve: Equatable, Sendable {
  public let low: Int
  public let high: Int
  /// A step takes at least so many segments.
  private let stepCount: Int

  public init(segmentLimit: Int, segmentByteCount: Int) {
    low = max(1, min(max(2, segmentLimit / 16), segmentLimit / 4))
    stepCount = max(1, min(Self.stepByteCount / max(1, segmentByteCount), segmentLimit / 16))
    high = low + stepCount - 1
  }

  private static var stepByteCount: Int { 16 << 20 }

  /// Of how many segments the next step makes room; nil when enough are free.
  ///
  /// While there is plenty, in large steps, because what was overwritten is written once; the less
  /// is left, the smaller, so that some room comes before there is none.
  ///
  /// - Parameter isRefilling: it was below `low`, and `high` is not reached since.
  public func segmentsToFree(free: Int, isRefilling: Bool) -> Int? {
    guard free < (isRefilling ? high : low) else { return nil }
    return min(high - free, max(stepCount, free / 2))
  }
}
