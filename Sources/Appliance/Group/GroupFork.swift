import BlockModel
import Journal
import Replication
import SystemIO

/// A failover that can still be taken back, at the site that has taken the group over. On the loop.
///
/// Until it is committed nothing later than the fork is applied. Where the journal has no room for
/// that, it commits itself: a guest must not wait for an operator.
struct PendingFork {
  /// It is being written down that it is for good.
  fileprivate var isCommitting = false
  fileprivate var retryNanoseconds: UInt64 = 0
  fileprivate var failure: String?
  /// At an owner that has met another one: the last record that both have, if nothing later is on
  /// the disks. As long as that is so, the journal goes on as it is when this site follows.
  fileprivate(set) var common: SequenceNumber?
  /// This opening ends for another owner.
  fileprivate(set) var isGivingWay = false
  /// By site: when this opening has stopped for it last, in monotonic nanoseconds.
  var fenced: [String: UInt64] = [:]
}

/// The owner that a site has followed last, as far as this process has met it.
struct FormerOwner: Sendable {
  var site: String?
  /// The newest instant that is known there.
  var newest = Timestamp.zero
}

extension Group {
  /// No further may apply go; see `JournalState.applyLimit`.
  var forkLimit: SequenceNumber {
    min(stateKeeper?.state.applyLimit ?? SequenceNumber(.max), fork.common ?? SequenceNumber(.max))
  }

  /// Several times a second.
  func tickFork() {
    guard let fork = stateKeeper?.state.fork, let commits = fork.commits, commits <= loop.now
    else { return }
    commitFork(because: "its time was up at \(commits)")
  }

  /// There is no room, or soon none, and nothing is left to apply before the fork.
  func commitForkForRoom(_ journal: SiteJournal) {
    guard let fork = stateKeeper?.state.fork, fork.stage == .pending,
      journal.generations.first.map({ $0.span.lastSequence > fork.after.sequence }) ?? false
    else { return }
    commitFork(because: "the journal has no room for what could be taken back")
  }

  /// By itself.
  private func commitFork(because reason: String) {
    guard loop.monotonicNow >= fork.retryNanoseconds, !fork.isCommitting else { return }
    commitFork { [self] failure in
      if failure == nil {
        return log("group \(configuration.name): the failover is committed: \(reason)")
      }
      fork.retryNanoseconds = loop.monotonicNow + 1_000_000_000
      if fork.failure != failure {
        log("group \(configuration.name): committing the failover, as \(reason): \(failure ?? "")")
      }
      fork.failure = failure
    }
  }

  /// The ownership is for good: durable when `done` is called, on the loop, without a failure.
  /// Clients notice nothing.
  func commitFork(_ done: @escaping @Sendable (_ failure: String?) -> Void) {
    guard let stateKeeper, lifecycle.isServing, !fork.isCommitting else {
      return done("the group is just changing: try again")
    }
    guard stateKeeper.state.fork?.stage == .pending else {
      return done("group \(configuration.name) has no failover to commit")
    }
    fork.isCommitting = true
    let folder = journal?.storage.path
    #if MUTANTS
      if Mutant.commitEarly.isOn { done(nil) }
      let done = Mutant.commitEarly.isOn ? { @Sendable _ in } : done
    #endif
    // Not behind a step of apply, which may hang.
    lanes.files.submit { [self] in
      var failure: String?
      do throws(Errno) {
        try stateKeeper.update { if $0.fork?.stage == .pending { $0.commits() } }
        if let folder { OwnershipExchange.forgetFormerState(in: folder) }
      } catch { failure = "writing the state file: \(error.withAdvice)" }
      let result = failure
      loop.post { [self] in
        fork.isCommitting = false
        done(result)
        keepReserve()
      }
    }
  }

