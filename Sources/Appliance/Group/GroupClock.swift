import BlockModel

/// The time with which a group stamps: the wall clock, without what would make durations of stamps
/// wrong. A value; time comes in with each call.
///
/// - It never goes back. Where the wall clock does, or is behind what was stamped before, it goes
///   on a little slower than time passes, until the wall clock has caught up. So "three seconds
///   ago" and a window of history mean what they say then, too.
/// - A step ahead of more than a second counts once it has lasted for ten: a wrong time server for
///   a moment leaves no stamps from the future.
struct GroupClock {
  struct Step {
    let nanoseconds: UInt64
    fileprivate let at: UInt64
  }

  static let holdNanoseconds: UInt64 = 10_000_000_000
  static let tolerance: UInt64 = 1_000_000_000
  /// For so long a step back is told.
  static let stepMemoryNanoseconds: UInt64 = 60_000_000_000

  private(set) var now: Timestamp
  private var wall: Timestamp
  private var monotonic: UInt64
  /// Since when the wall clock has been ahead and does not count.
  private var heldSince: UInt64?
  private var stepBack: Step?

  init(wall: Timestamp, monotonic: UInt64) {
    now = wall
    self.wall = wall
    self.monotonic = monotonic
  }

  /// - Parameters:
  ///   - monotonic: nanoseconds of the monotonic clock at which `wall` was read.
  ///   - floor: what was stamped or promised last.
  mutating func read(wall: Timestamp, monotonic: UInt64, floor: Timestamp) -> Timestamp {
    let elapsed = monotonic > self.monotonic ? monotonic - self.monotonic : 0
    let wallExpected = self.wall.rawValue &+ elapsed
    if wall.rawValue &+ Self.tolerance < wallExpected {
      stepBack = Step(nanoseconds: wallExpected - wall.rawValue, at: monotonic)
    }
    self.wall = wall
    self.monotonic = max(monotonic, self.monotonic)
    now = max(now, floor)
    let expected = Timestamp(rawValue: now.rawValue &+ elapsed)
    if wall.nanoseconds(since: expected) > Self.tolerance {
      let since = heldSince ?? monotonic
      heldSince = since
      if monotonic &- since < Self.holdNanoseconds {
        now = expected
        return now
      }
    }
    heldSince = nil
    now = max(wall, Timestamp(rawValue: expected.rawValue - elapsed / 16))
    return now
  }

  /// How far stamps are ahead of the wall clock.
  var aheadNanoseconds: UInt64 { now.nanoseconds(since: wall) }

  /// Of the wall clock, not long ago.
  var recentStepBack: Step? {
    stepBack.flatMap { monotonic &- $0.at < Self.stepMemoryNanoseconds ? $0 : nil }
  }
}
