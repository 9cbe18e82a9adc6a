import BlockModel
import SystemIO

// What the state file is told when a site takes the ownership of a group over, and when it gives it
// back. The tails of the journal are exchanged between the steps, by whoever calls them.

extension JournalState {
  /// Records after the fork are about to leave the journal for a branch.
  ///
  /// - Precondition: the group follows, its disks are whole, and it is closed.
  public mutating func parks(at fork: Fork) {
    precondition(ownership.duty == .following && baseline == .complete && self.fork == nil)
    self.fork = fork
    self.fork?.stage = .parking
    // Before anything is written under the term, so that it is never given twice.
    ownership.hear(of: lineage.newest?.term ?? 0)
  }

  /// Records that the owner lacks are about to leave the journal for a branch.
  ///
  /// - Precondition: the group is closed.
  public mutating func yields(at fork: Fork) {
    precondition(baseline == .complete && self.fork == nil)
    self.fork = fork
    self.fork?.stage = .yielding
  }

  /// Records up to those that the owner has dropped are about to leave the journal for a branch,
  /// if any instant of them can be opened.
  ///
  /// - Precondition: the group is closed.
  /// - Parameter before: the branch in which what was here is parked already; empty: that which
  ///   the fork names.
  public mutating func jumps(at fork: Fork, parkedBefore before: String = "") {
    precondition(!needsBaseline && self.fork == nil)
    self.fork = fork
    self.fork?.stage = .jumping
    if !before.isEmpty { lack.before = before }
  }

  /// The journal is empty, and goes on behind the list's common record.
  ///
  /// - Precondition: `jumps` was noted.
  /// - Parameter told: up to when instants may have been told here.
  public mutating func hasJumped(to list: LackingList, toldThrough told: Timestamp) {
    guard let fork, fork.stage == .jumping else { preconditionFailure("where to is named before") }
    self.fork = nil
    let before = fork.parked.isEmpty ? lack.before : fork.parked
    if baseline == .complete {
      let start = max(applied.timestamp, historyStart)
      noteGap(from: start, toldThrough: max(start, told, list.common.timestamp))
    }
    lineage = list.lineage
    disks = list.disks
    nextDisk = max(nextDisk, list.nextDisk)
    becomesFollower(after: list.common, lacking: list.number, parked: before)
  }

  /// They have.
  ///
  /// - Precondition: `yields` was noted.
  public mutating func hasYielded() {
    guard let fork, fork.stage == .yielding else {
      preconditionFailure("what has left is named before")
    }
    self.fork = nil
    lineage = lineage.holding(through: fork.after.sequence)
    durable = min(durable, fork.after.sequence)
    cutDisks(after: fork.after.sequence)
  }

  /// What was being parked could not be, and all is as it was.
  public mutating func parksNothing() { fork = nil }

  /// Nothing is in the journal any more that is later than the fork: the next opening owns the
  /// group.
  ///
  /// - Precondition: `parks` was noted.
  /// - Parameters:
  ///   - former: the site that owned it: all up to the fork came from there.
  ///   - isGiven: by that site, which has acknowledged nothing that is not here.
  public mutating func takesOver(from former: String?, isGiven: Bool = false) {
    guard let fork, fork.stage == .parking else {
      preconditionFailure("a fork is taken over once it is parked")
    }
    ownership.change(to: .owning, isTaken: true)
    self.fork?.stage = .pending
    followers = former.map { [.init(site: $0, durable: certain(before: fork))] } ?? []
    ownerDurable = .unknown
    lineage = lineage.holding(through: fork.after.sequence)
    durable = min(durable, fork.after.sequence)
    cutDisks(after: fork.after.sequence)
    if isGiven { return }
    // What the other site had then, and this one before, was something else.
    noteGap(
      from: fork.instant, toldThrough: max(fork.instant, fork.began, promise.through))
  }

  /// What the former owner has durably, as far as that is certain: it may have lost what it sent,
  /// and then needs it from here. The segment with the last record before the fork stays, too:
  /// where the ownership is taken back, the records that follow go into that one.
  private func certain(before fork: Fork) -> SequenceNumber {
    #if MUTANTS
      if Mutant.trustFormerOwner.isOn { return fork.after.sequence }
    #endif
    guard fork.after.sequence > .none, lineage.contains(ownerDurable.incarnation) else {
      return .none
    }
    let last = SequenceNumber(fork.after.sequence.rawValue - 1)
    return min(ownerDurable.sequence, last)
  }

  /// What the ownership has written is about to leave the journal, for a branch or for ever.
  ///
  /// - Parameter branch: empty: it is dropped, or there is nothing.
  public mutating func returns(parking branch: String) {
    precondition(fork?.stage == .pending, "only what is pending is taken back")
    fork?.stage = .returning
    fork?.returned = branch
    // What is dropped was durable, and is given up: a start must not look for it.
    if branch.isEmpty, let fork { durable = min(durable, fork.after.sequence) }
  }

  /// The journal is again what it was before the fork.
  ///
  /// - Parameters:
  ///   - former: the state of then.
  ///   - told: up to when instants of the ownership may have been told.
  public mutating func goesBack(to former: JournalState, toldThrough told: Timestamp) {
    guard let fork, fork.stage == .returning else {
      preconditionFailure("what is not being taken back cannot be")
    }
    var state = former
    state.fork = nil
    // Apply may have gone further, though not past the fork.
    state.applied = applied
    state.applyTarget = applyTarget
    // Those after the fork are there again.
    state.oldestSegment = fork.parked.isEmpty ? oldestSegment : min(oldestSegment, fork.tail)
    state.ownership = ownership
    state.ownership.takeBack(former.ownership)
    for index in state.disks.indices {
      let present = disks[state.disks[index].number]?.byteCount ?? 0
      state.disks[index].byteCount = max(state.disks[index].byteCount, present)
    }
    state.isClean = true
    // They showed what it had written, and would show what the owner wrote meanwhile.
    let start = max(fork.instant, fork.began, former.promise.through)
    if told > start { state.noteGap(from: start, toldThrough: told) }
    self = state
  }

  /// The ownership is for good.
  public mutating func commits() {
    precondition(fork?.stage == .pending, "only what is pending is committed")
    fork = nil
  }

  /// No further may apply go, so that the ownership can be taken back; nil: as far as it likes.
  public var applyLimit: SequenceNumber? {
    #if MUTANTS
      if Mutant.applyPastFork.isOn { return nil }
    #endif
    return fork.map(\.after.sequence)
  }
}
