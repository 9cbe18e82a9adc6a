import BlockModel
import Configuration
import Journal
import Replication
import Storage
import SystemIO
import Volume

/// What a recovery group knows about its incoming link. Confined to the group's loop.
struct ReceivingState {
  var receiver: (any IncomingLink)?
  var vitals = LinkVitals(now: SystemClock.monotonicNanoseconds())
  var peerSite: String?
  /// Apply may not pass it: during a full copy, pieces that are still to come hold only so much.
  var applyLimit = SequenceNumber(.max)
  /// The end of a full copy was announced: from this record on the disks can be trusted.
  var baselineEnd: JournalState.Mark?
  /// The last piece of the full copy is durable on the disks.
  var isBaselineStored = false
  /// The record that comes next does not fit its disk here.
  var obstacle: Obstacle?
  /// What both sites say while an operator must decide.
  var divergence: String?
  /// The newest record of which the peer has said that it is durable there.
  var ownerDurable = JournalState.OwnerMark.unknown
  /// Why a peer was refused last; said once, though it tries again and again.
  var refusal: String?
  /// What `GroupLifecycle.Step.reset` is.
  var reset: (() -> Void)?
  /// The group's `storeFailures` when the first piece of this connection could come.
  var failuresBefore = 0
  var reported = LinkProgress(
    isRecoverable: false, received: .none, durable: .none, applied: .none,
    durableTimestamp: .zero)
}

/// What a recovery group learns beside its records, and writes down when it writes anyway. Empty at
/// others.
struct KnownOfOthers: Sendable {
  var lineage: Lineage?
  var ownerDurable = JournalState.OwnerMark.unknown

  func note(in state: inout JournalState) {
    guard let lineage else { return }
    state.lineage = lineage
    state.ownerDurable = ownerDurable
  }

  func isNews(to state: JournalState) -> Bool {
    lineage != nil && state.ownerDurable != ownerDurable
  }
}

extension Group {
  /// No instant can be opened: it would hold up the reset, or read what is being erased.
  var closesViews: Bool {
    #if MUTANTS
      if Mutant.viewDuringReset.isOn { return false }
    #endif
    return lifecycle.isResetting
  }

  // MARK: Connecting

  /// A peer wants to send. A newer connection replaces an older one: the peer has given that up.
  func accept(_ receiver: any IncomingLink, _ hello: LinkHello) {
    guard failure == nil, !isStopping, let state = stateKeeper?.state, journal != nil else {
      return receiver.refuse("the group is stopping or has failed")
    }
    if let reason = refusal(of: hello, state) ?? refusalOfRival(hello) {
      return receiver.refuse(reason)
    }
    closeReceiver()
    // What the older one had staged was journaled with its end, or could not be.
    if let failure { return receiver.refuse("the group has failed: \(failure)") }
    receiving.receiver = receiver
    receiving.vitals.began(now: SystemClock.monotonicNanoseconds())
    receiving.peerSite = hello.site
    // A new connection is told everything.
    receiving.reported = ReceivingState().reported
    receiving.obstacle = nil
    receiving.refusal = nil
    guard state.baseline == .copying else { return receiver.welcome(welcome(state)) }
    // First what an earlier connection has brought is stored: then it is known how far that is, and
    // no more piles up, however often connections break.
    receiver.keepWaiting()
    keeper.submit { [self] in
      loop.post { [self] in
        guard receiving.receiver === receiver, let state = stateKeeper?.state else { return }
        receiver.welcome(welcome(state))
      }
    }
  }

