import BlockModel

/// That a group had to fail, and is open again. What made it fail mostly shows only when something
/// is written, so it is told until a record that came later is durable, or for some time; of one
/// that fails again and again for that time in any case. A value, to which time comes in with each
/// call: nanoseconds of the monotonic clock.
struct Setback: Equatable, Sendable {
  /// How long it is told at most after the group has opened again.
  static let lingerNanoseconds: UInt64 = 300_000_000_000

  private(set) var reason: String
  /// When the group failed, for people.
  private(set) var instant: Timestamp
  /// Times that it has failed, each before the time after the one before was over.
  private(set) var count: Int
  private var openAgain: UInt64?
  /// Where the order ended then.
  private var end = SequenceNumber.none

  init(_ reason: String, at instant: Timestamp, now: UInt64, after earlier: Setback? = nil) {
    self.reason = reason
    self.instant = instant
    count = 1
    if let earlier, !earlier.isOver(now: now) { count += earlier.count }
  }

  /// The group serves again.
  mutating func opened(now: UInt64, end: SequenceNumber) {
    if openAgain != nil { return }
    openAgain = now
    self.end = end
  }

  /// The order was cut back to this end.
  mutating func cut(to end: SequenceNumber) { self.end = min(self.end, end) }

  func isOver(now: UInt64) -> Bool {
    openAgain.map { now &- $0 >= Self.lingerNanoseconds } ?? false
  }

  /// What to tell while the group is open; nil when that is over.
  ///
  /// - Parameter durable: the last record that is.
  func condition(now: UInt64, durable: SequenceNumber) -> Condition? {
    if isOver(now: now) || count == 1 && durable > end { return nil }
    let times = count > 1 ? ", \(count) times by then" : ""
    return Condition(.groupReopened, "open again; it had failed at \(instant)\(times): \(reason)")
  }
}
