import BlockModel
import Configuration
import Journal
import Replication
import Storage
import SystemIO
import Volume

/// Where the apply schedule of a group stands. Confined to the group's loop.
struct ApplyProgress {
  /// Timestamp of the last record of the step under way: no view may be opened before it.
  var target = Timestamp.zero
  var lastStartNanoseconds: UInt64 = 0
  var lastFreezeNanoseconds: UInt64 = 0
  var lastGrowthNanoseconds: UInt64 = 0
  /// What the journal had taken when the last step began.
  var dataBytesAtStart: UInt64 = 0
  /// Since when the peer's records have left no room; 0 while there is some.
  var fullSinceNanoseconds: UInt64 = 0
  /// Room is being made ahead of need: see `keepReserve`.
  var isRefilling = false
  /// Segments that the journal had opened when that was last looked at.
  var openedAtLook: UInt64 = 0
  var lastDataBytes: UInt64 = 0
  /// Why the last attempt to create a segment file failed, if it did: the journal makes do with
  /// what it has.
  var slotFailure: String?
  var slotRetryNanoseconds: UInt64 = 0
  /// What went wrong last; nil when the last step went well.
  var failure: String?
  /// It was damage to the journal.
  var isDamaged = false
  var retryNanoseconds: UInt64 = 0
  var appliedBytes: UInt64 = 0
  /// The log says that zeros became holes for want of space.
  var saysThinned = false
}

/// When the next periodic checkpoint is due. Confined to the group's loop.
struct CheckpointSchedule {
  fileprivate var lastNanoseconds: UInt64 = 0
  /// Nothing but checkpoints was stamped after the last write that has one.
  var quietThrough = SequenceNumber.none
}

extension Group {
  /// Generations that one step takes at most: bounds its memory and its length.
  private static var stepGenerationLimit: Int { 8 }
  private static var retryNanoseconds: UInt64 { 1_000_000_000 }

  /// Several times a second.
  func tick() {
    continueSecuring()
    goOn()
    guard lifecycle.isServing, let journal else { return }
    noteGrowth(journal)
    boundActiveCheckpoints(journal)
    endDamagedSegment(journal)
    writeCheckpointIfDue(journal)
    syncInBackground()
    noteDurable()
    createSlot()
    recycle()
    updateAllowance(journal)
    if isApplyDue(journal) { startApply(underPressure: false) }
    continueIndexUpkeep()
    keepReserve()
    if hasRoomForNext(journal) { apply.fullSinceNanoseconds = 0 } else { makeRoom() }
    latency.rotate(nowSeconds: SystemClock.monotonicNanoseconds() / 1_000_000_000)
    tickPromises(journal)
    continueDiskChanges()
    continueContents()
    tickReceiving()
    noteUnsent(journal)
  }

  /// Under load, apply waits for a quiet moment: the guest gets the disk, and more overwrites
  /// become one write. It waits for ten seconds or an eighth of the capacity at most.
  private func isApplyDue(_ journal: SiteJournal) -> Bool {
    let elapsed = SystemClock.monotonicNanoseconds() &- apply.lastStartNanoseconds
    guard elapsed >= configuration.applyEveryNanoseconds else { return false }
    let backlog = journal.dataBytes - apply.dataBytesAtStart
    return isIdle || elapsed >= Self.longestApplyWaitNanoseconds
      || backlog >= UInt64(journal.capacityByteCount / 8)
  }

  private static var longestApplyWaitNanoseconds: UInt64 { 10_000_000_000 }

  /// Whether the next request can be taken; or, when the peer begins a segment, that.
  private func hasRoomForNext(_ journal: SiteJournal) -> Bool {
    receiving.receiver?.waitsForRoom ?? false
      ? journal.hasFreeSegment : journal.hasRoom(payloadByteCount: payloadLimit)
  }

  /// The journal is full: gets room by whatever the policy allows.
  func makeRoom() {
    guard let journal, failure == nil else { return }
    createSlot()
    // While there is capacity left, history is not cut short: a file is on its way.
    if journal.slotToCreateExists, apply.slotFailure == nil { return }
    keepReserve()
    recycle()
    // No history is cut short for what comes anyway.
    if hasRoomForNext(journal) || willRecycle(journal) { return }
    startApply(underPressure: true)
    // Readers give way, and live on in scratch space, before a peer loses its records or guests
    // wait.
    if viewsHoldRoom {
      detachOldestViews()
      startApply(underPressure: true)
      return
    }
    dropFollower(journal)
  }

