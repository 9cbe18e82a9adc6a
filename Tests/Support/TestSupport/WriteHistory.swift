import Synchronization

/// What a client did to a disk with many writes in flight, and which contents that allows.
///
/// Writes are whole sectors of `TaggedSectors`, and no two in flight overlap, so the writes of a
/// sector have an order. An acknowledged write must be there; one without an answer may be there or
/// not, but as a whole. Safe to use from several threads.
public final class WriteHistory: Sendable {
  struct Write {
    let first: Int
    let count: Int
    let submitted: UInt64
    var acknowledged: UInt64?
    /// Must survive a power cut.
    var isDurable = false
  }

  struct State {
    /// The write with tag t is at t − 1.
    var writes: [Write] = []
    var acknowledgedCount = 0
    /// The writes before this one are durable or lost: see `settleAfterPowerCut`.
    var firstUnsettled = 0
    /// The writes before this one have been judged: see `forget`.
    var firstRecent = 0
    /// When the newest flush that has been answered was submitted.
    var flushed: UInt64 = 0
    /// Tags by sector, in the order of submission: ascending.
    var versions: [[UInt64]]
  }

  public let sectors: Int
  let state: Mutex<State>

  public init(sectors: Int) {
    self.sectors = sectors
    state = Mutex(State(versions: Array(repeating: [], count: sectors)))
  }

  /// Notes that a write is about to be submitted, and returns its tag.
  public func begin(first: Int, count: Int) -> UInt64 {
    state.withLock { state in
      state.writes.append(
        Write(first: first, count: count, submitted: wallClockNanoseconds(), acknowledged: nil))
      let tag = UInt64(state.writes.count)
      for sector in first..<first + count { state.versions[sector].append(tag) }
      return tag
    }
  }

  /// - Parameter isDurable: it had FUA.
  public func acknowledge(_ tag: UInt64, isDurable: Bool = false) {
    state.withLock { state in
      state.writes[Int(tag) - 1].acknowledged = wallClockNanoseconds()
      state.writes[Int(tag) - 1].isDurable = isDurable
      state.acknowledgedCount += 1
    }
  }

  public var acknowledgedCount: Int { state.withLock { $0.acknowledgedCount } }

  public var count: Int { state.withLock { $0.writes.count } }

  /// Takes `image`, in which there are no violations and no writes in flight, as the verdict on the
  /// writes without an answer: those in it must stay, those not in it must not come later.
  public func settle(with image: [UInt8]) {
    let now = wallClockNanoseconds()
    state.withLock { state in
      for index in state.firstRecent..<state.writes.count
      where state.writes[index].acknowledged == nil {
        let tag = UInt64(index + 1)
        let write = state.writes[index]
        let range = write.first..<write.first + write.count
        if range.contains(where: { TaggedSectors.tag(of: $0, in: image) == tag }) {
          state.writes[index].acknowledged = now
          state.acknowledgedCount += 1
        } else {
          for sector in range { state.versions[sector].removeAll { $0 == tag } }
        }
      }
    }
  }

  /// Forgets what was overwritten before `instant`, so that a long run stays quick: no image of
  /// before it will be asked about. Nothing may be in flight or lack a verdict, and what was
  /// acknowledged before the instant must be durable and known to whoever is asked.
  public func forget(before instant: UInt64) {
    state.withLock { state in
      for sector in state.versions.indices {
        let current = state.versions[sector].lastIndex {
          (state.writes[Int($0) - 1].acknowledged ?? .max) < instant
        }
        if let current { state.versions[sector].removeFirst(current) }
      }
      let writes = state.writes[state.firstRecent...]
      state.firstRecent = writes.firstIndex { $0.submitted >= instant } ?? state.writes.count
    }
  }

  /// What `image` must not be after everything acknowledged so far, as lines to read; empty when
  /// it is right.
  public func violations(in image: [UInt8]) -> [String] {
    violations(in: image, after: .max, before: .max)
  }

  /// The same for the view at `instant`: everything acknowledged before it and nothing submitted
  /// after it. `slack` allows for a stamp that is a little older than the submission.
  public func violations(
    in image: [UInt8], at instant: UInt64, slack: Duration = .milliseconds(10)
  ) -> [String] {
    let slack = UInt64(slack.inSeconds * 1e9)
    return violations(in: image, after: instant - slack, before: instant + slack)
  }

  /// The same for an image at an instant that is not known, such as the newest that another site
  /// has received: with the newest write that can be seen, everything acknowledged before that one
  /// was submitted must be there.
  public func cutViolations(in image: [UInt8]) -> [String] {
    violations(in: image, after: newestSubmission(in: image), before: .max)
  }

  /// When the newest write that can be seen in the image was submitted.
  func newestSubmission(in image: [UInt8]) -> UInt64 {
    guard image.count == sectors * TaggedSectors.size else { return 0 }
    let tags = (0..<sectors).compactMap { TaggedSectors.tag(of: $0, in: image) }
    return state.withLock { state in
      tags.filter { $0 > 0 && $0 <= state.writes.count }
        .map { state.writes[Int($0) - 1].submitted }.max() ?? 0
    }
  }

  /// - Parameters:
  ///   - floor: what was acknowledged before this must be there.
  ///   - ceiling: what was submitted after this must not.
  ///   - countsDurable: whether what is durable must be there in any case.
  func violations(
    in image: [UInt8], after floor: UInt64, before ceiling: UInt64, countsDurable: Bool = false
  ) -> [String] {
    guard image.count == sectors * TaggedSectors.size else {
      return ["\(image.count) bytes instead of \(sectors * TaggedSectors.size)"]
    }
    // What each sector shows: the tag of a write, or nil where it is nobody's.
    let shown = (0..<sectors).map { TaggedSectors.tag(of: $0, in: image) }
    return state.withLock { state in
      var found: [String] = []
      for sector in 0..<sectors where found.count < 10 {
        let versions = state.versions[sector]
        guard let tag = shown[sector] else {
          found.append("sector \(sector) is torn or foreign; its writes: \(versions)")
          continue
        }
        guard tag == 0 || versions.lastIndex(of: tag) != nil else {
          found.append("sector \(sector) holds write \(tag); its writes: \(versions)")
          continue
        }
        let settled = versions.last {
          let write = state.writes[Int($0) - 1]
          return (write.acknowledged ?? .max) < floor || countsDurable && write.isDurable
        }
        if let settled, tag < settled {
          found.append("sector \(sector) holds write \(tag), lost \(settled)")
        } else if tag > 0, state.writes[Int(tag) - 1].submitted > ceiling {
          found.append("sector \(sector) holds write \(tag) of after the instant")
        }
      }
      return found + state.torn(shown, notBefore: floor)
    }
  }
}

extension WriteHistory.State {
  /// Writes of which a part is there and a part is not, among those that need not be there.
  fileprivate func torn(_ shown: [UInt64?], notBefore floor: UInt64) -> [String] {
    var found: [String] = []
    for number in firstRecent..<writes.count where found.count < 10 {
      let write = writes[number]
      guard (write.acknowledged ?? .max) >= floor else { continue }
      let tag = UInt64(number + 1)
      let parts = shown[write.first..<write.first + write.count]
      if parts.contains(tag), parts.contains(where: { $0 ?? .max < tag }) {
        found.append("write \(tag) is there in part")
      }
    }
    return found
  }
}
