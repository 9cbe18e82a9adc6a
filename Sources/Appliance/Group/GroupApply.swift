import BlockModel
import Configuration
import Journal
import Replication
import Storage
import SystemIO
import Volume

/// When the next periodic checkpoint is due. Confined to the group's loop.
struct CheckpointSchedule {
  fileprivate var lastNanoseconds: UInt64 = 0
  /// Nothing but checkpoints was stamped after the last write that has one.
  var quietThrough = SequenceNumber.none
}

extension Group {
  /// Several times a second.
  func tick() {
    continueSecuring()
    goOn()
    guard lifecycle.isServing, let journal else { return }
    apply.look(byteCount: journal.dataBytes, now: loop.monotonicNow)
    boundActiveCheckpoints(journal)
    endDamagedSegment(journal)
    writeCheckpointIfDue(journal)
    syncInBackground()
    noteDurable()
    createSlot()
    recycle()
    updateAllowance(journal)
    if apply.isDue(now: SystemClock.monotonicNanoseconds()) { startApply(underPressure: false) }
    continueIndexUpkeep()
    keepReserve()
    if hasRoomForNext(journal) { room.came() } else { makeRoom() }
    latency.rotate(nowSeconds: SystemClock.monotonicNanoseconds() / 1_000_000_000)
    tickPromises(journal)
    continueDiskChanges()
    tickContents()
    tickRestamping()
    tickReceiving()
    tickBranches()
    tickFork()
    noteUnsent(journal)
  }

  /// So many checkpoints of the active generation are enough: who reads its list makes the loop
  /// copy it when the next one comes.
  private func boundActiveCheckpoints(_ journal: SiteJournal) {
    guard journal.activeCheckpoints.count >= Self.activeCheckpointLimit else { return }
    do throws(JournalError) { try journal.freezeActive() } catch { fail("\(error)") }
  }

  private static var activeCheckpointLimit: Int { 4096 }

  /// The link cannot send what is in the segment, and waits for one that begins behind it.
  private func endDamagedSegment(_ journal: SiteJournal) {
    for link in links {
      guard let number = link.takeSegmentToEnd(), number == journal.newestSegment?.number
      else { continue }
      do throws(JournalError) { try journal.sealActive() } catch { fail("\(error)") }
    }
  }

  /// What the history window is measured from: the group's time, of which the protected site's
  /// clock may be far ahead or behind. At a recovery site it is the newest instant that is known,
  /// not the wall clock: while the protected site is gone, history must not melt away. Nor while a
  /// failover is pending, which may be rolled back to try an earlier instant.
  private var historyClock: Timestamp {
    duty == .following
      ? journal?.floor ?? .zero : stateKeeper?.state.fork?.instant ?? readClock()
  }

  /// The generations that may be applied now, oldest first.
  private func eligible(
    underPressure: Bool, through last: SequenceNumber, _ journal: SiteJournal
  ) -> ArraySlice<Generation> {
    var limit = journal.durable
    #if MUTANTS
      if Mutant.applyEarly.isOn { limit = journal.appended }
    #endif
    let generations = journal.generations
    return generations.prefix(
      apply.stepCount(
        generations.lazy.map(\.span), history: historyClock, view: views.oldestInstant,
        through: min(limit, receiving.applyLimit, forkLimit, last), isPressed: underPressure))
  }

  /// - Parameter last: the step takes nothing after this record.
  func startApply(underPressure: Bool, through last: SequenceNumber = SequenceNumber(.max)) {
    let monotonic = SystemClock.monotonicNanoseconds()
    guard let journal, branch == nil, lifecycle.mayBegin(.apply), apply.mayTry(now: monotonic)
    else { return }
    if last >= journal.stamped { closeActiveIfDue(journal, underPressure) }
    let generations = eligible(underPressure: underPressure, through: last, journal)
    // Closing the active one may have failed the group.
    guard let span = generations.last?.span, lifecycle.begin(.apply) else { return }
    let mark = JournalState.Mark(span.lastSequence, span.lastTimestamp)
    apply.look(byteCount: journal.dataBytes, now: loop.monotonicNow)
    apply.begins(through: mark, now: monotonic)
    run(Array(generations), mark, journal)
  }

  private func closeActiveIfDue(_ journal: SiteJournal, _ underPressure: Bool) {
    let closing = apply.closing(
      of: journal.activeSpan, durable: journal.durable, history: historyClock,
      isPressed: underPressure, now: loop.monotonicNow)
    switch closing {
    case .staysOpen: break
    // Apply takes durable records only; the sync under way makes it so for the next time.
    case .later: startSync()
    case .now:
      apply.closed(now: loop.monotonicNow)
      do throws(JournalError) { try journal.freezeActive() } catch { fail("\(error)") }
    }
  }

