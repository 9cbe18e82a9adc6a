import BlockModel
import Journal

/// A part of a group's checkpoints, oldest first, and where it goes on.
public struct CheckpointPage: Equatable, Sendable {
  public var checkpoints: [Checkpoint]
  /// The checkpoint before the first, if it was wanted, too: a page up to here follows.
  public var earlier: Timestamp?
  /// The checkpoint behind the last: a page from here on follows.
  public var later: Timestamp?
}

/// Checkpoints lie in the lists of the generations, which follow each other and are in order
/// themselves. So a place among them is found by two binary searches, and no list of all is made.
extension History {
  /// - Parameters:
  ///   - from: none before it; nil: from the start of the history.
  ///   - through: none behind it; nil: to the end.
  ///   - limit: so many at most, at least one: the newest ones of them, or the oldest if only
  ///     `from` is given.
  public func checkpoints(
    from: Timestamp?, through: Timestamp?, limit: Int
  ) -> CheckpointPage {
    let first = max(from ?? .zero, start)
    let last = through ?? .distantFuture
    var found: [Checkpoint] = []
    func take(_ checkpoint: Checkpoint) -> Bool {
      guard checkpoint.timestamp >= first, checkpoint.timestamp <= last else { return false }
      found.append(checkpoint)
      return found.count <= limit
    }
    if from != nil, through == nil {
      forEachForward(from: first, take)
      let later = found.count > limit ? found.removeLast().timestamp : nil
      return CheckpointPage(
        checkpoints: found, earlier: before(first)?.timestamp, later: later)
    }
    forEachBackward(from: last, take)
    let earlier = found.count > limit ? found.removeLast().timestamp : before(first)?.timestamp
    return CheckpointPage(
      checkpoints: found.reversed(), earlier: earlier, later: behind(last)?.timestamp)
  }

  /// The newest one with this tag that can be opened. Looks at all: not for a loop.
  func newestCheckpoint(tag: String) -> Checkpoint? {
    var found: Checkpoint?
    forEachBackward(from: .distantFuture) { checkpoint in
      if checkpoint.timestamp < start { return false }
      if checkpoint.tag == tag { found = checkpoint }
      return found == nil
    }
    return found
  }

  private func before(_ instant: Timestamp) -> Checkpoint? {
    guard instant > start else { return nil }
    var found: Checkpoint?
    forEachBackward(from: Timestamp(rawValue: instant.rawValue - 1)) { checkpoint in
      if checkpoint.timestamp >= start { found = checkpoint }
      return false
    }
    return found
  }

  private func behind(_ instant: Timestamp) -> Checkpoint? {
    guard instant < .distantFuture else { return nil }
    var found: Checkpoint?
    forEachForward(from: Timestamp(rawValue: instant.rawValue + 1)) { checkpoint in
      found = checkpoint
      return false
    }
    return found
  }

  /// Those at or before `instant`, newest first, until `take` says no.
  private func forEachBackward(from instant: Timestamp, _ take: (Checkpoint) -> Bool) {
    var place = generations.firstIndexInOrder { $0.span.firstTimestamp > instant }
    while place >= 0 {
      let list = list(place)
      var index = list.firstIndexInOrder { $0.timestamp > instant }
      while index > 0 {
        index -= 1
        if !take(list[index]) { return }
      }
      place -= 1
    }
  }

  /// Those at or behind `instant`, oldest first, until `take` says no.
  private func forEachForward(from instant: Timestamp, _ take: (Checkpoint) -> Bool) {
    var place = generations.firstIndexInOrder { $0.span.lastTimestamp >= instant }
    while place <= generations.count {
      let list = list(place)
      for index in list.firstIndexInOrder(where: { $0.timestamp >= instant })..<list.count
      where !take(list[index]) {
        return
      }
      place += 1
    }
  }

  /// The checkpoints of a generation; behind the last, those of the active one.
  private func list(_ place: Int) -> [Checkpoint] {
    place < generations.count ? generations[place].checkpoints : activeCheckpoints
  }
}