  private func refusal(of hello: LinkHello, _ state: JournalState) -> String? {
    if configuration.role != .recovery {
      return "group \(hello.groupName) is \(configuration.role.rawValue) at this site, not recovery"
    }
    if let peer = configuration.peer, peer.site != hello.site {
      return "group \(hello.groupName) receives from site \(peer.site), not from \(hello.site)"
    }
    if disks.map(\.name) != hello.disks.map(\.name) {
      func text(_ names: [String]) -> String { names.joined(separator: ", ") }
      return "the disks differ: there \(text(hello.disks.map(\.name))); here "
        + text(disks.map(\.name))
    }
    if let reason = refusalOfSizes(hello, state) { return reason }
    if let journal, Int(hello.segmentByteCount) != journal.options.segmentByteCount {
      return "the journal segments differ: \(hello.segmentByteCount) bytes there, "
        + "\(journal.options.segmentByteCount) here: give both groups the same segment_size"
    }
    if state.baseline == .complete, state.group != hello.group {
      return "this site holds the history of another group of that name (\(state.group)); "
        + "remove its data folder here to start anew"
    }
    return nil
  }

  /// A clone of the site that sends here now, or an older snapshot of it, must not end that one's
  /// connection again and again. Once nothing is sent any more it hears that the two have diverged.
  private func refusalOfRival(_ hello: LinkHello) -> String? {
    guard receiving.receiver?.isStreaming == true,
      objection(to: hello, droppingAfter: nil) != nil
    else { return nil }
    return "another machine that is called \(hello.site) sends records of group "
      + "\(hello.groupName) now, which the history of this one lacks: one of them is a clone, or "
      + "was put back to an older state; stop that one"
  }

  var presentWelcome: LinkWelcome? { (stateKeeper?.state).map(welcome) }

  private func welcome(_ state: JournalState) -> LinkWelcome {
    let position = journal?.acceptPosition
    let last =
      journal.map { LastRecord.newest($0.catalog, $0.watermarks) } ?? LastRecord(.none, .zero)
    return LinkWelcome(
      site: siteName, needsBaseline: state.baseline != .complete,
      copy: state.baseline == .copying ? state.copy : .none,
      lineage: journal?.lineage.holding(through: last.sequence) ?? Lineage(), last: last,
      position: StreamPosition(
        segment: position?.segment ?? 0, offset: UInt32(position?.offset ?? 0)),
      segmentIncarnation: journal?.newestSegment?.header.incarnation.identifier ?? .none,
      ownerDurable: receiving.ownerDurable,
      applied: max(state.applyTarget.sequence, state.applied.sequence),
      diskByteCounts: diskByteCounts)
  }

  func closeReceiver() {
    if let receiver = receiving.receiver {
      receiver.close()
      receiving.vitals.ended(now: SystemClock.monotonicNanoseconds())
    }
    receiving.receiver = nil
    receiving.reset = nil
    lifecycle.awaitReset(false)
    receiving.baselineEnd = nil
    receiving.isBaselineStored = false
    receiving.applyLimit = SequenceNumber(.max)
  }

  func receiverClosed(_ receiver: any IncomingLink) {
    guard receiving.receiver === receiver else { return }
    // What is tried again and again meanwhile is no news.
    if receiving.divergence == nil {
      receiver.log.note(
        "group \(configuration.name): link from \(receiving.peerSite ?? "peer") is down")
    }
    closeReceiver()
  }

  func resumeReceiving() { receiving.receiver?.resume() }

  // MARK: Two histories

  /// Throws unless the peer has everything that is here, so that it may be dropped or written over,
  /// or an operator has given up just what is here.
  ///
  /// - Parameter end: what would be kept; nil: nothing.
  func requireCommon(
    _ hello: LinkHello, discarding seen: JournalState.OwnerMark?,
    droppingAfter end: SequenceNumber?
  ) throws(LinkError) {
    guard let welcome = presentWelcome, seen != welcome.seen else { return }
    #if MUTANTS
      if Mutant.eraseMore.isOn { return }
    #endif
    guard objection(to: hello, droppingAfter: end) == nil else {
      throw .protocolViolation(
        "\(hello.site) would write over records to \(welcome.sequence.rawValue), which it lacks; "
          + "they are kept")
    }
  }

