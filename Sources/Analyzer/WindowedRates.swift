import BlockModel

/// One disk's counters over several sliding windows, and since the beginning.
///
/// Counting touches one set of counters. A tick lies inside one slot of every window, so the
/// windows need to look at them only when one begins. Time is what `advance` was told last; an
/// earlier instant counts as that one.
struct WindowedRates: Sendable {
  /// Lengths of the windows.
  static let windowSeconds = [1, 10, 60, 600]
  /// Length of a tick: one slot of the shortest window.
  static let tickNanoseconds: UInt64 = 50_000_000
  static let ticksPerSecond = 1_000_000_000 / tickNanoseconds

  /// Counts since the beginning: the place to count.
  var total = WriteCounters()

  private var windows = Self.windowSeconds.map(SlidingWindow.init(seconds:))
  private var startNanoseconds: UInt64?
  private var newestNanoseconds: UInt64 = 0
  private var tickEndNanoseconds: UInt64 = 0

  /// Seconds since the epoch at the beginning of the current tick.
  private(set) var currentSecond: UInt64 = 0

  /// - Returns: whether a new tick began.
  @inline(__always)
  mutating func advance(to instant: Timestamp) -> Bool {
    let nanoseconds = instant.nanoseconds
    if nanoseconds < tickEndNanoseconds {
      if nanoseconds > newestNanoseconds { newestNanoseconds = nanoseconds }
      return false
    }
    beginTick(at: nanoseconds)
    return true
  }

  @inline(never)
  private mutating func beginTick(at nanoseconds: UInt64) {
    if startNanoseconds == nil { startNanoseconds = nanoseconds }
    for index in windows.indices {
      windows[index].slide(toNanoseconds: nanoseconds, total: total)
    }
    newestNanoseconds = nanoseconds
    let tick = nanoseconds / Self.tickNanoseconds
    let (end, overflow) = (tick + 1).multipliedReportingOverflow(by: Self.tickNanoseconds)
    tickEndNanoseconds = overflow ? .max : end
    currentSecond = tick / Self.ticksPerSecond
  }

  /// Nanoseconds since `currentSecond` began.
  var nanosecondsIntoSecond: UInt64 { newestNanoseconds - currentSecond * 1_000_000_000 }

  /// One window's counts and the seconds in which they came: shorter than the window's name while
  /// the disk is young, and at least one tick.
  struct Reading {
    var seconds: Int
    var coveredSeconds: Double
    var counters: WriteCounters
  }

  func readings() -> [Reading] {
    windows.map { window in
      var counters = total
      counters -= window.countsBefore
      let begin = max(window.beginNanoseconds, startNanoseconds ?? 0)
      let covered = newestNanoseconds > begin ? newestNanoseconds - begin : 0
      return Reading(
        seconds: window.seconds,
        coveredSeconds: Double(max(covered, Self.tickNanoseconds)) / 1e9, counters: counters)
    }
  }
}
