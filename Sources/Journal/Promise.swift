import BlockModel

/// That no record at or before an instant will follow those that there are.
///
/// Peers, backups and views rely on it, so it is in the state file before it is given. To give it
/// several times a second without writing each time, the stamping side reserves a bound ahead, and
/// between two reservations what it gives does not grow faster than the monotonic clock. So a
/// start on the same boot of the machine knows how much can have been given, and need not take the
/// whole bound for it.
public struct Promise: Equatable, Sendable {
  /// Nothing later was given.
  public private(set) var through: Timestamp
  /// What could be given when it was reserved, and then (monotonic nanoseconds, and of which boot).
  private(set) var reservedAt: Timestamp
  private(set) var monotonicNanoseconds: UInt64
  /// 0: `through` itself was given.
  private(set) var boot: UInt64

  public static let reserveNanoseconds: UInt64 = 30_000_000_000
  public static let none = Promise(given: .zero)

  /// What was given, exactly.
  public init(given through: Timestamp) {
    self.init(through: through, reservedAt: through, monotonicNanoseconds: 0, boot: 0)
  }

  init(through: Timestamp, reservedAt: Timestamp, monotonicNanoseconds: UInt64, boot: UInt64) {
    self.through = through
    self.reservedAt = reservedAt
    self.monotonicNanoseconds = monotonicNanoseconds
    self.boot = boot
  }

  /// What can have been given by now, and may be.
  public func limit(at monotonicNanoseconds: UInt64, boot: UInt64) -> Timestamp {
    guard boot != 0, boot == self.boot, monotonicNanoseconds >= self.monotonicNanoseconds else {
      return through
    }
    let elapsed = monotonicNanoseconds - self.monotonicNanoseconds
    return min(through, Timestamp(rawValue: reservedAt.rawValue &+ elapsed))
  }

  /// More than `present` and some time to come. Nothing that was given before is taken back.
  public mutating func reserve(
    _ present: Timestamp, at monotonicNanoseconds: UInt64, boot: UInt64
  ) {
    let start = max(present, limit(at: monotonicNanoseconds, boot: boot))
    self = Promise(
      through: Timestamp(rawValue: start.rawValue &+ Self.reserveNanoseconds), reservedAt: start,
      monotonicNanoseconds: monotonicNanoseconds, boot: boot)
  }

  /// A later reservation may have been lost.
  mutating func distrust() {
    self = Promise(given: Timestamp(rawValue: through.rawValue &+ Self.reserveNanoseconds))
  }
}
