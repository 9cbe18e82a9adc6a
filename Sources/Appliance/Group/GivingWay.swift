import BlockModel
import Journal
import Replication
import SystemIO

/// A site gives its order up for that of another one, which owns the group by a higher term than
/// its own, or than that of the owner that it has followed: it follows that one from the last
/// record that both have.
///
/// Nothing that was acknowledged is thrown away. What follows the later of the common record and
/// what is applied is parked as it lies in the journal, and can be opened at each of its instants.
/// Its own records up to there, if there are any, are on the disks: what they changed is listed,
/// and comes from the new owner (`GroupOpening.yield`).
extension OwnershipExchange {
  /// After this the group's next opening follows. Throws with all as it was, but that the branch
  /// may be there.
  mutating func giveWay(to rival: Rival, now: Timestamp) throws(SiteError) {
    let name = configuration.name
    guard state.baseline == .complete, state.fork == nil else {
      throw SiteError("group \(name) is not whole any more")
    }
    guard !rival.claim.givesWay(to: Claim(state)) else {
      throw SiteError("group \(name) is owned by a higher term than that of \(rival.site)")
    }
    let recovered = try recover()
    let end = JournalState.Mark(recovered.lastSequence, recovered.lastTimestamp)
    let own = SiteHistory(state.lineage, last: end)
    guard let found = rival.common(with: own) else {
      throw SiteError(
        "group \(name): \(rival.site) and this site have no record in common that is known")
    }
    #if MUTANTS
      let common = Mutant.followFromLast.isOn ? end : found
    #else
      let common = found
    #endif
    let told = max(
      end.timestamp,
      state.promise.limit(
        at: SystemClock.monotonicNanoseconds(), boot: SystemInfo.bootIdentifier))
    // A follower without records of its own comes here for what another owner had promised.
    let next = rival.incarnation(after: common)
    let isParting =
      common.sequence < end.sequence || state.ownership.duty == .following
      || next.map { $0.term <= state.ownership.term } ?? true
    var branch = ""
    if common.sequence < end.sequence {
      branch = try park(end, forkedAfter: common, from: rival, now: now)
    }
    var said: [String] = []
    defer { notes += said }
    let outcome = try GroupOpening.yield(
      folder: folder, to: common, by: rival.claim, parked: branch, toldThrough: told,
      isParting: isParting, log: { said.append($0) })
    switch outcome {
    case .follows:
      notes.append("this site follows \(rival.site) from record \(common.sequence.rawValue)")
    case .needsCopy(let reason):
      let rest = try recover()
      if rest.lastSequence == state.applied.sequence {
        try jump(to: rival.claim, from: rest, parkedBefore: branch, now: now)
        return notes.append(
          "this site follows \(rival.site), which everything here is compared with: \(reason)")
      }
      throw SiteError(
        "group \(name) cannot follow \(rival.site) without a full copy, which would destroy what "
          + "is here: \(reason). Move \(folder) away, with what you want of it, and start this "
          + "site anew")
    }
  }

  /// - Returns: the branch.
  private mutating func park(
    _ end: JournalState.Mark, forkedAfter common: JournalState.Mark, from rival: Rival,
    now: Timestamp
  ) throws(SiteError) -> String {
    let isApart = state.applied.sequence > common.sequence
    let last = isApart ? state.applied : common
    guard state.applyTarget.sequence <= last.sequence else {
      throw SiteError(
        "group \(configuration.name): a step of apply has begun, up to record "
          + "\(state.applyTarget.sequence.rawValue), and has yet to come to its end")
    }
    let branch = try branch(of: rival.claim.term, after: last, through: end)
    var generator = SystemEntropy()
    var fork = Fork(
      at: .init(last: last, tail: nil, end: end, byteCount: 0), instant: last.timestamp, began: now,
      parked: branch, epoch: state.epoch, identity: .random(using: &generator))
    fork.stage = .yielding
    try note { $0.yields(at: fork) }
    do throws(SiteError) { try parkOwn() } catch {
      if !ParkedTail.isBegun(branch, in: folder) { try note { $0.parksNothing() } }
      throw error
    }
    return branch
  }

  /// After `yields`.
  mutating func parkOwn() throws(SiteError) {
    guard let fork = state.fork else { return }
    var record = branchRecord(fork.parked, fork.identity, of: fork)
    // What is on the disks is later than what both have, or the same: nothing else of the order is
    // beneath it.
    record.isApart = state.applied.sequence == fork.after.sequence
    if record.isApart { record.byteLimit = wholeLimit }
    record.note = "acknowledged by the owner before, and lacking at the next one"
    var found: [String] = []
    defer { notes += found }
    try ParkedTail.park(
      after: fork.after, of: state, in: folder, as: record, log: { found.append($0) })
    try note { $0.hasYielded() }
  }

  /// A new name; or, where nothing is left to park, that of an attempt before.
  private func branch(
    of term: UInt64, after last: JournalState.Mark, through end: JournalState.Mark
  ) throws(SiteError) -> String {
    let found = try GroupOpening.findRecords(folder) { _ in }
    for number in 1... {
      // The names of branches are unique at a site.
      let name = BranchName.parked(
        "parked", group: configuration.name, term: term, number: number)
      guard let other = found.first(where: { $0.name == name }) else { return name }
      if other.kind == .parked, end == last, other.instant == last.timestamp { return name }
    }
    preconditionFailure("numbers end")
  }
}