  /// What the peer lacks of what is here; see `ResumeDecision.objection`.
  private func objection(
    to hello: LinkHello, droppingAfter end: SequenceNumber?
  ) -> Divergence.Cause? {
    guard let welcome = presentWelcome, let journal else { return nil }
    let last = hello.last
    let match: LastRecord.Match =
      last.sequence <= welcome.sequence
      ? last.match(in: journal.catalog, of: hello.lineage.holder(of: last.sequence)?.identifier)
      : .unknown
    return ResumeDecision.objection(of: welcome, to: hello, match: match, droppingAfter: end)
  }

  /// The peer says that each site has records which the other lacks.
  func diverged(_ text: String) { receiving.divergence = text }

  /// - Parameter lineage: the peer's.
  func noteOwnerDurable(_ sequence: SequenceNumber, _ lineage: Lineage) {
    guard let holder = lineage.holder(of: sequence) else { return }
    let known = receiving.ownerDurable
    // After a power cut it may know less of what is durable than it said before.
    guard sequence > known.sequence || !lineage.contains(known.incarnation) else { return }
    receiving.ownerDurable = .init(holder.identifier, sequence)
  }

  /// At a recovery group: whose its records are, and what it has heard of the peer.
  var knownOfOthers: KnownOfOthers {
    guard configuration.role == .recovery, let journal else { return KnownOfOthers() }
    return KnownOfOthers(
      lineage: journal.lineage.holding(through: journal.appended),
      ownerDurable: receiving.ownerDurable)
  }

  // MARK: Going back

  /// The peer lost what it had sent after `sequence`, or an operator gave it up; so it goes here,
  /// too.
  func cut(after sequence: SequenceNumber, isDiscarded: Bool, _ receiver: any IncomingLink) {
    whenUnused { [self] in
      let peer = receiving.peerSite ?? "the peer"
      log(
        "group \(configuration.name): records after \(sequence.rawValue) "
          + (isDiscarded
            ? "were given up by an operator at \(peer)"
            : "never became durable at \(peer), which lost power") + "; they are dropped")
      let lineage = journal?.lineage.holding(through: sequence) ?? Lineage()
      if receiving.ownerDurable.sequence > sequence { receiving.ownerDurable = .unknown }
      let ownerDurable = receiving.ownerDurable
      let shelf = journal?.shelf
      reload(receiver) { state in
        state.lineage = lineage
        state.ownerDurable = ownerDurable
        // What the peer that goes on has promised is another matter.
        #if MUTANTS
          let isDiscarded = isDiscarded && !Mutant.keepDiscardedPromise.isOn
        #endif
        if isDiscarded { state.promise = .none }
        // Apply may have gone further by now; then only a full copy helps, and the peer will find
        // out.
        state.durable = min(state.durable, max(sequence, state.applied.sequence))
      } recover: { storage, state throws(JournalError) in
        try JournalRecovery(storage, state: state, cut: sequence, shelf: shelf)
      }
    }
  }

  /// A full copy begins or goes on: the history here ends, and the disks are written over. Also
  /// when records follow, those after `start`: what the journal holds from an earlier connection
  /// must not be applied over what comes from now on.
  func beginBaseline(
    _ hello: LinkHello, start: SequenceNumber, copy: UInt64, _ receiver: any IncomingLink
  ) {
    if let state = stateKeeper?.state, state.baseline != .copying || state.copy.number != copy {
      log("group \(configuration.name): a full copy from \(hello.site) begins")
    } else if !receiver.isFollowing {
      log("group \(configuration.name): the full copy from \(hello.site) goes on")
    }
    let now = loop.now
    receiving.ownerDurable = .unknown
    whenUnused { [self] in
      reload(receiver) { state in
        if state.baseline == .complete {
          state.noteGap(
            .init(from: max(state.applied.timestamp, state.historyStart), to: now))
        }
        state.group = hello.group
        state.baseline = .copying
        if state.copy.number != copy { state.copy = .init(number: copy) }
        state.lineage = hello.lineage.holding(through: start)
        state.ownerDurable = .unknown
        state.applied = .init(start, .zero)
        state.applyTarget = state.applied
        state.durable = start
        state.promise = .none
        state.historyStart = .zero
      } recover: { storage, state throws(JournalError) in
        try JournalRecovery(erasing: storage, state: state)
      }
    }
  }

