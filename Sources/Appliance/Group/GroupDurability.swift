import BlockModel
import Journal
import NBDProtocol
import Storage
import SystemIO

/// Who waits for which record to be durable. FLUSHes and FUA writes that wait together share one
/// sync. Confined to the group's loop.
struct DurabilityWaits: ~Copyable {
  fileprivate struct Wait {
    let sequence: SequenceNumber
    let connection: GroupClient?
    let tag: NBDRequestTag
    let action: (() -> Void)?
  }

  /// In order: who comes later waits for no earlier record.
  private var waits = Queue<Wait>()
  var durable = SequenceNumber.none
  var lastSyncNanoseconds: UInt64 = 0
  fileprivate var lastNoteNanoseconds: UInt64 = 0
  /// Running mean of how long syncs take here.
  private(set) var syncNanoseconds: UInt64 = 1_000_000

  mutating func noteSync(nanoseconds: UInt64) {
    syncNanoseconds = (syncNanoseconds * 7 + nanoseconds) / 8
  }

  var isEmpty: Bool { waits.isEmpty }

  /// Clients that wait; what the group itself waits for stays.
  mutating func takeClients() -> [GroupClient] {
    let all = takeAll()
    for wait in all where wait.connection == nil { waits.append(wait) }
    return all.compactMap(\.connection)
  }

  mutating func add(_ sequence: SequenceNumber, _ connection: GroupClient, _ tag: NBDRequestTag) {
    waits.append(Wait(sequence: sequence, connection: connection, tag: tag, action: nil))
  }

  mutating func add(_ sequence: SequenceNumber, _ action: @escaping () -> Void) {
    let noTag = NBDRequestTag(cookie: 0, offset: 0)
    waits.append(Wait(sequence: sequence, connection: nil, tag: noTag, action: action))
  }

  /// The next wait that `durable` satisfies.
  fileprivate mutating func popSatisfied() -> Wait? {
    guard let wait = waits.peek, wait.sequence <= durable else { return nil }
    return waits.popFirst()
  }

  fileprivate mutating func takeAll() -> [Wait] {
    var all: [Wait] = []
    while let wait = waits.popFirst() { all.append(wait) }
    return all
  }

  mutating func forget(_ connection: GroupClient) {
    waits.removeAll { $0.connection === connection }
  }

  mutating func forgetAll() { waits.removeAll() }
}

struct SyncResult: Sendable {
  let nanoseconds: UInt64
  let failure: Errno?
}

extension Group {
  /// Replies to the request once everything up to `sequence` is durable.
  func wait(for sequence: SequenceNumber, _ connection: GroupClient, _ tag: NBDRequestTag) {
    durability.add(sequence, connection, tag)
  }

  /// At the end of a turn: those who wait get a sync, one at a time; who comes during one gets the
  /// next.
  func startSyncIfWaited() {
    if durability.isEmpty || lifecycle.runs(.sync) { return }
    if let journal { durability.durable = max(durability.durable, journal.durable) }
    completeWaits()
    if !durability.isEmpty { startSync() }
  }

  private func completeWaits() {
    while let wait = durability.popSatisfied() {
      wait.connection?.completeWait(wait.tag)
      wait.action?()
    }
  }

  func startSync() {
    guard lifecycle.mayBegin(.sync) else { return }
    durability.lastSyncNanoseconds = SystemClock.monotonicNanoseconds()
    if let journal {
      guard let job = journal.syncJob(), lifecycle.begin(.sync) else { return }
      #if MUTANTS
        if Mutant.skipRecoverySync.isOn, duty == .following {
          return syncFinished(job, SyncResult(nanoseconds: 0, failure: nil))
        }
      #endif
      if mayBlock { return syncFinished(job, Self.run(job)) }
      journalSync.start(job)
    } else if lifecycle.begin(.sync) {
      plainSync.start(stamped)
    }
  }

  /// On a worker.
  func makeJournalSync() -> RepeatedJob<SiteJournal.SyncJob, SyncResult> {
    RepeatedJob(loop: loop, workers: lanes.syncs, work: Self.run) { [unowned self] job, result in
      syncFinished(job, result)
    }
  }

  func makePlainSync() -> RepeatedJob<SequenceNumber, [PlainFailure]> {
    RepeatedJob(
      loop: loop, workers: lanes.syncs, work: { [disks] _ in Group.sync(disks) },
      finished: { [unowned self] sequence, failures in plainSyncFinished(sequence, failures) })
  }

  /// A sync that is expected to take no longer than this may run on the loop.
  private static var inlineSyncNanoseconds: UInt64 { 200_000 }

