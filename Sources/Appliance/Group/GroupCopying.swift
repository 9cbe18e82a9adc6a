import BlockModel
import Journal
import Replication
import Storage
import SystemIO

/// A full copy that comes from the peer: its pieces go to the disks, by the keeper.
extension Group {
  func hasPlace(for piece: BaselinePiece) -> Bool {
    diskTable.withLock { $0[piece.disk] }.map { piece.range.end <= $0.store.byteCount } ?? false
  }

  /// Writes a piece of the peer's disk to the base; `done` is called on the loop.
  func storeBaseline(
    _ piece: BaselinePiece, _ bytes: [UInt8]?, from receiver: any IncomingLink,
    done: @escaping @Sendable () -> Void
  ) {
    passBaseline(piece)
    let store = disk(piece.disk).store
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

  /// A piece has come, or is here already, as was told. What it held before is of no interest now.
  func passBaseline(_ piece: BaselinePiece) {
    receiving.copied(holding: piece.applied)
    digestsAreDone(before: DiskPosition(piece.disk, piece.range.end))
  }

  /// Tells the peer what the disks hold of what is to come, where that is not zeros: what it has
  /// alike, it need not send.
  ///
  /// What counts is what the disks hold durably. Another program may have written it just before,
  /// or this one, and where a sync had failed, memory shows what no disk has: so it is synced, and
  /// then read from the disk. After a failure in this process, which a server of the disk may have
  /// met with its own memory, nothing is told.
  func compareBaseline(_ extents: DiskExtents, for receiver: any IncomingLink) {
    guard storeFailures.load(ordering: .acquiring) == 0 else {
      return receiver.tell([], from: DigestWindow.end)
    }
    let stores = disks.map(\.store)
    syncBaseline(for: receiver) {
      for store in stores { store.forgetCached() }
    } done: { [self] in
      beginDigesting(extents, after: .none, for: receiver, isCopy: true)
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
    // The keeper has the pieces that came before the next apply step.
    receiving.copyEnds(at: mark)
    syncBaseline(for: receiver) { [self] in
      receiving.copyIsStored()
      completeBaselineIfReached()
    }
  }

  /// The copy is whole once the disks hold it and the journal holds what changed meanwhile.
  func completeBaselineIfReached() {
    guard let journal, let stateKeeper, !lifecycle.isPausing,
      let mark = receiving.takeWholeCopy(durable: journal.durable)
    else { return }
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
        receiving.follows()
        // Everything up to the mark is here.
        heard(mark.timestamp)
        log("group \(configuration.name): the full copy is complete")
        reportProgress()
      }
    }
  }
}
