import BlockModel
import Journal

/// What must be true of one group, whatever fails: the plain bookkeeping that its sites and their
/// clients are held to.
final class GroupOracle {
  let name: String
  let disks: DiskCatalog
  let protected: ProtectedOracle
  /// By the number of their role.
  let recoveries: [RecoveryOracle]
  let violation: (String) -> Never
  private let archive: Archive
  /// Those with damage at some site.
  private var damagedRecords: [Record] = []
  /// Bytes of disks, at one site or by a full copy at both, that damage has reached: by disk.
  private var spoiled: [Int: Set<Int>] = [:]

  private var seen = SeenInstants()

  /// Each site has records that the other lacks, and nobody has decided.
  var isDiverged = false
  /// An operator has given up what the peer has more. Where no record is known to be common, that
  /// takes a full copy.
  var isGivenUp = false

  init(
    name: String, first: [DiskCatalog.Disk], newcomers: [DiskCatalog.Disk], isFixed: Bool,
    recoveryCount: Int,
    violation: @escaping (String) -> Never
  ) {
    self.name = name
    let violation: (String) -> Never = { violation("group \(name): \($0)") }
    self.violation = violation
    let disks = DiskCatalog(first, newcomers: newcomers, isFixed: isFixed, violation)
    self.disks = disks
    let images = first.map(\.content)
    let archive = Archive()
    self.archive = archive
    protected = ProtectedOracle(Line(initial: images), archive, disks, violation)
    recoveries = (0..<recoveryCount).map { number in
      RecoveryOracle(.recovery(number), Line(initial: images), archive, violation)
    }
    protected.mayBeDamaged = { [unowned self] disk, offset in
      mayBeDamaged(disk, offset, .protected)
    }
  }

  /// Nil: of the protected site.
  func recovery(_ role: Role) -> RecoveryOracle? {
    switch role {
    case .protected: nil
    case .recovery(let number): recoveries[number]
    }
  }

  func line(_ role: Role) -> Line { recovery(role)?.line ?? protected.line }

  // MARK: Roles

  /// The last record that was durable at the former owner when it became a follower.
  private var kept: Record?
  private(set) var hasExchanged = false

  /// It is known what both sites have.
  var canExchange: Bool {
    recoveries[0].cutEnd == nil && !recoveries[0].isGoingBack
      && !recoveries[0].isEndUncertain && !isSplit && !isGivenUp
      && protected.line.agrees(with: recoveries[0].line)
  }

  /// Owner and follower change places, while both are down.
  ///
  /// - Parameters:
  ///   - mayLack: the new owner's files may lack what was not synced.
  ///   - isClean: the former one has made everything durable.
  ///   - newOwnerMayBeBehind: by its clock.
  func exchangeRoles(mayLack: Bool, isClean: Bool, newOwnerMayBeBehind: Bool) {
    let recovery = recoveries[0]
    let (former, next) = (protected.line, recovery.line)
    let floors = (former: protected.durableFloor, next: recovery.durableFloor)
    hasExchanged = true
    kept = isClean ? former.records.last : former.record(Int(floors.former))
    for record in former.records { record.isVoid = true }
    for record in next.records { record.isVoid = false }
    former.moves(beside: next)
    seen.exchange(followerResets: recovery.resetCount, newOwnerIsBehind: newOwnerMayBeBehind)
    protected.moves(
      to: next, durableFloor: floors.next,
      mayLack: mayLack || recovery.mayHaveLost || recovery.isEndUncertain)
    recovery.moves(to: former, durableFloor: floors.former)
  }

  /// The former owner gives up what it has after this record.
  func yields(to last: Int) {
    kept = recoveries[0].line.record(last)
    protected.mayRestamp = true
    recoveries[0].cut(to: UInt64(last))
  }

  /// The follower has what was durable when it owned, and the owner lacks it.
  var isSplit: Bool {
    guard let kept else { return false }
    return protected.line.record(Int(kept.sequence)) !== kept
  }

  /// The follower has something that the owner lacks, durable or not.
  var isAhead: Bool {
    let line = recoveries[0].line
    return line.count > protected.line.count || !protected.line.agrees(with: line)
  }

  /// An operator gives up what the follower has more.
  func giveUp() {
    kept = nil
    isGivenUp = true
  }

  /// In the end, when both are in step.
  func checkKept() {
    if isSplit {
      violation("\(kept?.description ?? "") was durable at the former owner, and is gone")
    }
  }

  private func isDamaged(_ recovery: RecoveryOracle) -> Bool {
    protected.isDamaged || recovery.isDamaged
  }

