import BlockModel
import Configuration
import Journal
import Storage
import Synchronization
import SystemIO
import Volume

/// The branches of a group, and the holds that they have on its journal. A branch holds apply back
/// at its instant, as a view does; when the journal needs the room it is detached, and apply saves
/// for it, durably, what it overwrites.
struct GroupBranches: ~Copyable {
  /// By name. Any thread.
  let all = Mutex<[String: Branch]>([:])
  /// By name; on the loop.
  fileprivate var holds: [String: OpenViews.Use] = [:]
  /// By name, those whose file the keeper changes, or is to change; on the loop.
  fileprivate var beingNoted: Set<String> = []
  fileprivate var lastLookNanoseconds: UInt64 = 0

  func named(_ name: String) -> Branch? { all.withLock { $0[name] } }
  var listed: [Branch] {
    all.withLock { $0.values.sorted { $0.record.created < $1.record.created } }
  }
  var isEmpty: Bool { all.withLock { $0.isEmpty } }
}

/// A branch that was found at an opening, with what it needs of the journal.
struct FoundBranch {
  let branch: Branch
  let plan: ViewPlan<SiteSegmentFile>?
  let applied: SequenceNumber
}

/// What a new branch is to be built on. Until it is `added` or `dropped`, it holds apply back.
struct BranchBase: Sendable {
  let view: SiteView
  let disks: [GroupDisk]
  let group: GroupIdentifier
  let segmentByteCount: UInt64
  let capacityByteCount: UInt64
  fileprivate let use: OpenViews.Use
}

// MARK: - Opening

extension GroupOpening {
  /// The branches that a group's folder has. One that is damaged never opens again; of one that may
  /// be whole, and cannot be read now, apply would overwrite what it is built on. Blocks.
  static func findBranches(
    _ folder: String, log: (String) -> Void
  ) throws(SiteError) -> [Branch] {
    var found: [Branch] = []
    for record in try findRecords(folder, log: log) {
      found.append(try Branch(record, folder: Branch.folder(record.name, ofGroupIn: folder)))
    }
    return found
  }

  static func findRecords(
    _ folder: String, log: (String) -> Void
  ) throws(SiteError) -> [BranchRecord] {
    let parent = "\(folder)/\(Branch.folderName)"
    guard Directory.exists(parent) else { return [] }
    var found: [BranchRecord] = []
    let names: [String]
    do throws(Errno) { names = try Directory.names(in: parent) } catch {
      throw SiteError("\(parent): \(error.withAdvice)")
    }
    for name in names where BranchName.isValid(name) {
      let folder = "\(parent)/\(name)"
      guard BranchRecord.exists(in: folder) else { continue }
      guard let record = try BranchRecord.read(from: folder, log: log) else { continue }
      // Two of one name would be served as one.
      guard record.name == name else {
        log(
          "\(folder) is a copy of branch \(record.name), or has another name than it had: it is "
            + "not opened; remove it")
        continue
      }
      found.append(record)
    }
    return found
  }

  /// Opens what the branches are built on, before anything is applied. Blocks.
  static func openBranches(
    _ folder: String, _ journal: SiteJournal, _ state: JournalState, _ disks: DiskTable,
    log: (String) -> Void
  ) throws(SiteError) -> [FoundBranch] {
    try findBranches(folder, log: log).map { branch in
      let record = branch.record
      guard record.ending == nil, !branch.saved.isLost else {
        return FoundBranch(branch: branch, plan: nil, applied: .none)
      }
      let plan = journal.plan(for: record)
      let applied = journal.applied
      let doubt =
        record.isInDoubt ? "the process ended while what it is built on was dropped, perhaps" : nil
      if let reason = doubt ?? unfitness(of: record, state, disks) {
        branch.condemn(reason)
        return FoundBranch(branch: branch, plan: plan, applied: applied)
      }
      branch.open(plan, applied: applied, stores: disks.stores(of: record), journal.catalog)
      return FoundBranch(branch: branch, plan: plan, applied: applied)
    }
  }

