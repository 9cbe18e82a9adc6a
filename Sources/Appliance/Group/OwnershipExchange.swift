import BlockModel
import Configuration
import Journal
import SystemIO

/// Takes the ownership of a group over from another site, and gives it back, on the folder of a
/// group that is closed.
///
/// The state file says what is under way (`Fork.Stage`) before and after the tails are exchanged.
/// So a crash at any step leaves the group as it was, or with a stage that the next opening brings
/// to its end (`complete`): never a journal with records of both sides of the fork.
///
/// ```
/// following ─▶ parking ─▶ pending ─▶ (committed) owning
///     ▲           │          │
///     │◀──────────┘          ▼
///     └───────────────── returning
/// ```
///
/// Where the disks are being brought in step, `reverting` comes first (`Reverting`).
///
/// Holds the folder's lock from `init` to `end`. Blocks; on the group's own thread.
struct OwnershipExchange {
  /// What a fork leaves out of the history: on its way into a branch, or there.
  struct Tail: Equatable, Sendable {
    var name = ""
    var recordCount: UInt64 = 0
    var byteCount: UInt64 = 0
    /// When it begins, and when its last record is of.
    var start = Timestamp.zero
    var end = Timestamp.zero
  }

  let configuration: GroupConfiguration
  let folder: String
  private let lock: File
  private let file: JournalStateFile<File>
  private var generation: UInt64
  private(set) var state: JournalState
  /// What happened, for the log.
  var notes: [String] = []

  /// - Parameter files: those that another process gave to this one.
  init(
    _ configuration: GroupConfiguration, in folder: String,
    _ files: InheritedFiles = InheritedFiles()
  ) throws(SiteError) {
    self.configuration = configuration
    self.folder = folder
    do {
      lock = try GroupOpening.lock(folder, files)
      file = JournalStateFile(
        try File(opening: "\(folder)/\(JournalStateFile<File>.name)", .readWrite))
      try file.settle()
    } catch let error as SiteError {
      throw error
    } catch { throw Self.error(configuration.name, "opening its journal", error) }
    guard let (state, generation) = try GroupOpening.readState(file, folder) else {
      throw SiteError("group \(configuration.name): \(folder)/state was never written")
    }
    self.state = state
    self.generation = generation
  }

  func end() { lock.unlock() }

  // MARK: Taking over

  /// The group's next opening owns it, with its disks as they were at the instant. Where they are
  /// just being brought in step, the group is first what it was before that.
  ///
  /// - Parameters:
  ///   - owner: the site that owned it.
  ///   - instant: nil: with everything that is here.
  ///   - name: of the branch for what is later, should there be something.
  ///   - forGood: it is committed with this.
  ///   - isGiven: its owner gives it up: there is nothing that is not here.
  mutating func failOver(
    from owner: String, at instant: Timestamp?, parking name: String, commits: Timestamp?,
    forGood: Bool = false, isGiven: Bool = false, now: Timestamp
  ) throws(SiteError) -> Tail {
    let isWhole = state.baseline == .complete || state.baseline == .reconciling && !isGiven
    guard state.ownership.duty == .following, isWhole, state.fork == nil else {
      throw SiteError("group \(configuration.name) is not a whole follower any more")
    }
    // Records that are dropped may have a higher one than those that come back.
    let epoch = state.epoch
    if state.baseline == .reconciling { try revert(now: now) }
    if let instant, instant < max(state.applyTarget.timestamp, state.historyStart) {
      throw SiteError(
        "group \(configuration.name): \(instant) is not in the history any more: it begins at "
          + "\(max(state.applyTarget.timestamp, state.historyStart))")
    }
    let recovered = try recover()
    let end = JournalState.Mark(recovered.lastSequence, recovered.lastTimestamp)
    let newest = max(
      end.timestamp, state.promise.through, state.applied.timestamp, state.historyStart)
    let at = min(instant ?? newest, newest)
    let point: ForkPoint
    do throws(JournalError) {
      point = try .find(at, in: recovered.segments, applied: state.applied, end: end)
    } catch { throw Self.error(configuration.name, "looking for \(at)", error) }
    try keepFormerState()
    var generator = SystemEntropy()
    // What a crash interrupts goes on as one that is pending: nobody is to decide on it then.
    let fork = Fork(
      at: point, instant: at, began: now, commits: forGood ? now : commits,
      parked: point.tail == nil ? "" : name,
      epoch: max(recovered.newestEpoch, state.epoch, epoch),
      identity: .random(using: &generator))
    try note { $0.parks(at: fork) }
    do throws(SiteError) { try park(from: owner, forGood: forGood, isGiven: isGiven) } catch {
      if !fork.parked.isEmpty, ParkedTail.isBegun(fork.parked, in: folder) {
        throw SiteError("\(error); the failover goes on when the group is opened again")
      }
      try note { $0.parksNothing() }
      throw error
    }
    return Tail(
      name: fork.parked, recordCount: point.recordCount, byteCount: point.byteCount,
      start: at, end: end.timestamp)
  }