  // MARK: Instants

  private func resets(_ role: Role) -> Int { recovery(role)?.resetCount ?? 0 }

  /// The site has told that it can be opened, or has opened it.
  func noteSeen(_ role: Role, _ instant: Timestamp, wasOpened: Bool) {
    seen.note(
      role,
      .init(
        instant: instant, last: line(role).last(through: instant), wasOpened: wasOpened,
        resetCount: resets(role)))
  }

  func seenInstants(_ role: Role) -> [Timestamp] {
    seen.all(role, resetCount: resets(role)).map(\.instant)
  }

  /// The site has offered it, and must not refuse it.
  func owes(_ role: Role, _ instant: Timestamp) -> Bool {
    seen.all(role, resetCount: resets(role)).contains { $0.instant == instant && $0.isOwed }
  }

  /// Both sites are in step again: whatever was seen at them can be opened.
  func isInStep() { seen.allAreOwed() }

  /// It is opened again.
  func checkSeen(_ role: Role, _ instant: Timestamp) {
    let now = line(role).last(through: instant)
    for before in seen.all(role, resetCount: resets(role))
    where before.instant == instant && before.wasOpened && before.last !== now {
      violation(
        "\(role): \(instant) was opened before, and shows other records now: up to "
          + "\(before.last?.description ?? "none"), then up to \(now?.description ?? "none")")
    }
  }

  /// The group has these disks, and all that they held has come.
  func hasSettled(on names: [String]) -> Bool {
    let line = protected.line
    let present = line.present(after: line.count, of: disks)
    return present == line.shown(after: line.count, of: disks)
      && Set(present.map { disks[$0].name }) == Set(names)
  }

  /// Whether an instant after so many records of the site's line could show the disk. A full copy
  /// brings at once what a disk holds that comes.
  func mayShow(_ role: Role, _ number: Int, after count: Int) -> Bool {
    if let recovery = recovery(role),
      recovery.copiedLine.contains(where: { $0.change?.number.index == number })
    {
      return true
    }
    return line(role).mayShow(number, after: count, of: disks)
  }

  /// Those that clients can use now.
  var present: [Int] { protected.line.present(after: protected.line.count, of: disks) }

  // MARK: The sites' files

  /// The power was cut, or a sync has failed: what was not synced may be gone after the next start.
  func mayLose(_ role: Role) {
    if let recovery = recovery(role) { recovery.mayHaveLost = true } else { protected.mayLose() }
  }

  func opened(_ role: Role, _ header: SegmentHeader) {
    if let recovery = recovery(role) { recovery.opened(header) } else { protected.opened(header) }
  }

  /// Writing goes on after record `last`, over what follows it.
  func rewound(_ role: Role, to last: UInt64) {
    if role == .protected { protected.rewound(to: last) }
  }

  func found(_ role: Role, _ found: SegmentWatcher.Found) -> Record {
    recovery(role)?.received(found) ?? protected.stamped(found)
  }

  // MARK: Damage

  /// Some of the group's files at the site are not what was written: its end may now be taken for
  /// one that a power cut has torn.
  func damaged(_ role: Role) {
    if let recovery = recovery(role) {
      recovery.isDamaged = true
    } else {
      protected.isDamaged = true
    }
  }

  func damaged(_ role: Role, _ identity: SegmentIdentity, _ index: Int, _ bytes: Range<Int>) {
    guard let record = archive.record(identity, index) else { return }
    record.damage.append(Record.Damage(role: role, bytes: bytes))
    damagedRecords.append(record)
  }

  /// From now on a record is verified before it is applied.
  func restarting(_ role: Role) {
    for record in damagedRecords {
      for index in record.damage.indices where record.damage[index].role == role {
        record.damage[index].isRecent = false
      }
    }
  }

  private func damage(_ disk: Int, _ offset: Int, _ role: Role) -> Record.Damage? {
    let all = damagedRecords.lazy.filter { $0.header.kind == .write && $0.disk == disk }
      .compactMap { $0.damage(at: role, offset) }
    return all.first(where: \.isRecent) ?? all.first
  }

  /// Whether a reader may find another byte there than was written: a record's payload is verified
  /// when it is received, recovered or sent, not each time it is read.
  func mayBeDamaged(_ disk: Int, _ offset: Int, _ role: Role) -> Bool {
    spoiled[disk]?.contains(offset) ?? false || damage(disk, offset, role) != nil
  }