  /// Why the branch cannot be opened on what is there; nil when it can.
  static func unfitness(
    of record: BranchRecord, _ state: JournalState, _ disks: DiskTable
  ) -> String? {
    if record.group != state.group || state.needsBaseline {
      return "the group's history is another one now"
    }
    for disk in record.disks {
      guard let present = disks[disk.number], present.store.byteCount >= disk.byteCount else {
        return "disk \(disk.name), on which it is built, has left the group"
      }
    }
    return nil
  }
}

extension Journal {
  /// For the records that are not applied, up to the instant. On the loop, or before it has the
  /// journal.
  func viewPlan(at instant: Timestamp) -> ViewPlan<Storage.File> {
    ViewPlan(
      instant: instant, generations: maps(notLaterThan: instant),
      cut: generation(cutBy: instant),
      segments: segments(after: applied, through: stamped), diskCount: diskCount, shelf: shelf)
  }

  /// For what the branch is built on; see `viewPlan`.
  fileprivate func plan(for record: BranchRecord) -> ViewPlan<Storage.File> {
    if !record.isApart { return viewPlan(at: record.base) }
    // Until it is detached nothing is applied: no record is that early.
    return ViewPlan(
      instant: .zero, generations: [], cut: nil, segments: [], diskCount: diskCount,
      shelf: shelf)
  }
}

extension Branch {
  /// Opens what it is built on. May block, unless it is apart.
  fileprivate func open(
    _ plan: ViewPlan<SiteSegmentFile>, applied: SequenceNumber, stores: [DiskStore?],
    _ catalog: SegmentCatalog<SiteSegmentFile>
  ) {
    do throws(VolumeError) {
      opened(.success(try View(plan, applied: applied, stores: stores, catalog: catalog)))
    } catch { opened(.failure(.unavailable("\(error)"))) }
  }
}

extension DiskTable {
  /// By number.
  fileprivate func stores(of record: BranchRecord) -> [DiskStore?] {
    var stores = [DiskStore?](
      repeating: nil, count: (record.disks.map(\.number.index).max() ?? -1) + 1)
    for disk in record.disks { stores[disk.number.index] = self[disk.number]?.store }
    return stores
  }
}

// MARK: - On the loop

extension Group {
  /// Before the loop has the group.
  func adopt(_ found: [FoundBranch]) {
    for one in found {
      branches.all.withLock { $0[one.branch.name] = one.branch }
      listen(to: one.branch)
      guard let plan = one.plan else { continue }
      #if MUTANTS
        if Mutant.forgetBranchHold.isOn { continue }
      #endif
      let use = views.add(one.branch, plan, applied: one.applied)
      branches.holds[one.branch.name] = use
      if one.branch.view == nil { views.failed(use) } else { attach(one.branch, use) }
    }
  }

  /// The view of its hold is open. What apply has saved for it before belongs to it.
  private func attach(_ branch: Branch, _ use: OpenViews.Use) {
    guard let view = branch.view else { return }
    views.setView(use, view)
    views.setExpiry(use) { [weak self] in
      branch.expire(self?.branchObstacle(of: branch) ?? "its group has ended")
    }
    #if MUTANTS
      if Mutant.dropSaved.isOn { return }
    #endif
    if branch.saved.byteCount > 0 || branch.record.isApart, let journal {
      view.detach(keepingIn: branch.saved, floor: journal.firstUnappliedSegment)
      views.detach(use, branch.saved)
    }
  }

  private func branchObstacle(of branch: Branch) -> String {
    if let failure = branch.saved.failure { return "\(failure)" }
    return "group \(configuration.name): \(failure ?? "its journal is set back")"
  }

  private func listen(to branch: Branch) {
    // The branch has this, so it must not have the branch.
    branch.whenUnused { [loop, weak self, weak branch] in
      loop.post { [weak self, weak branch] in
        if let branch { self?.branchUnused(branch) }
      }
    }
  }

  /// Opens what a new branch is built on. `completion` is called on the loop.
  func openBase(
    _ expression: InstantExpression,
    _ completion: @escaping @Sendable (Result<BranchBase, ExportRefusal>) -> Void
  ) {
    findInstant(expression) { [self] result in
      switch result {
      case .failure(let refusal): completion(.failure(refusal))
      case .success(let instant):
        guard commit() else { return completion(.failure(.unavailable("group has failed"))) }
        secure(instant) { [self] problem in
          guard let problem else { return openBase(at: instant, completion) }
          completion(.failure(.unavailable("group \(configuration.name): \(problem)")))
        }
      }
    }
  }