  /// After `parks`.
  ///
  /// - Parameter owner: nil: not known any more.
  private mutating func park(
    from owner: String?, forGood: Bool = false, isGiven: Bool = false
  ) throws(SiteError) {
    guard let fork = state.fork else { return }
    var found: [String] = []
    defer { notes += found }
    try endTests(after: fork.instant)
    if !fork.parked.isEmpty {
      try ParkedTail.park(
        after: fork.after, of: state, in: folder,
        as: branchRecord(fork.parked, fork.identity, of: fork), log: { found.append($0) })
    }
    let former = configuration.peers.first { $0.site == owner }?.site
    try note { state in
      state.takesOver(from: former, isGiven: isGiven)
      if forGood { state.commits() }
    }
    if forGood { Self.forgetFormerState(in: folder) }
  }

  // MARK: Giving back

  /// The group's next opening follows again, from where it stopped.
  ///
  /// - Parameter name: of the branch for what the ownership has written; nil: that is dropped.
  mutating func giveBack(parking name: String?) throws(SiteError) -> Tail {
    guard let fork = state.fork, fork.stage == .pending else {
      throw SiteError("group \(configuration.name) has no failover that could be rolled back")
    }
    let recovered = try recover()
    let end = JournalState.Mark(recovered.lastSequence, recovered.lastTimestamp)
    var tail = Tail(start: fork.began, end: end.timestamp)
    tail.recordCount = end.sequence.rawValue - fork.after.sequence.rawValue
    for segment in recovered.segments where segment.firstSequence > fork.after.sequence {
      tail.byteCount += UInt64(segment.end - SegmentHeader.byteCount)
    }
    tail.name = tail.recordCount == 0 ? "" : name ?? ""
    try note { $0.returns(parking: tail.name) }
    try goBack()
    return tail
  }

  /// After `returns`.
  private mutating func goBack() throws(SiteError) {
    guard let fork = state.fork else { return }
    var found: [String] = []
    defer { notes += found }
    try endTests(after: fork.instant)
    if fork.returned.isEmpty {
      // What a crash left of the way back are records to keep.
      if fork.parked.isEmpty || ParkedTail.isWhole(fork.parked, in: folder) {
        try drop(after: fork.after.sequence)
      }
    } else {
      let identity = GroupIdentifier(high: ~fork.identity.high, low: fork.identity.low)
      try ParkedTail.park(
        after: fork.after, of: state, in: folder,
        as: branchRecord(fork.returned, identity, of: fork), log: { found.append($0) })
    }
    let former = try formerState()
    let told = state.promise.limit(
      at: SystemClock.monotonicNanoseconds(), boot: SystemInfo.bootIdentifier)
    #if MUTANTS
      if Mutant.forgetParked.isOn {
        return try note { $0.goesBack(to: former, toldThrough: told) }
      }
    #endif
    if !fork.parked.isEmpty {
      try ParkedTail.restore(
        after: fork.after, of: state, in: folder, from: fork.parked, log: { found.append($0) })
    }
    try note { $0.goesBack(to: former, toldThrough: told) }
    forgetFormerState()
  }

  private func drop(after last: SequenceNumber) throws(SiteError) {
    do throws(JournalError) {
      _ = try JournalRecovery(FolderStorage(existing: folder), state: state, cut: last)
    } catch { throw Self.error(configuration.name, "dropping what was written", error) }
  }

  // MARK: After a crash