  /// Where what was read at a site is wrong; nil when it is right.
  func difference(
    of found: [UInt8], from expected: [UInt8], disk: Int, at offset: Int, _ role: Role
  ) -> String? {
    difference(of: found, from: expected, at: offset) { mayBeDamaged(disk, $0, role) }
  }

  /// The same of the base disk, to which only what was damaged since the site's start may have
  /// come.
  func baseDifference(
    of found: [UInt8], from expected: [UInt8], disk: Int, _ role: Role
  ) -> String? {
    difference(of: found, from: expected, at: 0) { offset in
      if spoiled[disk]?.contains(offset) ?? false { return true }
      guard damage(disk, offset, role)?.isRecent ?? false else { return false }
      spoiled[disk, default: []].insert(offset)
      return true
    }
  }

  private func difference(
    of found: [UInt8], from expected: [UInt8], at offset: Int, _ mayDiffer: (Int) -> Bool
  ) -> String? {
    if found == expected { return nil }
    var expected = expected
    if found.count == expected.count {
      for index in found.indices
      where found[index] != expected[index] && mayDiffer(offset + index) {
        expected[index] = found[index]
      }
    }
    return simulator.difference(of: found, from: expected, at: offset)
  }

  /// The peer drops what the protected site lacks.
  func cut(_ role: Role, to last: UInt64) {
    if isDiverged { violation("records after \(last), which only the peer has, are dropped") }
    if isSplit, let kept, last < kept.sequence {
      violation("\(kept), which only the former owner has, is dropped")
    }
    isGivenUp = false
    recovery(role)?.cut(to: last)
  }

  // MARK: Full copies

  /// A full copy begins at the recovery site: its journal is empty and goes on after `start`.
  func erased(_ role: Role, start: UInt64) {
    guard let recovery = recovery(role) else { return }
    if isDiverged { violation("a full copy erases what only the peer has") }
    if isSplit { violation("a full copy erases what only the former owner has") }
    if !mustCopy(recovery), !isDamaged(recovery) {
      violation(
        "a full copy begins after record \(start), and the peer could have gone on after record "
          + "\(recovery.line.count)")
    }
    recovery.erased(keeping: Array(protected.line.records.prefix(Int(start))))
    recovery.copiedLine = disks.isFixed ? [] : protected.line.records
    isGivenUp = false
  }

  /// The recovery site goes on behind record `last`, without what the protected one has dropped.
  func jumped(_ role: Role, behind last: UInt64) {
    guard let recovery = recovery(role) else { return }
    if isDiverged || isSplit { violation("goes on behind what only the peer has") }
    if !mustCopy(recovery), !isDamaged(recovery) {
      violation("goes on behind record \(last), and could have after \(recovery.line.count)")
    }
    protected.mayRestamp = true
    recovery.erased(keeping: Array(protected.line.records.prefix(Int(last))))
  }

  // MARK: What the protected site keeps for its peers

  /// The protected site uses the segment's file for another one. Unless a peer must be copied anew
  /// anyway, that has the records.
  func recycled(_ identity: SegmentIdentity) {
    guard let last = archive.segments[identity]?.records.last(where: { !$0.isVoid }) else { return }
    for recovery in recoveries
    where !mustCopy(recovery) && !isDamaged(recovery)
      && recovery.line.record(Int(last.sequence)) !== last
    {
      violation("\(last) is recycled before the peer has it")
    }
  }

  private func mustCopy(_ recovery: RecoveryOracle) -> Bool {
    guard let state = recovery.state, state.baseline == .complete, !recovery.isDetached,
      !recovery.hasMoved, !isGivenUp,
      recovery.line.count > recovery.copyStart
    else { return true }
    // It has applied what the protected site has lost.
    let applied = Int(max(state.applied.sequence, state.applyTarget.sequence).rawValue)
    return recovery.line.record(applied) !== protected.line.record(applied)
  }
}

/// Every segment that the protected site ever wrote, also what of it was lost later.
final class Archive {
  struct Segment {
    /// The record before the segment's first; nil: there is none.
    let predecessor: Record?
    var records: [Record] = []
  }

  private(set) var segments: [SegmentIdentity: Segment] = [:]

  func open(_ identity: SegmentIdentity, after predecessor: Record?) {
    segments[identity] = Segment(predecessor: predecessor)
  }

  func add(_ record: Record) { segments[record.identity]?.records.append(record) }

  func record(_ identity: SegmentIdentity, _ index: Int) -> Record? {
    guard let segment = segments[identity], index < segment.records.count else { return nil }
    return segment.records[index]
  }
}
