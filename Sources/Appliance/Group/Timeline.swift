import BlockModel
import Journal
import Volume

/// Which checkpoints `tapline timeline` is to show.
public struct TimelineQuery: Sendable {
  public static let defaultLimit = 1_000
  /// A page of so many stays far below what a reply may have.
  public static let largestLimit = 100_000

  /// None before it; nil: from the start of the history.
  public var from: InstantExpression?
  /// None behind it; nil: to the end.
  public var to: InstantExpression?
  /// So many at most: the newest ones, or the oldest if only `from` is given.
  public var limit: Int

  public init(
    from: InstantExpression? = nil, to: InstantExpression? = nil, limit: Int = Self.defaultLimit
  ) {
    self.from = from
    self.to = to
    self.limit = limit
  }
}

/// What `tapline timeline` shows: the instants of a group that can be opened.
public struct TimelineStatus: Codable, Sendable {
  public struct Checkpoint: Codable, Sendable {
    public var instant: String
    public var sequence: UInt64
    /// Empty for a periodic one.
    public var tag: String
  }

  /// An interval in which order was lost; not selectable.
  public struct Gap: Codable, Sendable {
    public var from: String
    public var to: String
  }

  /// Records that are kept beside the order.
  public struct Parked: Codable, Sendable {
    public var name: String
    /// The instants that can be opened of it.
    public var from: String
    public var to: String
    /// The names under which NBD clients open its end; another instant goes in the place of
    /// `latest`.
    public var exports: [String]
  }

  public var group: String
  /// Absent, with `end`, when nothing can be opened yet.
  public var start: String?
  public var end: String?
  /// A page of them, oldest first.
  public var checkpoints: [Checkpoint]
  /// There are earlier ones: the page up to (`to`) this instant has them.
  public var earlier: String?
  /// There are later ones: the page from (`from`) this instant on has them.
  public var later: String?
  public var gaps: [Gap]
  /// What was acknowledged and is not in the order any more, and can be opened; absent when there
  /// is nothing.
  public var parked: [Parked]?
  /// Those that are over, oldest first; absent when there were none.
  public var tests: [TestReportStatus]?
}

extension TimelineStatus {
  /// Not on a loop: takes a time in proportion to the page, and for a tag to the history.
  ///
  /// - Parameter now: where `-1h` counts from.
  init(
    group: String, _ history: History, _ query: TimelineQuery, now: Timestamp
  ) throws(SiteError) {
    guard (1...TimelineQuery.largestLimit).contains(query.limit) else {
      throw SiteError("a limit is 1 to \(TimelineQuery.largestLimit)")
    }
    let isOpen = history.start <= history.end
    let page = history.checkpoints(
      from: try query.from.map { (from) throws(SiteError) in
        try history.bound(from, now: now)
      },
      through: try query.to.map { (to) throws(SiteError) in try history.bound(to, now: now) },
      limit: query.limit)
    self.init(
      group: group, start: isOpen ? "\(history.start)" : nil, end: isOpen ? "\(history.end)" : nil,
      checkpoints: page.checkpoints.map(TimelineStatus.Checkpoint.init),
      earlier: page.earlier.map { "\($0)" }, later: page.later.map { "\($0)" },
      gaps: history.gaps.map { .init(from: "\($0.from)", to: "\($0.to)") })
  }
}

extension TimelineStatus.Checkpoint {
  init(_ checkpoint: Checkpoint) {
    self.init(
      instant: "\(checkpoint.timestamp)", sequence: checkpoint.sequence.rawValue,
      tag: checkpoint.tag)
  }
}

extension History {
  /// An end of a page: it need not be in the history.
  fileprivate func bound(
    _ expression: InstantExpression, now: Timestamp
  ) throws(SiteError) -> Timestamp {
    switch expression {
    case .at(let instant): return instant
    case .ago(let nanoseconds):
      return Timestamp(rawValue: now.rawValue - min(nanoseconds, now.rawValue))
    case .latest, .checkpoint:
      do throws(Refusal) { return try instant(of: expression, now: now) } catch {
        throw SiteError("\(error)")
      }
    }
  }
}