  private func run(
    _ generations: [Generation], _ mark: JournalState.Mark, _ journal: SiteJournal
  ) {
    guard let stateKeeper else { return }
    let applier = Applier(catalog: journal.catalog, stores: stores)
    let views = viewsToSaveFor
    let (watermarks, catalog) = (journal.watermarks, journal.catalog)
    let (followers, dropped) = (followers, dropped)
    let known = knownOfOthers
    let unverified = journal.segmentsToVerify(through: mark.sequence)
    // What is still written to is verified again by the next step.
    let settled = unverified.filter(\.isSealed)
    keeper.submit { [self] in
      var outcome = Applier<SiteSegmentFile, DiskStore>.Outcome()
      var failure: ApplySchedule.Failure?
      do {
        let verified = try unverified.map { ($0, try $0.verify(applying: mark.sequence)) }
        try stateKeeper.update { state in
          state.applyBegins(through: mark)
          known.note(in: &state)
        }
        outcome = try applier.apply(generations, savingFor: views) { disk, map in
          followers.note(disk, map)
        }
        let (durable, marks) = (watermarks.sequence(.durable), followers.marks)
        var oldest = catalog.oldestNeeded(
          durable: durable, applied: mark.sequence, kept: marks.mark)
        if let needed = oldest, let dropped {
          oldest = dropped.note(before: needed, catalog, of: stateKeeper.state.disks)
        }
        try stateKeeper.update {
          $0.applyEnded(through: mark, durable: durable, followers: marks, oldest: oldest)
        }
        for (segment, part) in verified { segment.noteApplied(part) }
      } catch let error as Errno {
        failure = .init(
          text: "writing the state file: \(error.withAdvice)", isDamage: false)
      } catch {
        storeFailures.add(1, ordering: .releasing)
        var isDamage = false
        if case .damaged? = error as? JournalError { isDamage = true }
        failure = .init(text: "\(error)", isDamage: isDamage)
      }
      let (result, problem) = (outcome, failure)
      loop.post { [self] in
        if problem == nil { self.journal?.segmentsVerified(settled) }
        applyFinished(mark, result, problem)
      }
    }
  }

  private func applyFinished(
    _ mark: JournalState.Mark, _ outcome: Applier<SiteSegmentFile, DiskStore>.Outcome,
    _ failure: ApplySchedule.Failure?
  ) {
    lifecycle.ended(.apply)
    defer { goOn() }
    closeLostViews()
    if let failure {
      apply.failed(failure, now: SystemClock.monotonicNanoseconds())
      // A failed sync may have lost pieces of a full copy: those that the peer has not heard to be
      // durable come again with the next connection.
      if stateKeeper?.state.baseline == .copying { closeReceiver() }
      return
    }
    apply.ended()
    if apply.thinned(outcome.thinnedBytes, zeroed: outcome.zeroedBytes) {
      log(
        "group \(configuration.name): no space left for zeros that were to have some: "
          + "\(ByteCount.format(outcome.thinnedBytes)) became holes, which read the same; free or "
          + "add space where the disks lie")
    }
    journal?.applyCompleted(through: mark.sequence)
    raiseFloors()
    recycle()
    keepReserve()
    closeGoneDisks()
    applyAdvanced()
  }

  // MARK: Checkpoints

  private func writeCheckpointIfDue(_ journal: SiteJournal) {
    let period = configuration.checkpointEveryNanoseconds
    guard duty == .owning, fence == nil, period > 0,
      journal.stamped > checkpoints.quietThrough,
      loop.monotonicNow &- checkpoints.lastNanoseconds >= period
    else { return }
    checkpoints.lastNanoseconds = loop.monotonicNow
    _ = writeCheckpoint(tag: "")
  }

  /// Writes a marker record; nil when there is no room or the group has failed.
  func writeCheckpoint(tag: String) -> Checkpoint? {
    let utf8 = Array(tag.utf8)
    guard let tap, let journal, lifecycle.isServing,
      journal.hasRoom(payloadByteCount: utf8.count)
    else { return nil }
    var memory = [UInt8](repeating: 0, count: RecordHeader.byteCount) + utf8
    let staged = unsafe memory.withUnsafeMutableBytes { bytes -> Bool in
      guard let record = bytes.baseAddress else { return false }
      do throws(JournalError) {
        try unsafe tap.checkpoint(
          tagByteCount: UInt32(utf8.count), now: readClock(), record: record)
      } catch { fail("\(error)") }
      // The record is in this array: it is written before the array ends.
      return commit()
    }
    guard staged else { return nil }
    // It is no reason for the next one.
    checkpoints.quietThrough = journal.stamped
    #if MUTANTS
      if Mutant.checkpointAtRest.isOn { checkpoints.quietThrough = .none }
    #endif
    return Checkpoint(
      sequence: journal.stamped, timestamp: journal.newestTimestamp, tag: tag)
  }
}