  private func openBase(
    at instant: Timestamp,
    _ completion: @escaping @Sendable (Result<BranchBase, ExportRefusal>) -> Void
  ) {
    planView(at: instant, isShared: false) { [self] result in
      guard let journal, let state = stateKeeper?.state else { return }
      completion(
        result.map { view, use in
          BranchBase(
            view: view, disks: disks(of: view), group: state.group,
            segmentByteCount: UInt64(journal.options.segmentByteCount),
            capacityByteCount: UInt64(journal.capacityByteCount), use: use)
        })
    }
  }

  /// Any thread, once: nothing was made of it.
  func drop(_ base: BranchBase) {
    loop.post { [self] in
      views.remove(base.use)
      recycle()
    }
  }

  /// The branch's folder is there. False: the base is of no use, and whoever made the folder
  /// removes it before he drops the base: a crash must not find a branch that nothing is kept for.
  func add(_ branch: Branch, on base: BranchBase) -> Bool {
    // What was saved for it as for a view does not last.
    guard lifecycle.isServing, views.isWhole(base.use) else { return false }
    branch.opened(.success(base.view))
    branches.all.withLock { $0[branch.name] = branch }
    listen(to: branch)
    views.give(base.use, to: branch)
    branches.holds[branch.name] = base.use
    attach(branch, base.use)
    return true
  }

  /// Nobody serves it, and its files are about to go.
  func removeBranch(_ name: String) {
    branches.all.withLock { $0[name] = nil }
    guard let use = branches.holds.removeValue(forKey: name) else { return }
    views.remove(use)
    recycle()
    closeGoneDisks()
    goOn()
  }

  /// Whoever served it has ended.
  private func branchUnused(_ branch: Branch) {
    if lifecycle.isResetting || branch.isEndNoted { letGo(of: branch) }
  }

  private func letGo(of branch: Branch) {
    guard let use = branches.holds.removeValue(forKey: branch.name) else { return }
    views.remove(use)
    recycle()
    goOn()
  }

  /// It is over for good: its limit is reached, or what it is built on is lost.
  func end(_ branch: Branch, _ reason: String) {
    guard branch.record.ending == nil else { return }
    log("group \(configuration.name): branch \(branch.name) has ended: \(reason)")
    branch.condemn(reason)
    noteEnd(of: branch, reason) { [self] error in
      log(
        "group \(configuration.name): branch \(branch.name): noting its end, which is tried again: "
          + error.withAdvice)
    }
  }

  /// Only then may apply overwrite what it is built on.
  private func noteEnd(
    of branch: Branch, _ reason: String, failed: @escaping @Sendable (Errno) -> Void = { _ in }
  ) {
    note(branch) { () throws(Errno) in
      try branch.end(reason)
    } done: { [self] failure in
      if let failure { return failed(failure) }
      if !branch.isUsed { letGo(of: branch) }
    }
  }

  /// Changes the branch's file, by the keeper, which may hang: one change at a time, and whoever
  /// comes meanwhile comes again a second later. `done` is called on the loop.
  private func note(
    _ branch: Branch, _ change: @escaping @Sendable () throws(Errno) -> Void,
    done: @escaping @Sendable (_ failure: Errno?) -> Void = { _ in }
  ) {
    let name = branch.name
    guard branches.beingNoted.insert(name).inserted else { return }
    keeper.submit { [self] in
      let failure: Errno?
      do throws(Errno) {
        try change()
        failure = nil
      } catch { failure = error }
      loop.post { [self] in
        branches.beingNoted.remove(name)
        done(failure)
      }
    }
  }

