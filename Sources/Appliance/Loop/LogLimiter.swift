import Synchronization
import SystemIO

/// Lets through what many clients may cause only so often, by kind. Time comes in with each call:
/// nanoseconds of the monotonic clock.
///
/// Two lines are of one kind when they are the same up to the first digit or quotation mark, where
/// what a client chose begins.
struct LogLimiter: Sendable {
  static let burst = 5
  static let periodNanoseconds: UInt64 = 10_000_000_000
  /// Kinds that are told apart; what comes beyond is one kind.
  private static let kindLimit = 256

  private struct Kind: Sendable {
    var end: UInt64
    var count = 1
    /// The newest that was not let through.
    var last: String?
  }

  private var kinds: [Substring: Kind] = [:]

  /// Whether to log the line now.
  mutating func lets(_ line: String, now: UInt64) -> Bool {
    var name = line.prefix { !$0.isNumber && $0 != "\"" && $0 != "'" }
    if kinds[name] == nil, kinds.count >= Self.kindLimit { name = "" }
    guard var kind = kinds[name] else {
      kinds[name] = Kind(end: now &+ Self.periodNanoseconds)
      return true
    }
    kind.count += 1
    if kind.count > Self.burst { kind.last = line }
    kinds[name] = kind
    return kind.count <= Self.burst
  }

  /// From time to time: what is to be said of lines that were not let through.
  mutating func endPeriods(now: UInt64) -> [String] {
    var lines: [String] = []
    for (name, kind) in kinds where kind.end <= now {
      kinds[name] = nil
      guard let last = kind.last else { continue }
      lines.append("\(last) (\(kind.count - Self.burst) times more)")
    }
    return lines
  }
}

/// A log for what clients do wrong. Any thread.
final class ClientLog: Sendable {
  private let limiter = Mutex(LogLimiter())
  private let log: @Sendable (String) -> Void

  init(_ log: @escaping @Sendable (String) -> Void) { self.log = log }

  func note(_ line: String) {
    let now = SystemClock.monotonicNanoseconds()
    if limiter.withLock({ $0.lets(line, now: now) }) { log(line) }
  }

  /// Each second or so.
  func endPeriods() {
    let now = SystemClock.monotonicNanoseconds()
    for line in limiter.withLock({ $0.endPeriods(now: now) }) { log(line) }
  }
}