  /// Brings what a crash has interrupted to its end.
  mutating func complete() throws(SiteError) {
    switch state.fork?.stage {
    case nil, .pending: return
    case .parking:
      notes.append("a failover was interrupted, and goes on")
      // Of several it may have been any.
      try park(from: configuration.peers.count == 1 ? configuration.peer?.site : nil)
    case .yielding:
      notes.append("parking what another owner lacks was interrupted, and goes on")
      try parkOwn()
    case .jumping:
      notes.append("going on behind what the owner has dropped was interrupted, and goes on")
      try finishJump()
    case .reverting:
      notes.append("going back to what it had was interrupted, and goes on")
      try finishReverting()
    case .returning:
      notes.append("a rollback was interrupted, and goes on")
      try goBack()
    }
  }

  // MARK: Tests

  /// Tests that are built on what leaves the journal, or would show what comes to it.
  private mutating func endTests(after instant: Timestamp) throws(SiteError) {
    notes += try GroupOpening.endTests(
      in: folder, after: instant,
      because: "the group changed hands at \(instant), and what the test is built on is later")
  }

  // MARK: Files

  func recover() throws(SiteError) -> JournalRecovery<FolderStorage> {
    let storage = FolderStorage(existing: folder)
    do throws(JournalError) {
      let recovered = try JournalRecovery(storage, state: state)
      guard state.isClean, recovered.lastSequence > state.durable else { return recovered }
      // A group that was closed in order ends with what is durable. What was lost before may lie
      // behind that, and be brought back by the header of its segment, once that comes again.
      return try JournalRecovery(storage, state: state, cut: state.durable)
    } catch { throw Self.error(configuration.name, "reading its journal", error) }
  }

  mutating func note(_ change: (inout JournalState) -> Void) throws(SiteError) {
    var next = state
    change(&next)
    do throws(Errno) { try file.write(next, generation: generation + 1) } catch {
      throw Self.error(configuration.name, "writing its state file", error)
    }
    state = next
    generation += 1
  }

  private func keepFormerState() throws(SiteError) { try keep(state) }

  /// As what it was, or will be, before a fork.
  func keep(_ state: JournalState) throws(SiteError) {
    do throws(Errno) {
      let name = JournalStateFile<File>.nameBeforeFork
      try JournalStateFile<File>.create(name, in: FolderStorage(existing: folder))
        .write(state, generation: 1)
    } catch { throw Self.error(configuration.name, "writing what it was before", error) }
  }

  func formerState() throws(SiteError) -> JournalState {
    let path = "\(folder)/\(JournalStateFile<File>.nameBeforeFork)"
    do throws(Errno) {
      let file = JournalStateFile(try File(opening: path, .readOnly))
      if let (state, _) = try? GroupOpening.readState(file, folder) { return state }
    } catch { throw Self.error(configuration.name, "reading \(path)", error) }
    throw SiteError("group \(configuration.name): \(path) is damaged: it cannot be rolled back")
  }

  func forgetFormerState() { Self.forgetFormerState(in: folder) }

  /// Nothing can be taken back any more. What stays is written over by the next fork.
  static func forgetFormerState(in folder: String) {
    try? Directory.remove("\(folder)/\(JournalStateFile<File>.nameBeforeFork)")
  }

  /// - Parameter name: of the branch for what follows the fork.
  func branchRecord(_ name: String, _ identity: GroupIdentifier, of fork: Fork) -> BranchRecord {
    var record = BranchRecord(
      name: name, identity: identity, group: state.group, instant: fork.instant,
      created: fork.began, expiry: nil, byteLimit: configuration.journal.capacityBytes,
      segmentByteCount: configuration.journal.segmentSizeBytes, user: "", note: "",
      disks: state.disks.filter { $0.isShown(at: fork.instant) }.map {
        .init(number: $0.number, name: $0.name, byteCount: $0.byteCount)
      }, kind: .parked)
    record.base = fork.after.timestamp
    return record
  }

  /// Of what is saved for a branch that is apart: never more than what the disks hold, and it must
  /// not end because much comes over the link.
  var wholeLimit: UInt64 {
    state.presentDisks.reduce(configuration.journal.capacityBytes) { $0 + 2 * $1.byteCount }
  }

  static func error(_ group: String, _ action: String, _ error: any Error) -> SiteError {
    let text = (error as? Errno)?.withAdvice ?? "\(error)"
    return SiteError("group \(group): \(action): \(text)")
  }
}
