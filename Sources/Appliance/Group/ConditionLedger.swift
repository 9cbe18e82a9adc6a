import BlockModel

/// Which conditions a group has, and since when. Time comes in with each call, so it can be tested
/// without a group.
///
/// A condition begins when it is seen, and ends when it was not seen for `restNanoseconds`: what
/// comes and goes faster is one condition, so neither status nor log flaps. What a command ends is
/// over with it: nobody is to read that something is left to do.
struct ConditionLedger: Sendable {
  struct Entry: Sendable {
    /// As it was seen last.
    fileprivate(set) var condition: Condition
    let since: Timestamp
    fileprivate let beganNanoseconds: UInt64
    fileprivate var seenNanoseconds: UInt64
  }

  enum Change: Equatable, Sendable {
    case began(Condition)
    case ended(Condition, afterNanoseconds: UInt64)
  }

  static let restNanoseconds: UInt64 = 3_000_000_000

  /// The worst first; within a severity, in the order of `ConditionCode`.
  private(set) var entries: [Entry] = []

  /// Takes what is present now.
  ///
  /// - Parameters:
  ///   - now: of the monotonic clock, in nanoseconds.
  ///   - instant: of the wall clock, for people.
  mutating func note(_ present: [Condition], now: UInt64, instant: Timestamp) -> [Change] {
    if present.isEmpty, entries.isEmpty { return [] }
    var changes: [Change] = []
    for condition in present {
      if let index = entries.firstIndex(where: { $0.condition.isAboutTheSame(as: condition) }) {
        entries[index].condition = condition
        entries[index].seenNanoseconds = now
      } else {
        entries.append(
          Entry(
            condition: condition, since: instant, beganNanoseconds: now, seenNanoseconds: now))
        changes.append(.began(condition))
      }
    }
    entries.removeAll { entry in
      let rest = entry.condition.code.endsAtOnce ? 1 : Self.restNanoseconds
      guard now &- entry.seenNanoseconds >= rest else { return false }
      changes.append(
        .ended(
          entry.condition,
          afterNanoseconds: entry.seenNanoseconds &- entry.beganNanoseconds))
      return true
    }
    entries.sort { Self.order($0.condition.code) < Self.order($1.condition.code) }
    return changes
  }

  private static func order(_ code: ConditionCode) -> (Int, Int) {
    let worst = Severity.allCases.count - (Severity.allCases.firstIndex(of: code.severity) ?? 0)
    return (worst, ConditionCode.allCases.firstIndex(of: code) ?? 0)
  }
}

/// What status says of a condition.
public struct ConditionStatus: Codable, Equatable, Sendable {
  /// Of `ConditionCode`.
  public var code: String
  /// `info`, `warning`, `error` or `critical`.
  public var severity: String
  /// One sentence, with the numbers.
  public var text: String
  public var remedy: String
  /// When it began.
  public var since: String
  /// Absent when it is about the whole group.
  public var disk: String?
  /// The site that it is about; absent where it is about none that the group sends to.
  public var peer: String?

  init(_ condition: Condition, since: Timestamp) {
    code = condition.code.rawValue
    severity = condition.code.severity.rawValue
    text = condition.text
    remedy = condition.code.facts.remedy
    self.since = "\(since)"
    disk = condition.disk
    peer = condition.peer
  }
}

extension [ConditionStatus] {
  /// `ok`, or what the first says that is worse than `info`. They come worst first.
  var health: String {
    first { $0.severity != Severity.info.rawValue }?.text ?? "ok"
  }
}