  var forkConditions: [Condition] {
    var found: [Condition] = []
    if let fork = stateKeeper?.state.fork {
      let commits = fork.commits.map { "; it commits itself at \($0)" } ?? ""
      found.append(
        Condition(
          .failoverPending,
          "\(siteName) has taken the group over as of \(fork.instant): `tapline commit` keeps it, "
            + "`tapline rollback` takes it back\(commits)"))
    }
    if let moveCondition {
      found.append(moveCondition)
    } else if let fenceText {
      found.append(Condition(.fenced, fenceText))
    }
    // It is told again with the next connection.
    let isFollowing = receiving.receiver?.isStreaming == true
    if let obstacleToFollowing, fence != nil || duty == .following && !isFollowing {
      found.append(Condition(.cannotFollow, obstacleToFollowing))
    }
    return found
  }

  /// Why writes are refused; nil while they are not.
  var fenceText: String? {
    guard let fence else { return nil }
    if fence.isMove {
      return "site \(fence.site) was asked to take the group over, and has not been met since: "
        + "until it is, nobody knows which of the two owns the group, and no write is "
        + "acknowledged here"
    }
    return "site \(fence.site) owns the group by term \(fence.term)"
      + (fence.isPending
        ? ", and has not committed that yet: writes are refused here until it is decided"
        : ": writes are refused here, and this site will follow"
          + (stateKeeper?.state.fork == nil
            ? "" : " once its own failover is decided: `tapline rollback`, or `tapline commit`"))
  }

  // MARK: Fencing

  /// Whose ownership is in force instead of this one's, if any is.
  var fence: Fence? { fences.strongest }

  /// No write is acknowledged.
  var isFenced: Bool {
    #if MUTANTS
      if Mutant.fenceLate.isOn { return false }
    #endif
    return fence != nil
  }

  /// On the loop, once.
  func listenForRivals() {
    for link in links {
      link.setOnMeeting { [loop, weak self, site = link.peerSite] rival, greeted in
        loop.post { [weak self] in
          guard let self else { return }
          if let rival { return meets(rival) }
          // It may have taken the group over since, and this site have heard of that first.
          if greeted > fork.fenced[site] ?? 0 { unfence(for: site) }
        }
      }
    }
  }

  /// A peer greets this owner as owner. True when it, or this site, gives way, and it is answered.
  func answerRival(
    _ hello: LinkHello, _ state: JournalState, _ journal: SiteJournal,
    _ receiver: any IncomingLink
  ) -> Bool {
    guard hello.group == state.group, configuration.peers.contains(where: { $0.site == hello.site })
    else { return false }
    let claim = Claim(state)
    let isTied = hello.claim.ties(with: claim)
    if givesWay(state, to: hello.claim, of: hello.site) {
      let theirs = SiteHistory(hello.lineage, last: hello.last.mark)
      if isTied {
        // So that it takes the next term.
        receiver.outrank(own(state, journal))
      } else {
        receiver.refuse(
          "\(siteName) has owned the group, and gives way"
            + (hello.claim.isPending ? " when the failover is committed" : ""))
      }
      meets(Rival(site: hello.site, claim: hello.claim, history: theirs))
      return true
    }
    guard isTied || hello.claim.givesWay(to: claim), fence == nil else { return false }
    if isTied { outbid(claim.term) }
    receiver.outrank(own(state, journal))
    return true
  }

  private func own(_ state: JournalState, _ journal: SiteJournal) -> Rival {
    let last = LastRecord.newest(journal.catalog, journal.watermarks).mark
    return Rival(
      site: siteName, claim: Claim(state), history: SiteHistory(state.lineage, last: last))
  }

  /// Where two have taken the group over by one term, the order of their names decides: both know
  /// it, and neither waits for the other.
  private func givesWay(_ state: JournalState, to claim: Claim, of site: String) -> Bool {
    let own = Claim(state)
    return own.givesWay(to: claim)
      || own.ties(with: claim) && site.utf8.lexicographicallyPrecedes(siteName.utf8)
  }

  /// Everybody else is to know by the term which of the two it was.
  private func outbid(_ term: UInt64) {
    lanes.files.submit { [self] in
      // The other one meets this site again until it has given way.
      try? stateKeeper?.update { if $0.ownership.term == term { $0.ownership.renew() } }
      for link in links { link.greetAnew() }
    }
  }

