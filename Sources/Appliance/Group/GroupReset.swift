import BlockModel
import Journal
import Replication
import SystemIO

/// How a following group's journal starts over: from where its peer's goes on, or, with a full
/// copy, from nothing. It has no other user meanwhile; see `GroupLifecycle`.
extension Group {
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
      receiving.cut(after: sequence)
      let ownerDurable = receiving.ownerDurable
      let shelf = journal?.shelf
      reload(receiver, doubting: branchesInDoubt(after: sequence)) { state in
        state.cut(
          after: sequence, keeping: lineage, ownerDurable: ownerDurable, isDiscarded: isDiscarded)
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
    receiving.owner(has: .unknown)
    whenUnused { [self] in
      // Nothing is here any more that knows another number.
      let name = configuration.name
      diskTable.withLock { $0.become(hello.disks, group: name) }
      let disks = numberedDisks.map { disk in
        var noted = disk.noted
        noted.backing = disk.backing
        return noted
      }
      reload(receiver) { state in
        state.copies(
          hello.group, copy: copy, from: start, of: hello.lineage, disks: disks,
          nextDisk: hello.nextDisk, now: now)
      } recover: { storage, state throws(JournalError) in
        try JournalRecovery(erasing: storage, state: state)
      }
    }
  }

  /// Runs `action` once no view and no apply step uses the journal, and nothing that was known of
  /// it is being written down.
  private func whenUnused(_ action: @escaping () -> Void) {
    receiving.awaitReset(action)
    lifecycle.awaitReset(true)
    views.expireAll()
    releaseBranches()
    stopIndexUpkeep()
    goOn()
  }

  /// Nothing uses the journal.
  func beginReset() { receiving.takeReset()?() }

  private func reload(
    _ receiver: any IncomingLink, doubting branches: [Branch] = [],
    _ change: @escaping @Sendable (inout JournalState) -> Void,
    recover:
      @escaping @Sendable (FolderStorage, JournalState) throws(JournalError) ->
      JournalRecovery<FolderStorage>
  ) {
    guard let journal, let stateKeeper, lifecycle.begin(.reset) else { return closeReceiver() }
    promises.restart(.zero)
    let storage = journal.storage
    keeper.submit { [self] in
      let result: Result<JournalRecovery<FolderStorage>, JournalError>
      do throws(JournalError) {
        try Self.note(inDoubt: branches)
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

  private static func note(inDoubt branches: [Branch]) throws(JournalError) {
    do throws(Errno) { for branch in branches { try branch.note(inDoubt: true) } } catch {
      throw .storage(error, doing: "writing the file of a branch")
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
      let stampedBefore = journal.stamped
      if state.needsBaseline { lacking = nil }
      apply.restarts()
      durability.durable = .none
      let names = configuredNames
      diskTable.withLock { $0.follow(state.disks, in: names) }
      analyzer?.replace(with: disks.map(\.analyzed))
      journal.adopt(recovered, state: state, continuesLastSegment: true)
      restartKnown(state.promise.through)
      setback?.cut(to: journal.stamped)
      openBranchesAgain(dropped: journal.stamped < stampedBefore ? journal.newestTimestamp : nil)
      guard receiving.receiver === receiver else { return }
      if !state.needsBaseline {
        receiving.follows()
        receiver.welcome(welcome(state))
      } else {
        // The keeper has done what came before, and nothing of this copy yet.
        receiving.copies(
          holding: state.applied.sequence, failures: storeFailures.load(ordering: .acquiring))
        clearBehindPeer(receiver)
        receiver.baselineReady()
      }
    }
  }
}