  /// Several times a second.
  func tickBranches() {
    let now = loop.monotonicNow
    guard now &- branches.lastLookNanoseconds >= 1_000_000_000, !branches.isEmpty else { return }
    branches.lastLookNanoseconds = now
    let wall = loop.now
    for branch in branches.listed {
      let record = branch.record
      if let ending = record.ending {
        if !branch.isEndNoted { noteEnd(of: branch, ending) }
        continue
      }
      openAgain(branch)
      if record.isInDoubt, !lifecycle.isResetting { clearDoubt(of: branch) }
      if let failure = branch.saved.failure {
        end(branch, Self.lossText(failure))
      } else if let expiry = record.expiry, expiry <= wall {
        end(branch, "its time was up at \(expiry)")
      }
    }
  }

  private static func lossText(_ failure: VolumeError) -> String {
    "the journal was full, and what apply overwrote could not be saved for it: \(failure)"
  }

  // MARK: A reset

  /// What follows `last` is about to be dropped: those that may be built on that. One that is not
  /// is told so again by `openBranchesAgain`.
  func branchesInDoubt(after last: SequenceNumber) -> [Branch] {
    guard let journal, let state = stateKeeper?.state else { return [] }
    var kept = state.applied.timestamp
    for span in journal.generations.lazy.map(\.span) where span.firstSequence <= last {
      kept = span.lastSequence <= last ? span.lastTimestamp : span.firstTimestamp
    }
    return branches.listed.filter { $0.record.isBuiltOn(after: kept) }
  }

  private func clearDoubt(of branch: Branch) {
    note(branch) { () throws(Errno) in
      if branch.record.isInDoubt { try branch.note(inDoubt: false) }
    }
  }

  /// What nobody serves holds up nothing; the others are told to end.
  func releaseBranches() {
    for branch in branches.listed where !branch.isUsed { letGo(of: branch) }
  }

  /// The journal was set back: the branches are opened again on what it is now.
  ///
  /// - Parameter dropped: what the journal had before, and was dropped, began after this instant.
  func openBranchesAgain(dropped: Timestamp?) {
    guard let journal, let state = stateKeeper?.state else { return }
    let table = diskTable.withLock { $0 }
    for branch in branches.listed where branch.record.ending == nil {
      let record = branch.record
      let plan = journal.plan(for: record)
      let use = views.add(branch, plan, applied: journal.applied)
      branches.holds[branch.name] = use
      if record.isApart {
        branch.open(
          plan, applied: journal.applied, stores: table.stores(of: record), journal.catalog)
        attach(branch, use)
      } else {
        views.failed(use)
      }
      if let dropped, record.isBuiltOn(after: dropped) {
        end(branch, "what it is built on was never durable where it was written, and is dropped")
      } else if let reason = GroupOpening.unfitness(of: record, state, table) {
        end(branch, reason)
      } else {
        clearDoubt(of: branch)
        openAgain(branch)
      }
    }
  }

  /// What it is built on, if that could not be opened, or not yet.
  private func openAgain(_ branch: Branch) {
    guard let use = branches.holds[branch.name], views.hasFailed(use) else { return }
    views.openAgain(use) { [self] result, use in
      branch.opened(result)
      if case .success = result { attach(branch, use) }
    }
    openNextView()
  }

  /// The journal has no room for a branch that cannot be detached from it.
  func endUnopened(_ holds: [OpenViews.Hold]) {
    for case let hold in holds where hold.hasFailed {
      guard let branch = hold.branch else { continue }
      end(branch, "the journal was full, and what it is built on could not be opened")
    }
  }

  /// A full copy would write over what they are built on.
  var refusalOfCopyForBranches: String? {
    let open = branches.listed.map(\.record).filter { $0.ending == nil }
    let named = { (kind: BranchRecord.Kind) in
      open.filter { $0.kind == kind }.map(\.name).joined(separator: ", ")
    }
    let (tests, parked) = (named(.test), named(.parked))
    var parts: [String] = []
    if !tests.isEmpty {
      parts.append("what tests are built on: end them there first (`tapline test stop`): \(tests)")
    }
    if !parked.isEmpty {
      parts.append(
        "writes that are parked: copy out there what is needed of them, and delete them "
          + "(`tapline test stop NAME --parked`): \(parked)")
    }
    if parts.isEmpty { return nil }
    return "group \(configuration.name) must be copied anew at \(siteName), which would take away "
      + parts.joined(separator: "; and ")
  }
}