  /// An owner greets this follower. True when the two do not go on from here, and it is answered.
  func answerOwner(
    _ hello: LinkHello, _ state: JournalState, _ journal: SiteJournal,
    _ receiver: any IncomingLink
  ) -> Bool {
    guard hello.group == state.group, state.baseline == .complete,
      configuration.peers.contains(where: { $0.site == hello.site })
    else { return false }
    let own = SiteHistory(
      journal.lineage.holding(through: journal.appended),
      last: LastRecord.newest(journal.catalog, journal.watermarks).mark)
    let known = Claim(state)
    if hello.claim.givesWay(to: known) {
      // It has yet to hear of the owner that this site follows, and gives way when it meets that.
      let claim = Claim(term: known.term, isTaken: true, isPending: true)
      receiver.outrank(
        Rival(site: receiving.peerSite ?? siteName, claim: claim, history: own))
      return true
    }
    // Also one that has the term of the owner that this site follows: two may have taken it.
    if hello.claim.isTaken, hello.claim.isPending {
      receiver.refuse("\(siteName) follows \(hello.site) when the failover is committed")
      return true
    }
    guard known.givesWay(to: hello.claim) else { return false }
    let rival = Rival(
      site: hello.site, claim: hello.claim,
      history: SiteHistory(hello.lineage, last: hello.last.mark))
    guard let common = rival.common(with: own),
      common.sequence < own.last.sequence || breaksPromise(of: known, rival, common, own)
    else { return false }
    if !lifecycle.runs(.apply), state.applyTarget.sequence <= common.sequence {
      fork.common = common.sequence
    }
    receiver.refuse("\(siteName) parks what it has and \(hello.site) lacks, and follows then")
    onGivingWay?(rival)
    return true
  }

  /// What was promised by the term that this site has followed was no promise of the rival.
  private func breaksPromise(
    of known: Claim, _ rival: Rival, _ common: JournalState.Mark, _ own: SiteHistory
  ) -> Bool {
    guard let next = rival.incarnation(after: common) else { return false }
    return next.term < known.term
      || next.term == known.term && !own.lineage.contains(next.identifier)
  }

  /// A record of this owner is not later than instants that were told here. Where another owner had
  /// promised them, this site gives them up, as a gap, and follows: the next connection finds so.
  func givesUpPromise(to hello: LinkHello) -> Bool {
    guard duty == .following, let state = stateKeeper?.state, state.baseline == .complete,
      let journal, let onGivingWay
    else { return false }
    let lineage = journal.lineage.holding(through: journal.stamped)
    let own = SiteHistory(
      lineage, last: LastRecord.newest(journal.catalog, journal.watermarks).mark)
    let rival = Rival(
      site: hello.site, claim: hello.claim,
      history: SiteHistory(hello.lineage, last: hello.last.mark))
    // The next record may be one that the former owner has lost in a power cut, and that came here
    // from the site that had it still.
    guard let common = rival.common(with: own), common.sequence == journal.stamped,
      hello.lineage.newest?.term ?? 0 > lineage.newest?.term ?? 0
    else { return false }
    onGivingWay(rival)
    return true
  }

  private func meets(_ rival: Rival) {
    guard let state = stateKeeper?.state, duty == .owning, lifecycle.isServing else { return }
    let isTied = rival.claim.ties(with: Claim(state))
    guard givesWay(state, to: rival.claim, of: rival.site) else {
      // This site may have heard of the other's term while it took the same one itself. A move in
      // doubt is another matter: what was asked of the other site, it may have done.
      if isTied, fences.allSatisfy({ $0 == rival.fence }) {
        unfence(for: rival.site)
        outbid(state.ownership.term)
      }
      return
    }
    fence(rival.fence)
    keepCommon(with: rival, state)
    // What could be taken back here is for an operator to decide first. Of two with one term that
    // which stays takes the next one first: others follow this site, and could not tell them apart.
    if rival.claim.isPending || state.fork != nil || isTied { return }
    fork.isGivingWay = true
    onGivingWay?(rival)
  }

