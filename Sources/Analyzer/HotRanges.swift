/// Finds the ranges of a disk that are written most often, in fixed memory.
///
/// The space-saving algorithm (Metwally, Agrawal, El Abbadi, 2005) over ranges of 1 MiB, with two
/// changes. The 256 counters are split into 32 sets of eight by a hash of the range, so that a
/// write looks at eight counters and not at all. And counts fade by half every 60 seconds, in steps
/// of one second. A range that is not counted takes over the lowest counter of its set together
/// with its count; that inherited part is kept as the possible overestimate. A range with more
/// than an eighth of its set's writes is always among the counters.
struct HotRanges: Sendable {
  static let rangeShift: UInt64 = 20
  static let setCount = 32
  static let countersPerSet = 8
  /// Half in 60 s: 2^(-1/60).
  private static let fadePerSecond = 0.988514020352896
  /// Seconds after which nothing of a count is left: 40 half-lives.
  private static let forgetSeconds: UInt64 = 2400
  /// A counter below this many writes is freed.
  private static let leastCount = 0.5

  private struct Counter: Sendable {
    var range: UInt64 = .max
    var writes = 0.0
    var overestimate = 0.0
  }

  private var counters = [Counter](
    repeating: Counter(), count: HotRanges.setCount * HotRanges.countersPerSet)
  /// Seconds of observation, faded like the counts: the divisor that makes rates of them.
  private var fadedSeconds = 0.0
  private var second: UInt64?

  /// Counts one write in each range that it touches.
  ///
  /// - Parameters: a write of at least one byte, `start ..< end`.
  @inline(__always)
  mutating func note(start: UInt64, end: UInt64) {
    var range = start >> Self.rangeShift
    let last = (end &- 1) >> Self.rangeShift
    while true {
      countWrite(in: range)
      if range == last { return }
      range &+= 1
    }
  }

  @inline(__always)
  private mutating func countWrite(in range: UInt64) {
    let hash = range &* 0x9E37_79B9_7F4A_7C15
    let set = Int(truncatingIfNeeded: hash >> 59) * Self.countersPerSet
    unsafe counters.withUnsafeMutableBufferPointer { counters in
      var lowest = set
      for index in set..<set + Self.countersPerSet {
        if unsafe counters[index].range == range {
          unsafe counters[index].writes += 1
          return
        }
        if unsafe counters[index].writes < counters[lowest].writes { lowest = index }
      }
      let inherited = unsafe counters[lowest].writes
      unsafe counters[lowest] = Counter(
        range: range, writes: inherited + 1, overestimate: inherited)
    }
  }

  /// Fades the counts for the seconds that have passed.
  mutating func advance(toSecond now: UInt64) {
    guard let before = second else {
      second = now
      return
    }
    guard now > before else { return }
    second = now
    guard now - before < Self.forgetSeconds else {
      for index in counters.indices { counters[index] = Counter() }
      // What an endless series of empty seconds adds up to.
      fadedSeconds = Self.fadePerSecond / (1 - Self.fadePerSecond)
      return
    }
    var fade = 1.0
    for _ in before..<now {
      fade *= Self.fadePerSecond
      fadedSeconds = (fadedSeconds + 1) * Self.fadePerSecond
    }
    for index in counters.indices where counters[index].range != .max {
      counters[index].writes *= fade
      counters[index].overestimate *= fade
      if counters[index].writes < Self.leastCount { counters[index] = Counter() }
    }
  }

  struct Reading {
    var startBytes: UInt64
    /// Mean rate of writes, recent seconds weighing more. Never below the truth.
    var writesPerSecond: Double
    /// The part of it that is certain.
    var certainWritesPerSecond: Double
  }

  /// The hottest ranges, by what is certain about them, hottest first.
  ///
  /// - Parameter secondsIntoCurrent: how much of the current second has passed.
  func hottest(_ limit: Int, secondsIntoCurrent: Double) -> [Reading] {
    let seconds = fadedSeconds + max(secondsIntoCurrent, 0.05)
    let readings = counters.filter { $0.range != .max }.map { counter in
      Reading(
        startBytes: counter.range << Self.rangeShift,
        writesPerSecond: counter.writes / seconds,
        certainWritesPerSecond: (counter.writes - counter.overestimate) / seconds)
    }
    let ranked = readings.sorted { a, b in
      (a.certainWritesPerSecond, b.startBytes) > (b.certainWritesPerSecond, a.startBytes)
    }
    return Array(ranked.prefix(limit))
  }
}