  /// Runs `action` once no view and no apply step uses the journal, and nothing that was known of
  /// it is being written down.
  private func whenUnused(_ action: @escaping () -> Void) {
    receiving.reset = action
    lifecycle.awaitReset(true)
    receiving.applyLimit = .none
    views.expireAll()
    stopIndexUpkeep()
    goOn()
  }

  /// Nothing uses the journal.
  func beginReset() {
    let action = receiving.reset
    receiving.reset = nil
    action?()
  }

  private func reload(
    _ receiver: any IncomingLink, _ change: @escaping @Sendable (inout JournalState) -> Void,
    recover:
      @escaping @Sendable (FolderStorage, JournalState) throws(JournalError) ->
      JournalRecovery<FolderStorage>
  ) {
    guard let journal, let stateKeeper else { return }
    lifecycle.begin(.reset)
    forgetKnown()
    let storage = journal.storage
    keeper.submit { [self] in
      let result: Result<JournalRecovery<FolderStorage>, JournalError>
      do throws(JournalError) {
        try Self.update(stateKeeper, change)
        let recovered = try recover(storage, stateKeeper.state)
        // After the erasing: until then what the slots hold is void by the number that was.
        try Self.update(stateKeeper) { $0.oldestSegment = recovered.oldestSegment }
        result = .success(recovered)
      } catch { result = .failure(error) }
      loop.post { [self] in
        lifecycle.ended(.reset)
        reloaded(receiver, result)
        goOn()
      }
    }
  }

  private static func update(
    _ stateKeeper: StateKeeper, _ change: (inout JournalState) -> Void
  ) throws(JournalError) {
    do throws(Errno) { try stateKeeper.update(change) } catch {
      throw .storage(error, doing: "writing the state file")
    }
  }

  private func reloaded(
    _ receiver: any IncomingLink, _ result: Result<JournalRecovery<FolderStorage>, JournalError>
  ) {
    guard let journal, let state = stateKeeper?.state else { return }
    switch result {
    case .failure(let error):
      fail("\(error)")
    case .success(let recovered):
      apply.target = .zero
      durability.durable = .none
      journal.adopt(recovered, state: state, continuesLastSegment: true)
      restartKnown(state.promise.through)
      setback?.cut(to: journal.stamped)
      guard receiving.receiver === receiver else { return }
      if state.baseline == .complete {
        receiving.applyLimit = SequenceNumber(.max)
        receiver.welcome(welcome(state))
      } else {
        receiving.applyLimit = state.applied.sequence
        #if MUTANTS
          if Mutant.applyDuringCopy.isOn { receiving.applyLimit = SequenceNumber(.max) }
        #endif
        clearBehindPeer(receiver)
        // The keeper has done what came before, and nothing of this copy yet.
        receiving.failuresBefore = storeFailures.load(ordering: .acquiring)
        receiver.baselineReady()
      }
    }
  }

  // MARK: Full copy

  /// Writes a piece of the peer's disk to the base; `done` is called on the loop.
  func storeBaseline(
    _ piece: BaselinePiece, _ bytes: [UInt8]?, from receiver: any IncomingLink,
    done: @escaping @Sendable () -> Void
  ) {
    receiving.applyLimit = max(receiving.applyLimit, piece.applied)
    let store = disks[piece.disk.index].store
    keeper.submit { [self] in
      var failure: String?
      do throws(StorageError) {
        if let bytes {
          try store.write(bytes, at: piece.range.start)
        } else {
          try store.clear(piece.range)
        }
      } catch {
        storeFailures.add(1, ordering: .releasing)
        failure = "\(error)"
      }
      stored(failure, receiver, done)
    }
  }

  /// Makes durable what was stored, and that it is; then says so.
  func storeBaseline(confirming number: UInt64, _ receiver: any IncomingLink) {
    let stateKeeper = stateKeeper
    syncBaseline(for: receiver) { () throws(Errno) in
      try stateKeeper?.update { $0.copy.stored = number }
    } done: {
      receiver.confirmBaseline(number)
    }
  }

