import BlockModel
import Journal

/// The two sites of a group.
enum Role: String, CaseIterable {
  case protected, recovery
}

/// What must be true of one group, whatever fails: the plain bookkeeping that both sites and their
/// clients are held to.
final class GroupOracle {
  let name: String
  let diskNames: [String]
  let protected: ProtectedOracle
  let recovery: RecoveryOracle
  let violation: (String) -> Never
  private let archive: Archive
  /// Those with damage at some site.
  private var damagedRecords: [Record] = []
  /// Bytes of disks, at one site or by a full copy at both, that damage has reached: by disk.
  private var spoiled: [Int: Set<Int>] = [:]

  private var seen = SeenInstants()

  /// What the recovery site has written down last.
  var recoveryState: JournalState?
  /// The last full copy began after this record.
  private var copyStart = 0
  private var isPeerDetached = false
  /// Each site has records that the other lacks, and nobody has decided.
  var isDiverged = false
  /// An operator has given up what the peer has more. Where no record is known to be common, that
  /// takes a full copy.
  var isGivenUp = false

  init(
    name: String, diskNames: [String], initial: [[UInt8]], violation: @escaping (String) -> Never
  ) {
    self.name = name
    self.diskNames = diskNames
    let violation: (String) -> Never = { violation("group \(name): \($0)") }
    self.violation = violation
    let images = initial.map { DiskImage($0) }
    archive = Archive()
    protected = ProtectedOracle(Line(initial: images), archive, violation)
    recovery = RecoveryOracle(Line(initial: images), archive, violation)
  }

  func line(_ role: Role) -> Line { role == .protected ? protected.line : recovery.line }

  // MARK: Instants

  private func resets(_ role: Role) -> Int { role == .recovery ? recovery.resetCount : 0 }

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

  // MARK: The sites' files

  func opened(_ role: Role, _ header: SegmentHeader) {
    switch role {
    case .protected: protected.opened(header)
    case .recovery: recovery.opened(header)
    }
  }

  /// Writing goes on after record `last`, over what follows it.
  func rewound(_ role: Role, to last: UInt64) {
    if role == .protected { protected.rewound(to: last) }
  }

  func found(_ role: Role, _ found: SegmentWatcher.Found) -> Record {
    switch role {
    case .protected: protected.stamped(found)
    case .recovery: recovery.received(found)
    }
  }

  // MARK: Damage

  /// Some of the group's files at the site are not what was written: its end may now be taken for
  /// one that a power cut has torn.
  func damaged(_ role: Role) {
    switch role {
    case .protected: protected.isDamaged = true
    case .recovery: recovery.isDamaged = true
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
  func cut(to last: UInt64) {
    if isDiverged { violation("records after \(last), which only the peer has, are dropped") }
    isGivenUp = false
    recovery.cut(to: last)
  }

  // MARK: Full copies

  /// A full copy begins at the recovery site: its journal is empty and goes on after `start`.
  func erased(start: UInt64) {
    if isDiverged { violation("a full copy erases what only the peer has") }
    if !mustCopy, !protected.isDamaged, !recovery.isDamaged {
      violation(
        "a full copy begins after record \(start), and the peer could have gone on after record "
          + "\(recovery.line.count)")
    }
    recovery.erased(keeping: Array(protected.line.records.prefix(Int(start))))
    copyStart = Int(start)
    isPeerDetached = false
    isGivenUp = false
  }

  /// A power cut has undone what `erased` was told.
  func notErased() {
    recovery.notErased()
    isPeerDetached = true
  }

  // MARK: What the protected site keeps for its peer

  /// The protected site says that it drops what its peer lacks.
  func peerDetached() { isPeerDetached = true }

  /// The protected site uses the segment's file for another one. Unless its peer must be copied
  /// anew anyway, that has the records.
  func recycled(_ identity: SegmentIdentity) {
    guard !mustCopy, !protected.isDamaged, !recovery.isDamaged,
      let last = archive.segments[identity]?.records.last(where: { !$0.isVoid }),
      recovery.line.record(Int(last.sequence)) !== last
    else { return }
    violation("\(last) is recycled before the peer has it")
  }

  private var mustCopy: Bool {
    guard let state = recoveryState, state.baseline == .complete, !isPeerDetached, !isGivenUp,
      recovery.line.count > copyStart
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