  private func keepCommon(with rival: Rival, _ state: JournalState) {
    guard let journal, fork.common == nil, !lifecycle.runs(.apply) else { return }
    let own = SiteHistory(
      state.lineage, last: LastRecord.newest(journal.catalog, journal.watermarks).mark)
    guard let common = rival.common(with: own),
      state.applyTarget.sequence <= common.sequence
    else { return }
    fork.common = common.sequence
  }

  /// Nobody is told that what he waits for is done.
  private func refuseWaitingWrites() {
    for connection in durability.takeClients() { connection.close() }
    roomCame()
  }

  /// The owner's, of which this follower has heard.
  func noteOwner(_ claim: Claim) {
    lanes.files.submit { [self] in
      // It is told again with each connection.
      try? stateKeeper?.update { $0.ownership.hear(of: claim.term, isTaken: claim.isTaken) }
    }
  }

  /// Another site owns the group. From here on nothing is acknowledged that changes a disk, and
  /// what waits is not either.
  func fence(_ fence: Fence) {
    loop.assertIsCurrent()
    guard duty == .owning, branch == nil else { return }
    let before = fences
    fork.fenced[fence.site] = SystemClock.monotonicNanoseconds()
    fences.note(fence)
    if fences == before { return }
    if before.isEmpty {
      log(
        "group \(configuration.name): site \(fence.site) owns the group by term \(fence.term)"
          + (fence.isPending ? ", not committed yet" : "")
          + ": no write is acknowledged here any more")
      refuseWaitingWrites()
    }
    noteFence()
  }

  /// The ownership of that site, for which this one had stopped, was taken back. It may have
  /// stopped for another one, too.
  func unfence(for site: String) {
    guard fences.contains(where: { $0.site == site }) else { return }
    #if MUTANTS
      if Mutant.stayFenced.isOn { return }
    #endif
    fences.lift(site)
    noteFence()
    if let fence {
      return log(
        "group \(configuration.name): \(site) has given the group back, but not \(fence.site)")
    }
    log("group \(configuration.name): \(site) has given the group back: writes go on")
    fork.common = nil
    resumeAfterMove()
  }

  /// An operator has decided that this owner goes on: it takes the group back from the site for
  /// which it stopped, which gives way. Durable when `done` is called, on the loop, without a
  /// failure.
  func takeBack(_ done: @escaping @Sendable (_ failure: String?) -> Void) {
    let former = fences
    guard let stateKeeper, !former.isEmpty, lifecycle.isServing else {
      return done("the group is just changing: try again")
    }
    lanes.files.submit { [self] in
      var failure: String?
      do throws(Errno) {
        try stateKeeper.update { state in
          for fence in former { state.ownership.hear(of: fence.term) }
          state.ownership.renew()
          state.fences.removeAll { former.contains($0) }
        }
      } catch { failure = "writing the state file: \(error.withAdvice)" }
      let result = failure
      loop.post { [self] in
        if result == nil {
          // Another one may have come meanwhile.
          fences.removeAll { former.contains($0) }
          fork.isGivingWay = false
          if fences.isEmpty {
            fork.common = nil
            resumeAfterMove()
          }
          // Who follows must know the term: it takes a higher one when the group is moved to it.
          for link in links { link.greetAnew() }
        }
        done(result)
      }
    }
  }

  /// So that a restart does not begin to acknowledge anew.
  private func noteFence() {
    #if MUTANTS
      if Mutant.forgetFence.isOn { return }
    #endif
    let fences = fences
    lanes.files.submit { [self] in
      do throws(Errno) {
        try stateKeeper?.update { state in
          state.fences = fences
          for fence in fences { state.ownership.hear(of: fence.term) }
        }
      } catch { log("group \(configuration.name): writing the state file: \(error.withAdvice)") }
    }
  }
}