  /// The loop may wait for a sync itself: it has no other group, its only client waits for nothing
  /// else, and syncs are as quick here as handing one to a worker and back.
  private var mayBlock: Bool {
    durability.syncNanoseconds < Self.inlineSyncNanoseconds && loop.groupCount == 1
      && loop.clientCount == 1
      && (connections.members.first?.waitsForSyncOnly ?? false)
  }

  @Sendable private static func run(_ job: SiteJournal.SyncJob) -> SyncResult {
    let start = SystemClock.monotonicNanoseconds()
    var failure: Errno?
    do throws(Errno) { try job.run() } catch { failure = error }
    return SyncResult(
      nanoseconds: SystemClock.monotonicNanoseconds() - start, failure: failure)
  }

  private func syncFinished(_ job: SiteJournal.SyncJob, _ result: SyncResult) {
    durability.noteSync(nanoseconds: result.nanoseconds)
    lifecycle.ended(.sync)
    if let error = result.failure {
      // The kernel may have dropped the dirty pages: what the journal holds is not known.
      return fail("syncing the journal: \(error.withAdvice)")
    }
    journal?.syncCompleted(job)
    durability.durable = max(durability.durable, job.sequence)
    completeWaits()
    continueSecuring()
    loop.enlist(self)
    if duty == .following { durableAdvanced() }
    goOn()
  }

  private func plainSyncFinished(_ sequence: SequenceNumber, _ failures: [PlainFailure]) {
    lifecycle.ended(.sync)
    loop.enlist(self)
    if failures.isEmpty {
      plain.syncSucceeded()
      durability.durable = max(durability.durable, sequence)
      return completeWaits()
    }
    // `durable` stays: whoever asks next gets a sync of all disks. Who came while this one ran is
    // told of the failure with those who waited.
    var told: [GroupClient] = []
    for wait in durability.takeAll() {
      guard let connection = wait.connection else { continue }
      if let failure = failures.first(where: { $0.disk == connection.disk }) {
        told.append(connection)
        connection.owedFailure = nil
        connection.completeWait(wait.tag, failure.error)
      } else if wait.sequence <= sequence {
        connection.completeWait(wait.tag)
      } else {
        durability.add(wait.sequence, connection, wait.tag)
      }
    }
    syncFailed(failures, told: told)
  }

  /// What nobody waits for becomes durable within this time all the same.
  private static var backgroundSyncNanoseconds: UInt64 { 500_000_000 }

  /// At a recovery site it bounds the RPO.
  private static var recoverySyncNanoseconds: UInt64 { 200_000_000 }

  /// How old the state file's knowledge of what is durable may become.
  private static var notePeriodNanoseconds: UInt64 { 1_000_000_000 }

  /// Tells the state file what is durable, so that a start can tell damage from what a power cut
  /// may take: the one is refused, the other dropped.
  func noteDurable() {
    let now = SystemClock.monotonicNanoseconds()
    guard let journal, let stateKeeper, !lifecycle.runs(.sync),
      lifecycle.mayBegin(.durabilityNote),
      now &- durability.lastNoteNanoseconds >= Self.notePeriodNanoseconds
    else { return }
    let durable = journal.durable
    let known = knownOfOthers
    let followers = followers
    let state = stateKeeper.state
    let reached = receiving.reached(durable: durable)
    guard
      durable > state.durable || known.isNews(to: state) || reached != nil
        || !followers.areNoted(in: state.followers)
    else { return }
    let promise = promiseChange
    guard lifecycle.begin(.durabilityNote) else { return }
    durability.lastNoteNanoseconds = now
    if let reached { receiving.noted(reached) }
    // What cannot be noted now is noted later; who depends on the file hears of its failures.
    keeper.submit { [self] in
      try? stateKeeper.update {
        $0.durable = max($0.durable, durable)
        $0.followers = followers.marks
        known.note(in: &$0)
        promise(&$0)
        if let reached, $0.lack != .none {
          ($0.lack.reached, $0.lack.record) = (reached.reached, reached.record)
        }
      }
      loop.post { [self] in lifecycle.ended(.durabilityNote) }
    }
  }

  func syncInBackground() {
    guard let journal, journal.appended > journal.durable else { return }
    let period =
      duty == .following
      ? Self.recoverySyncNanoseconds : Self.backgroundSyncNanoseconds
    let elapsed = SystemClock.monotonicNanoseconds() &- durability.lastSyncNanoseconds
    if elapsed >= period { startSync() }
  }
}
