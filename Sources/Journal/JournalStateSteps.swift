import BlockModel
import SystemIO

// What the state file is told at each step of a group's life: whoever runs a group, takes these.

extension JournalState {
  // MARK: Opening

  /// The journal was recovered, and the group is about to be served. Each start of an owner is
  /// another timeline, with segments of its own: the folder may be an older one put back, or a copy
  /// of one with which somebody else goes on.
  ///
  /// - Parameters:
  ///   - isNew: it was never served before.
  ///   - former: what it did until now, when that was something else.
  public mutating func opens<Storage>(
    _ recovered: JournalRecovery<Storage>, isNew: Bool, former: Duty? = nil
  ) {
    if let former, former != ownership.duty { changes(recovered.lastSequence) }
    if ownership.duty == .owning, !isNew { beginIncarnation(after: recovered) }
    isClean = false
    oldestSegment = recovered.oldestSegment
  }

  /// The duty is another from here on. What an owner had was acknowledged by it: whoever owns after
  /// it and lacks some of that has not lost it in a power cut, and may not have it dropped. What it
  /// had reserved to promise was never told to anybody as the promise of the next, and the numbers
  /// of disks that were about to come neither.
  ///
  /// - Parameter last: the last record that is here.
  private mutating func changes(_ last: SequenceNumber) {
    ownerDurable = .unknown
    guard ownership.duty == .following else { return }
    // Starts of its own that have stamped nothing would be taken for those who have stamped what
    // the next owner sends.
    lineage = lineage.holding(through: last)
    // The next owner gives that number to a disk of its own.
    disks.removeAll { $0.added == nil }
    #if MUTANTS
      if Mutant.forgetOwnDurable.isOn { return promise = .none }
      let reserved = promise
      defer { if Mutant.keepOwnReservation.isOn { promise = reserved } }
    #endif
    promise = .none
    if let holder = lineage.holder(of: last) { ownerDurable = .init(holder.identifier, last) }
  }

  private mutating func beginIncarnation<Storage>(after recovered: JournalRecovery<Storage>) {
    #if MUTANTS
      if Mutant.keepIncarnation.isOn, isClean { return }
      if Mutant.keepEpoch.isOn, !isClean { return }
    #endif
    // The state file may have lost the change that began one.
    for incarnation in recovered.incarnations where incarnation.epoch > epoch {
      lineage.note(incarnation)
    }
    beginIncarnation(
      after: .init(recovered.lastSequence, recovered.lastTimestamp),
      above: max(recovered.newestEpoch, fork?.epoch ?? 0))
  }

  // MARK: Apply

  /// Before the first byte is written to a base.
  public mutating func applyBegins(through mark: Mark) {
    // One that was begun before, and failed, may have gone further.
    if mark.sequence > applyTarget.sequence { applyTarget = mark }
    // The disks will hold them: should they not be found again, that is no torn end.
    durable = max(durable, mark.sequence)
  }

  /// The bases hold the step, durably.
  ///
  /// - Parameters:
  ///   - durable: as far as the journal is.
  ///   - followers: what they have now.
  ///   - oldest: number of the first segment that somebody needs: what comes before it is void from
  ///     here on. Nil: all are needed.
  public mutating func applyEnded(
    through mark: Mark, durable: SequenceNumber, followers: [FollowerMark], oldest: UInt32?
  ) {
    applied = mark
    self.durable = max(self.durable, durable, mark.sequence)
    self.followers = followers
    oldestSegment = max(oldestSegment, oldest ?? 0)
    forgetGoneDisks()
  }

  // MARK: At a following group

  /// The journal is to be cut: what comes after `last` is given up.
  ///
  /// - Parameters:
  ///   - lineage: of what is kept.
  ///   - isDiscarded: an operator has given it up; else its owner lost it.
  public mutating func cut(
    after last: SequenceNumber, keeping lineage: Lineage, ownerDurable: OwnerMark,
    isDiscarded: Bool
  ) {
    self.lineage = lineage
    self.ownerDurable = ownerDurable
    // What the peer that goes on has promised is another matter.
    #if MUTANTS
      let isDiscarded = isDiscarded && !Mutant.keepDiscardedPromise.isOn
    #endif
    if isDiscarded { promise = .none }
    // Apply may have gone further by now; then only a full copy helps, and the peer will find out.
    durable = min(durable, max(last, applied.sequence))
    cutDisks(after: last)
    if lack.record > last { lack = Lack(list: lack.list, before: lack.before) }
  }

  /// Another site owns the group after the record that both have, `common`, and this one follows it
  /// from there on. All that is here is applied; where there are own records after the common one,
  /// the journal is erased.
  ///
  /// - Parameters:
  ///   - list: of what those have changed; nil: there are none.
  ///   - branch: the one in which what was here before is parked; empty: it is not.
  ///   - told: up to when instants may have been told here.
  ///   - isParting: those after the common record show something else from here on.
  public mutating func becomesFollower(
    after common: Mark, lacking list: UInt64? = nil, parked branch: String = "",
    toldThrough told: Timestamp = .zero, isParting: Bool = false
  ) {
    if isParting, told > common.timestamp {
      noteGap(from: common.timestamp, toldThrough: told)
    }
    lineage = lineage.holding(through: common.sequence)
    if ownership.duty != .following { ownership.change(to: .following) }
    changes(common.sequence)
    // They stay as they were, if the next owner has stamped nothing before.
    if !isParting, told > common.timestamp { promise = Promise(given: told) }
    followers = []
    guard let list else { return }
    baseline = .reconciling
    lack = Lack(list: list, before: branch)
    applied = common
    applyTarget = common
    durable = common.sequence
    historyStart = .zero
    // The segments of the next owner have numbers of their own.
    oldestSegment = 0
  }

  /// A full copy begins, goes on, or is followed by the records after `start`: the history here
  /// ends, and the journal is to be erased. The disks become those of the owner.
  ///
  /// - Parameters:
  ///   - disks: as they are here, with the owner's numbers; all of them are below `nextDisk`.
  ///   - copy: its number.
  ///   - lineage: of the owner.
  public mutating func copies(
    _ group: GroupIdentifier, copy number: UInt64, from start: SequenceNumber, of lineage: Lineage,
    disks: [Disk], nextDisk: UInt16, now: Timestamp
  ) {
    self.disks = disks
    self.nextDisk = max(nextDisk, UInt16(disks.numberCount))
    if baseline == .complete {
      noteGap(.init(from: max(applied.timestamp, historyStart), to: now))
    }
    self.group = group
    baseline = .copying
    if copy.number != number { copy = .init(number: number) }
    lack = .none
    self.lineage = lineage.holding(through: start)
    ownerDurable = .unknown
    applied = .init(start, .zero)
    applyTarget = applied
    durable = start
    promise = .none
    historyStart = .zero
  }
}