  /// Nothing was written for a moment.
  var isIdle: Bool { loop.monotonicNow &- apply.lastGrowthNanoseconds > 200_000_000 }

  private func noteGrowth(_ journal: SiteJournal) {
    guard journal.dataBytes != apply.lastDataBytes else { return }
    apply.lastDataBytes = journal.dataBytes
    apply.lastGrowthNanoseconds = loop.monotonicNow
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

  /// Creates the next segment file before it is needed.
  private func createSlot() {
    guard let journal, lifecycle.mayBegin(.segmentFile),
      SystemClock.monotonicNanoseconds() >= apply.slotRetryNanoseconds
    else { return }
    guard let (slot, name) = journal.slotToCreate(isIdle: isIdle) else {
      // Segments have come free instead: nothing is tried any more.
      apply.slotFailure = nil
      return
    }
    guard lifecycle.begin(.segmentFile) else { return journal.slotFailed(slot) }
    let storage = journal.storage
    let byteCount = journal.options.segmentByteCount
    // The guest must not wait until a file is filled.
    let isHurried = !isIdle && journal.needsFilesQuickly
    // Not behind a step of apply, which takes long.
    lanes.files.submit { [self] in
      var file: File?
      var failure: Errno?
      do throws(Errno) {
        file =
          isHurried
          ? try storage.allocate(name, byteCount: byteCount)
          : try storage.create(name, byteCount: byteCount)
      } catch { failure = error }
      let (created, error) = (file, failure)
      loop.post { [self] in slotFinished(slot, created, error) }
    }
  }

  private func slotFinished(_ slot: Int, _ created: File?, _ error: Errno?) {
    lifecycle.ended(.segmentFile)
    defer { goOn() }
    guard let journal else { return }
    if let created {
      apply.slotFailure = nil
      journal.slotCreated(slot, created)
      createSlot()
      roomCame()
    } else if let error {
      apply.slotRetryNanoseconds = SystemClock.monotonicNanoseconds() + Self.retryNanoseconds
      journal.slotFailed(slot)
      let problem = "creating a segment in \(journal.storage.path): \(error.withAdvice)"
      apply.slotFailure = problem
      // Whoever waits for room gets it by apply now.
      if !journal.hasRoom(payloadByteCount: payloadLimit) { makeRoom() }
    }
  }

  /// What the history window is measured from: the group's time, of which the protected site's
  /// clock may be far ahead or behind. At a recovery site it is the newest instant that is known,
  /// not the wall clock: while the protected site is gone, history must not melt away.
  private var historyClock: Timestamp {
    duty == .following
      ? journal?.floor ?? .zero : readClock()
  }

  /// The generations that may be applied now, oldest first.
  private func eligible(underPressure: Bool, through last: SequenceNumber) -> [Generation] {
    guard let journal else { return [] }
    var newest = views.oldestInstant ?? .distantFuture
    if !underPressure {
      let window = min(configuration.historyNanoseconds, historyClock.rawValue)
      newest = min(newest, Timestamp(rawValue: historyClock.rawValue - window))
    }
    var limit = journal.durable
    #if MUTANTS
      if Mutant.applyEarly.isOn { limit = journal.appended }
    #endif
    limit = min(limit, receiving.applyLimit, last)
    return Array(
      journal.generations.prefix(Self.stepGenerationLimit).prefix {
        $0.span.lastTimestamp <= newest && $0.span.lastSequence <= limit
      })
  }

  /// - Parameter last: the step takes nothing after this record.
  func startApply(underPressure: Bool, through last: SequenceNumber = SequenceNumber(.max)) {
    let monotonic = SystemClock.monotonicNanoseconds()
    guard let journal, lifecycle.mayBegin(.apply),
      monotonic >= apply.retryNanoseconds
    else { return }
    if last >= journal.stamped { closeActiveIfDue(journal, underPressure) }
    let generations = eligible(underPressure: underPressure, through: last)
    // Closing the active one may have failed the group.
    guard let last = generations.last, lifecycle.begin(.apply) else { return }
    apply.lastStartNanoseconds = monotonic
    apply.dataBytesAtStart = journal.dataBytes
    apply.target = max(apply.target, last.span.lastTimestamp)
    run(generations, .init(last.span.lastSequence, last.span.lastTimestamp), journal)
  }

  /// The active generation is closed when its first record is due, but not so often that small
  /// generations pile up in a long window.
  private func closeActiveIfDue(_ journal: SiteJournal, _ underPressure: Bool) {
    guard let span = journal.activeSpan, span.lastSequence <= journal.durable || underPressure
    else {
      // Apply takes durable records only; the sync under way makes it so for the next time.
      if journal.activeSpan != nil { startSync() }
      return
    }
    let window = configuration.historyNanoseconds
    let spacing = max(configuration.applyEveryNanoseconds, window / 64)
    let due = underPressure || historyClock.nanoseconds(since: span.firstTimestamp) >= window
    guard due, underPressure || loop.monotonicNow &- apply.lastFreezeNanoseconds >= spacing else {
      return
    }
    apply.lastFreezeNanoseconds = loop.monotonicNow
    do throws(JournalError) { try journal.freezeActive() } catch { fail("\(error)") }
  }

  private func run(
    _ generations: [Generation], _ mark: JournalState.Mark, _ journal: SiteJournal
  ) {
    guard let stateKeeper else { return }
    let applier = Applier(catalog: journal.catalog, stores: stores)
    let views = viewsToSaveFor
    let (watermarks, catalog) = (journal.watermarks, journal.catalog)
    let followers = followers
    let known = knownOfOthers
    let unverified = journal.segmentsToVerify(through: mark.sequence)
    // What is still written to is verified again by the next step.
    let settled = unverified.filter(\.isSealed)
    keeper.submit { [self] in
      var outcome = Applier<SiteSegmentFile, DiskStore>.Outcome()
      var failure: String?
      var isDamaged = false
      do {
        let verified = try unverified.map { ($0, try $0.verify(applying: mark.sequence)) }
        try stateKeeper.update { state in
          // One that was begun before, and failed, may have gone further.
          if mark.sequence > state.applyTarget.sequence { state.applyTarget = mark }
          known.note(in: &state)
          // The disks will hold them: should they not be found again, that is no torn end.
          state.durable = max(state.durable, mark.sequence)
        }
        outcome = try applier.apply(generations, savingFor: views) { disk, map in
          followers.note(disk, map)
        }
        try stateKeeper.update {
          $0.applied = mark
          let durable = watermarks.sequence(.durable)
          $0.durable = max($0.durable, durable, mark.sequence)
          $0.followers = followers.marks
          let oldest = catalog.oldestNeeded(
            durable: durable, applied: mark.sequence, kept: $0.followers.mark)
          $0.oldestSegment = max($0.oldestSegment, oldest ?? 0)
          $0.forgetGoneDisks()
        }
        for (segment, part) in verified { segment.noteApplied(part) }
      } catch let error as Errno {
        failure = "writing the state file: \(error.withAdvice)"
      } catch {
        storeFailures.add(1, ordering: .releasing)
        failure = "\(error)"
        if case .damaged? = error as? JournalError { isDamaged = true }
      }
      let (result, problem, meetsDamage) = (outcome, failure, isDamaged)
      loop.post { [self] in
        if problem == nil { self.journal?.segmentsVerified(settled) }
        apply.isDamaged = meetsDamage
        applyFinished(mark, result, problem)
      }
    }
  }

  private func applyFinished(
    _ mark: JournalState.Mark, _ outcome: Applier<SiteSegmentFile, DiskStore>.Outcome,
    _ problem: String?
  ) {
    lifecycle.ended(.apply)
    defer { goOn() }
    closeLostViews()
    if let problem {
      apply.failure = problem
      // A failed sync may have lost pieces of a full copy: those that the peer has not heard to be
      // durable come again with the next connection.
      if stateKeeper?.state.baseline == .copying { closeReceiver() }
      apply.retryNanoseconds = SystemClock.monotonicNanoseconds() + Self.retryNanoseconds
      return
    }
    apply.failure = nil
    apply.appliedBytes += outcome.writtenBytes
    noteThinned(outcome)
    journal?.applyCompleted(through: mark.sequence)
    raiseFloors()
    recycle()
    keepReserve()
    closeGoneDisks()
    applyAdvanced()
  }

  /// Said once, until zeros find space again.
  private func noteThinned(_ outcome: Applier<SiteSegmentFile, DiskStore>.Outcome) {
    if outcome.thinnedBytes == 0 {
      if outcome.zeroedBytes > 0 { apply.saysThinned = false }
    } else if !apply.saysThinned {
      apply.saysThinned = true
      log(
        "group \(configuration.name): no space left for zeros that were to have some: "
          + "\(ByteCount.format(outcome.thinnedBytes)) became holes, which read the same; free or "
          + "add space where the disks lie")
    }
  }

  // MARK: Checkpoints

  private func writeCheckpointIfDue(_ journal: SiteJournal) {
    let period = configuration.checkpointEveryNanoseconds
    guard duty == .owning, period > 0,
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
