import BlockModel
import Journal
import Replication
import SystemIO

/// A follower goes on behind records that do not come: its owner has dropped them, or the two have
/// no record in common. What is here stays, parked behind what is applied, and each of its instants
/// can be opened. What it lacks then is listed, and comes as at a former owner: what the dropped
/// records have changed and those that are parked, or everything.
///
/// ```
///  `lacking-next` written    nothing has changed
///  state: jumping            the next opening goes on from here
///  the tail is parked        the branch is apart from the group's order
///  the journal is erased
///  `lacking-next` ▶ `lacking`
///  state: reconciling
/// ```
extension OwnershipExchange {
  /// After this the group's next opening goes on behind the gap. Throws with all as it was.
  ///
  /// - Parameter owner: the name of its site.
  mutating func jump(
    to point: JumpPoint, of owner: String, now: Timestamp
  ) throws(SiteError) {
    guard state.ownership.duty == .following, !state.needsBaseline, state.fork == nil else {
      throw SiteError("group \(configuration.name) does not follow any more")
    }
    let recovered = try recover()
    let last = recovered.lastSequence
    guard point.isWhole || point.after <= last && last <= point.mark.sequence else {
      throw SiteError(
        "group \(configuration.name) has records up to \(last.rawValue) by now")
    }
    let found = try GroupOpening.findRecords(folder) { _ in }
    for record in found where record.isBuiltOn(after: state.applied.timestamp) {
      try detach(record, from: recovered)
    }
    let gaps = found.filter { $0.kind == .parked && gapNumber(of: $0) != nil }
    let hasHistory = state.baseline == .complete
    let branch = hasHistory ? newGapName(beside: gaps) : ""
    try jump(to: point, from: recovered, parking: branch, now: now)
    if hasHistory { forget(gaps, now) }
    notes.append(
      "this site goes on behind record \(point.mark.sequence.rawValue) of \(owner)"
        + (branch.isEmpty ? "" : "; what it has of before can be opened as \(branch)"))
  }

  /// What is kept of before so many gaps.
  private static let gapLimit = 8

  private var gapName: String { "before-gap-\(configuration.name)" }

  /// Nil: it is of no gap.
  private func gapNumber(of record: BranchRecord) -> Int? {
    guard record.name.hasPrefix(gapName) else { return nil }
    let rest = record.name.dropFirst(gapName.count)
    return rest.isEmpty ? 1 : rest.first == "-" ? Int(rest.dropFirst()) : nil
  }

  /// No name is used again while a later one is there.
  private func newGapName(beside gaps: [BranchRecord]) -> String {
    let last = gaps.compactMap(gapNumber).max() ?? 0
    return last == 0 ? gapName : "\(gapName)-\(last + 1)"
  }

  /// What was kept of earlier gaps goes when the history window would not reach back so far, or
  /// when there are too many.
  private mutating func forget(_ gaps: [BranchRecord], _ now: Timestamp) {
    let newest = gaps.sorted { (gapNumber(of: $0) ?? 0) > (gapNumber(of: $1) ?? 0) }
    for (place, record) in newest.enumerated() {
      let age = now.rawValue - min(now.rawValue, record.created.rawValue)
      let isOld = age > configuration.historyNanoseconds
      guard isOld || place >= Self.gapLimit - 1 else { continue }
      Branch.removeFiles(of: Branch.folder(record.name, ofGroupIn: folder))
      let reason = isOld ? "it is older than the history window" : "there are so many"
      notes.append("\(record.name) is removed: \(reason)")
    }
  }

  /// As `jump`, of a former owner that has nothing in common with the next one of which a list
  /// could tell: everything is lacking then, and where to go on the next owner says.
  mutating func jump(
    to claim: Claim, from recovered: JournalRecovery<FolderStorage>,
    parkedBefore before: String = "", now: Timestamp
  ) throws(SiteError) {
    let disks = state.presentDisks.map {
      JournalState.Disk(number: $0.number, name: $0.name, byteCount: $0.byteCount)
    }
    let point = JumpPoint(
      behind: .origin, Lineage(), disks: disks, nextDisk: state.nextDisk, after: .none,
      lacking: DiskExtents(whole: disks))
    try jump(
      to: point, from: recovered, parking: "", parkedBefore: before, following: claim, now: now)
  }

