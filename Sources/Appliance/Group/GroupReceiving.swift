import BlockModel
import Configuration
import Journal
import Replication
import Storage
import SystemIO
import Volume

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
    guard failure == nil, !isStopping, let state = stateKeeper?.state, let journal else {
      return receiver.refuse("the group is stopping or has failed")
    }
    if move.isTakingOver {
      return receiver.refuse("\(siteName) is taking the group over")
    }
    if duty == .owning, answerRival(hello, state, journal, receiver) { return }
    if duty == .following, answerOwner(hello, state, journal, receiver) { return }
    if let reason = refusal(of: hello, state) ?? refusalOfRival(hello) {
      return receiver.refuse(reason)
    }
    if hello.claim.term > state.ownership.term { noteOwner(hello.claim) }
    closeReceiver()
    // What the older one had staged was journaled with its end, or could not be.
    if let failure { return receiver.refuse("the group has failed: \(failure)") }
    receiving.connected(receiver, from: hello.site, now: SystemClock.monotonicNanoseconds())
    journal.forgetNextChange()
    guard
      state.baseline == .copying || lifecycle.isResetting || lifecycle.runs(.diskNote)
        || state.namesDisks(after: journal.stamped)
    else {
      return receiver.welcome(welcome(state))
    }
    // First what an earlier connection has brought is stored: then it is known how far that is, and
    // no more piles up, however often connections break.
    receiver.keepWaiting()
    // On a disk that hangs this may take for ever: a peer that gives up leaves no socket behind.
    // Markers are noted on either of the two.
    keeper.submit { [self, weak receiver] in
      lanes.files.submit { [self, weak receiver] in
        loop.post { [self, weak receiver] in
          guard let receiver, receiving.receiver === receiver, let state = stateKeeper?.state
          else { return }
          welcome(receiver, state)
        }
      }
    }
  }

  /// Nothing of an earlier connection is under way.
  private func welcome(_ receiver: any IncomingLink, _ state: JournalState) {
    guard !state.needsBaseline, let last = journal?.stamped,
      state.namesDisks(after: last)
    else { return receiver.welcome(welcome(state)) }
    voidMarkers(behind: last, for: receiver) { [self] in
      if let state = stateKeeper?.state { receiver.welcome(welcome(state)) }
    }
  }

  private func refusal(of hello: LinkHello, _ state: JournalState) -> String? {
    if duty != .following {
      return "group \(hello.groupName) is \(duty.role.rawValue) at this site, not recovery"
    }
    // A site that follows may have sent to several once.
    if let peer = configuration.peer,
      !configuration.peers.contains(where: { $0.site == hello.site })
    {
      return "group \(hello.groupName) receives from site \(peer.site), not from \(hello.site)"
    }
    if !isUnnumbered, let reason = refusalOfDisks(hello, state) { return reason }
    if let reason = refusalOfSizes(hello, state) { return reason }
    if let journal, Int(hello.segmentByteCount) != journal.options.segmentByteCount {
      return "the journal segments differ: \(hello.segmentByteCount) bytes there, "
        + "\(journal.options.segmentByteCount) here: give both groups the same segment_size"
    }
    if !state.needsBaseline, state.group != hello.group {
      return "this site holds the history of another group of that name (\(state.group)); "
        + "remove its data folder here to start anew"
    }
    return nil
  }

  /// A disk is the same at both sites if its name is; its place in a list means nothing. A copy is
  /// of all that the peer has, and brings their numbers; else they come and leave with the records.
  private func refusalOfDisks(_ hello: LinkHello, _ state: JournalState) -> String? {
    #if MUTANTS
      if Mutant.numberByPlace.isOn { return nil }
    #endif
    if state.needsBaseline { return nil }
    let strange = hello.disks.first { disk in
      state.disks[disk.number].map { $0.name != disk.name } ?? false
    }
    guard let strange else { return nil }
    return "the records of disk \(strange.name) have number \(strange.number.rawValue) there, and "
      + "here another disk has it: the two histories are not of one group"
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

  /// The disks have their numbers from an order of which nothing is left.
  private var isUnnumbered: Bool { lacking?.hasOwnersDisks == false }

  var presentWelcome: LinkWelcome? { (stateKeeper?.state).map(welcome) }

  func welcome(_ state: JournalState) -> LinkWelcome {
    let position = journal?.acceptPosition
    let last =
      journal.map { LastRecord.newest($0.catalog, $0.watermarks) } ?? LastRecord(.none, .zero)
    return LinkWelcome(
      site: siteName, needsBaseline: state.needsBaseline,
      needsCopy: state.needsCopy || lacksWhatIsNowhere || isUnnumbered,
      lacksAfter: state.baseline == .reconciling ? lacking?.common.sequence : nil,
      copy: state.baseline == .copying ? state.copy : .none,
      lineage: journal?.lineage.holding(through: last.sequence) ?? Lineage(), last: last,
      position: StreamPosition(
        segment: position?.segment ?? 0, offset: UInt32(position?.offset ?? 0)),
      segmentIncarnation: journal?.newestSegment?.header.incarnation.identifier ?? .none,
      ownerDurable: receiving.ownerDurable,
      applied: max(state.applyTarget.sequence, state.applied.sequence),
      disks: presentDisks.map(\.noted))
  }

  func closeReceiver() {
    endDigesting()
    receiving.receiver?.close()
    receiving.disconnected(
      now: SystemClock.monotonicNanoseconds(), last: journal?.appended ?? .none)
    lifecycle.awaitReset(false)
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

  /// What is here may be given up for the peer's order behind the point.
  func requireJump(to point: JumpPoint, _ hello: LinkHello) throws(LinkError) {
    guard let welcome = presentWelcome,
      ResumeDecision.mayJump(to: point, from: welcome, of: hello, match: match(of: hello, welcome))
    else {
      throw .protocolViolation(
        "\(hello.site) would have this site go on behind record \(point.mark.sequence.rawValue), "
          + "and lacks records that are here; they are kept")
    }
    if let reason = refusalOfDisks(ofCopyFrom: hello) {
      throw .unacceptable(reason)
    }
  }

  /// The group is closed for that, and opened again.
  func jump(to point: JumpPoint, of owner: String) {
    var (point, table) = (point, diskTable.withLock { $0 })
    table.become(point.disks, group: configuration.name)
    point.disks = table.numbered.compactMap { disk in
      disk.map { disk in
        var noted = disk.noted
        noted.backing = disk.backing
        return noted
      }
    }
    onJump?(point, owner)
  }

  private func match(of hello: LinkHello, _ welcome: LinkWelcome) -> LastRecord.Match {
    let last = hello.last
    guard let journal, last.sequence <= welcome.sequence else { return .unknown }
    return last.match(
      in: journal.catalog, of: hello.lineage.holder(of: last.sequence)?.identifier)
  }

  /// What the peer lacks of what is here; see `ResumeDecision.objection`.
  private func objection(
    to hello: LinkHello, droppingAfter end: SequenceNumber?
  ) -> Divergence.Cause? {
    guard let welcome = presentWelcome else { return nil }
    return ResumeDecision.objection(
      of: welcome, to: hello, match: match(of: hello, welcome), droppingAfter: end)
  }

  /// Why the record cannot be taken, of which its owner had said before that it would not come.
  func brokenPromise(
    _ sequence: SequenceNumber, of timestamp: Timestamp, _ promised: Timestamp, _ owner: String
  ) -> String {
    "record \(sequence.rawValue) is of \(timestamp), and \(owner) had promised that nothing at or "
      + "before \(promised) would follow: instants that were opened at \(siteName) would change. "
      + "Is the clock of \(owner) right, and its state file no older copy? If this stays, stop "
      + "\(siteName) and move its folder of group \(configuration.name) away: it is copied anew"
  }

  /// The peer says that each site has records which the other lacks.
  func diverged(_ text: String) { receiving.diverged(text) }

  /// - Parameter lineage: the peer's.
  func noteOwnerDurable(_ sequence: SequenceNumber, _ lineage: Lineage) {
    guard let holder = lineage.holder(of: sequence) else { return }
    let known = receiving.ownerDurable
    // After a power cut it may know less of what is durable than it said before.
    guard sequence > known.sequence || !lineage.contains(known.incarnation) else { return }
    receiving.owner(has: .init(holder.identifier, sequence))
  }

  /// At a recovery group: whose its records are, and what it has heard of the peer.
  var knownOfOthers: KnownOfOthers {
    guard duty == .following, let journal else { return KnownOfOthers() }
    return KnownOfOthers(
      lineage: journal.lineage.holding(through: journal.appended),
      ownerDurable: receiving.ownerDurable)
  }

  // MARK: Progress

  func durableAdvanced() {
    completeBaselineIfReached()
    completeReconcilingIfReached()
    reportProgress()
  }

  func applyAdvanced() {
    reportProgress()
    continueDigesting()
  }

  func tickReceiving() {
    if duty == .owning { return }
    completeBaselineIfReached()
    completeReconcilingIfReached()
    continueDigesting()
    reportProgress()
    receiving.receiver?.stayInTouch()
  }

  func reportProgress() {
    guard let journal, let receiver = receiving.receiver, receiver.isStreaming else { return }
    let progress = LinkProgress(
      isRecoverable: stateKeeper?.state.baseline == .complete,
      received: journal.appended, durable: min(journal.durable, journal.appended),
      applied: journal.applied,
      durableTimestamp: Timestamp(rawValue: journal.watermarks[.durableTimestamp]))
    if receiving.reports(progress) { receiver.report(progress) }
  }
}
