import BlockModel
import Journal

/// The instants that exist, and where an instant cuts the group's order.
public struct History: Sendable {
  /// The oldest instant: nothing older can be opened.
  public var start: Timestamp
  /// The newest instant of which it is known that nothing earlier is missing.
  public var end: Timestamp
  /// Closed generations, oldest first.
  public var generations: [Generation]
  /// Of the records after the closed generations.
  public var activeSpan: RecordSpan?
  public var activeCheckpoints: [Checkpoint]
  public var gaps: [JournalState.Gap]

  public init(
    start: Timestamp, end: Timestamp, generations: [Generation], activeSpan: RecordSpan?,
    activeCheckpoints: [Checkpoint], gaps: [JournalState.Gap]
  ) {
    self.start = start
    self.end = end
    self.generations = generations
    self.activeSpan = activeSpan
    self.activeCheckpoints = activeCheckpoints
    self.gaps = gaps
  }

  public enum Refusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// Nothing can be opened yet: the baseline is not complete.
    case noHistory
    case outside(asked: Timestamp, start: Timestamp, end: Timestamp)
    case noCheckpoint(tag: String, start: Timestamp, end: Timestamp)
    case inGap(asked: Timestamp, JournalState.Gap)

    public var description: String {
      switch self {
      case .noHistory:
        "no instant can be opened yet: the initial sync is not complete"
      case .outside(let asked, let start, let end):
        "\(asked) is outside of the history, which reaches from \(start) to \(end)"
      case .noCheckpoint(let tag, let start, let end):
        "no checkpoint \"\(tag)\" in the history, which reaches from \(start) to \(end)"
      case .inGap(let asked, let gap):
        "\(asked) is in a gap of the history, from \(gap.from) to \(gap.to): order was lost there, "
          + "or the group changed hands; `tapline timeline` names what is parked of it"
      }
    }
  }

  /// The instant that `expression` names, checked to be in the history. To find a tag takes time in
  /// proportion to the number of checkpoints; the rest is quick.
  public func instant(
    of expression: InstantExpression, now: Timestamp
  ) throws(Refusal) -> Timestamp {
    guard start <= end else { throw .noHistory }
    let asked: Timestamp
    switch expression {
    case .latest:
      return end
    case .ago(let nanoseconds):
      // Of the timeline: its stamps may be ahead of the clock.
      let present = max(now, end)
      let distance = min(nanoseconds, present.rawValue)
      asked = Timestamp(rawValue: present.rawValue - distance)
    case .at(let timestamp):
      asked = timestamp
    case .checkpoint(let tag):
      guard let found = newestCheckpoint(tag: tag) else {
        throw .noCheckpoint(tag: tag, start: start, end: end)
      }
      return found.timestamp
    }
    guard asked >= start, asked <= end else {
      throw .outside(asked: asked, start: start, end: end)
    }
    // Both ends of a gap are instants of the order, and so is the newest, though the clock of who
    // was there before may have been ahead.
    if asked < end, let gap = gaps.first(where: { $0.from < asked && asked < $0.to }) {
      throw .inGap(asked: asked, gap)
    }
    return asked
  }
}