  /// Syncs the disks behind all pieces that came so far, and `note`s it on the keeper if it has
  /// made all of them durable; `done` is called on the loop.
  private func syncBaseline(
    for receiver: any IncomingLink, note: @escaping @Sendable () throws(Errno) -> Void = {},
    done: @escaping @Sendable () -> Void
  ) {
    let stores = disks.map(\.store)
    let failuresBefore = receiving.failuresBefore
    keeper.submit { [self] in
      var failure: String?
      do {
        #if MUTANTS
          if Mutant.confirmCopyEarly.isOn {
            try note()
            return stored(nil, receiver, done)
          }
        #endif
        for store in stores { try store.sync() }
        // A sync says nothing of what another call was told to be lost.
        if storeFailures.load(ordering: .acquiring) == failuresBefore {
          try note()
        } else {
          failure = "a disk has lost writes"
        }
      } catch let error as Errno {
        failure = "writing the state file: \(error.withAdvice)"
      } catch {
        storeFailures.add(1, ordering: .releasing)
        failure = "\(error)"
      }
      stored(failure, receiver, done)
    }
  }

  private func stored(
    _ problem: String?, _ receiver: any IncomingLink, _ done: @escaping @Sendable () -> Void
  ) {
    loop.post { [self] in
      // What an earlier connection began says nothing about this one's copy.
      guard receiving.receiver === receiver else { return }
      guard let problem else { return done() }
      log("group \(configuration.name): full copy: \(problem)")
      closeReceiver()
    }
  }

  func endBaseline(_ mark: JournalState.Mark, from receiver: any IncomingLink) {
    #if MUTANTS
      let mark = Mutant.completeCopyEarly.isOn ? .init(.none, mark.timestamp) : mark
    #endif
    receiving.baselineEnd = mark
    // No piece is to come any more, and the keeper has those that came before the next apply step.
    receiving.applyLimit = SequenceNumber(.max)
    syncBaseline(for: receiver) { [self] in
      receiving.isBaselineStored = true
      completeBaselineIfReached()
    }
  }

  /// The copy is whole once the disks hold it and the journal holds what changed meanwhile.
  private func completeBaselineIfReached() {
    guard let mark = receiving.baselineEnd, receiving.isBaselineStored, let journal,
      let stateKeeper, journal.durable >= mark.sequence, !lifecycle.isPausing
    else { return }
    receiving.baselineEnd = nil
    let receiver = receiving.receiver
    keeper.submit { [self] in
      var failure: Errno?
      do throws(Errno) {
        try stateKeeper.update {
          $0.completeBaseline(at: mark.timestamp)
          // Instants are offered of which these are part: that they are lost is then damage.
          $0.durable = max($0.durable, mark.sequence)
        }
      } catch { failure = error }
      let problem = failure
      loop.post { [self] in
        if let problem { return fail("writing the state file: \(problem)") }
        guard receiving.receiver === receiver else { return }
        receiving.applyLimit = SequenceNumber(.max)
        // Everything up to the mark is here.
        heard(mark.timestamp)
        log("group \(configuration.name): the full copy is complete")
        reportProgress()
      }
    }
  }

  // MARK: Progress

  func durableAdvanced() {
    completeBaselineIfReached()
    reportProgress()
  }

  func applyAdvanced() { reportProgress() }

  func tickReceiving() {
    if configuration.role == .protected { return }
    completeBaselineIfReached()
    reportProgress()
    receiving.receiver?.stayInTouch()
  }

  private func reportProgress() {
    guard let journal, let receiver = receiving.receiver, receiver.isStreaming else { return }
    let progress = LinkProgress(
      isRecoverable: stateKeeper?.state.baseline == .complete,
      received: journal.appended, durable: min(journal.durable, journal.appended),
      applied: journal.applied,
      durableTimestamp: Timestamp(rawValue: journal.watermarks[.durableTimestamp]))
    guard progress != receiving.reported else { return }
    receiving.reported = progress
    receiver.report(progress)
  }
}