  private mutating func jump(
    to point: JumpPoint, from recovered: JournalRecovery<FolderStorage>, parking branch: String,
    parkedBefore before: String = "", following claim: Claim? = nil, now: Timestamp
  ) throws(SiteError) {
    var list = try list(of: point, recovered)
    // Those of the next owner may have other numbers.
    list.hasOwnersDisks = claim == nil
    var generator = SystemEntropy()
    let identity = GroupIdentifier(
      high: .random(in: 1...UInt64.max, using: &generator), low: list.number)
    let end = JournalState.Mark(recovered.lastSequence, recovered.lastTimestamp)
    let fork = Fork(
      at: .init(last: state.applied, tail: nil, end: end, byteCount: 0),
      instant: state.applied.timestamp, began: now, parked: branch, epoch: state.epoch,
      identity: identity)
    try file("writing what it lacks") { () throws(Errno) in
      try LackingFile.write(list, in: folder, next: true)
    }
    try note { state in
      state.jumps(at: fork, parkedBefore: before)
      guard let claim else { return }
      if state.ownership.duty == .owning { state.ownership.change(to: .following) }
      state.follows(claim)
    }
    do throws(SiteError) { try finishJump() } catch {
      if fork.parked.isEmpty || ParkedTail.isBegun(fork.parked, in: folder) { throw error }
      try note { $0.parksNothing() }
      throw error
    }
  }

  /// After `jumps`.
  mutating func finishJump() throws(SiteError) {
    guard let fork = state.fork else { return }
    let folder = folder
    var found: LackingList?
    try file("reading what it lacks") { () throws(Errno) in
      for isNext in [true, false] where found?.number != fork.identity.low {
        found = try LackingFile.read(in: folder, next: isNext)
      }
    }
    guard let list = found, list.number == fork.identity.low else {
      throw SiteError(
        "group \(configuration.name): \(folder)/\(LackingList.nextFileName), by which it was to go "
          + "on, is missing or damaged: move \(folder) away, and it is copied anew")
    }
    if !fork.parked.isEmpty { try parkHistory(fork) }
    var said: [String] = []
    defer { notes += said }
    try GroupOpening.partBranches(
      in: folder, of: state, through: state.applied.sequence, from: .origin,
      log: { said.append($0) })
    let empty: JournalRecovery<FolderStorage>
    do throws(JournalError) {
      empty = try JournalRecovery(erasing: FolderStorage(existing: folder), state: state)
    } catch { throw Self.error(configuration.name, "erasing its journal", error) }
    try file("writing what it lacks") { () throws(Errno) in
      try LackingFile.adoptNext(in: folder)
    }
    let told = state.promise.limit(
      at: SystemClock.monotonicNanoseconds(), boot: SystemInfo.bootIdentifier)
    try note { state in
      state.hasJumped(to: list, toldThrough: told)
      state.oldestSegment = empty.oldestSegment
    }
  }

  private mutating func parkHistory(_ fork: Fork) throws(SiteError) {
    var record = branchRecord(
      fork.parked, .init(high: fork.identity.high, low: ~fork.identity.low), of: fork)
    record.isApart = true
    record.byteLimit = wholeLimit
    record.note = "of before the journal of the owner was full"
    var found: [String] = []
    defer { notes += found }
    try ParkedTail.park(
      after: fork.after, of: state, in: folder, as: record, log: { found.append($0) })
  }

  /// What the dropped records have changed, those that are not on the disks here, and what is
  /// lacking from before.
  private func list(
    of point: JumpPoint, _ recovered: JournalRecovery<FolderStorage>
  ) throws(SiteError) -> LackingList {
    if point.isWhole { return list(behind: point, lacking: point.extents) }
    var collector = DiskExtentCollector()
    for extent in point.extents.extents { collector.add(extent) }
    do {
      for extent in try unapplied(recovered).extents { collector.add(extent) }
      if state.baseline == .reconciling {
        // What a list does not tell, the owner has parked, and would not be asked again.
        guard let before = try LackingFile.read(in: folder), before.number == state.lack.list,
          before.exactAfter.sequence <= before.common.sequence
        else { return list(behind: point, lacking: DiskExtents(whole: point.disks)) }
        for extent in before.extents.rest(from: state.lack.reached).extents {
          collector.add(extent)
        }
      }
    } catch { throw Self.error(configuration.name, "listing what it lacks", error) }
    return list(behind: point, lacking: collector.finish())
  }

  private func list(behind point: JumpPoint, lacking extents: DiskExtents) -> LackingList {
    var generator = SystemEntropy()
    return LackingList(
      number: .random(in: 1...UInt64.max, using: &generator), group: state.group,
      behind: point.mark, of: point.lineage, disks: point.disks, nextDisk: point.nextDisk,
      extents: extents)
  }

  /// What is here behind the disks.
  private func unapplied(
    _ recovered: JournalRecovery<FolderStorage>
  ) throws(JournalError) -> DiskExtents {
    #if MUTANTS
      if Mutant.forgetUnapplied.isOn { return DiskExtents() }
    #endif
    let found = try RecordedChanges.extents(
      in: recovered.segments, after: state.applied.sequence, through: recovered.lastSequence)
    guard let found else {
      throw .damaged("not all records that are not applied are in its journal")
    }
    return found
  }

  private func file(
    _ action: String, _ body: () throws(Errno) -> Void
  ) throws(SiteError) {
    do throws(Errno) { try body() } catch { throw Self.error(configuration.name, action, error) }
  }
}
