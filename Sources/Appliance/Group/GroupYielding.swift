import BlockModel
import Journal
import Replication
import SystemIO

/// How an owner becomes a follower of the next one, with its disks as they are. Both have the same
/// records up to the *common* one. What its own records have changed after that is listed; then its
/// journal, all of which is on the disks, is erased, and it follows from the common record on. The
/// next owner makes records of what the list names.
///
/// Each step is durable before the next, and all can be made again:
///
/// ```
///  crash before          the next start finds
///  the list is written   an owner, as before
///  the journal is erased an owner with a list, which a journal that goes on adds to
///  the state is written  an owner with an empty journal: all is on its disks, and listed
/// ```
extension GroupOpening {
  enum Yielding: Equatable, Sendable {
    /// It follows from the common record on.
    case follows
    /// Nothing was changed: only a full copy makes the disks the next owner's.
    case needsCopy(reason: String)
  }

  /// Of a group that is closed, and whose folder nobody else uses; afterwards it is opened as a
  /// follower. Whose group follows already is left alone. Blocks: reads the headers of all records
  /// after the common one.
  ///
  /// - Parameters:
  ///   - common: the last record that the next owner has, too.
  ///   - claim: by what that one owns the group; nil: not known.
  ///   - branch: in which what is here is parked; empty: it is not.
  ///   - told, isParting: see `JournalState.becomesFollower`.
  /// - Throws: when not all of the journal is applied; nothing was changed then. When the folder
  ///   cannot be read or written; it is to be tried again then.
  static func yield(
    folder: String, to common: JournalState.Mark, by claim: Claim? = nil,
    parked branch: String = "", toldThrough told: Timestamp = .zero, isParting: Bool = false,
    log: (String) -> Void = { _ in }
  ) throws(SiteError) -> Yielding {
    do {
      return try yieldOpened(folder, to: common, by: claim, branch, told, isParting, log)
    } catch let error as SiteError {
      throw error
    } catch let error as Errno {
      throw SiteError("folder \(folder): \(error.withAdvice)")
    } catch { throw SiteError("folder \(folder): \(error)") }
  }

  private static func yieldOpened(
    _ folder: String, to common: JournalState.Mark, by claim: Claim?, _ branch: String,
    _ told: Timestamp, _ isParting: Bool, _ log: (String) -> Void
  ) throws -> Yielding {
    let path = "\(folder)/\(JournalStateFile<File>.name)"
    let file = JournalStateFile(try File(opening: path, .readWrite))
    try file.settle()
    guard var (state, generation) = try readState(file, folder) else {
      throw SiteError("\(path) was never written")
    }
    let isKnown = claim.map { $0.term <= state.ownership.term } ?? true
    if state.ownership.duty == .following, isKnown, !isParting { return .follows }
    let storage = FolderStorage(existing: folder)
    let recovered = try JournalRecovery(storage, state: state)
    let last = JournalState.Mark(recovered.lastSequence, recovered.lastTimestamp)
    // Where the journal goes on as it is, nothing need be applied.
    let mustBeApplied = last.sequence > common.sequence
    guard state.applyTarget.sequence <= last.sequence,
      state.applied.sequence == last.sequence || !mustBeApplied
    else {
      throw SiteError(
        "group \(state.groupName): records up to \(last.sequence.rawValue) are to be applied "
          + "before it can follow, and \(state.applied.sequence.rawValue) is the last that is")
    }
    state.noteDisks(recovered.diskChanges)
    if !mustBeApplied { state.cutDisks(after: common.sequence) }
    if let reason = whatNoListTells(state, last, common) { return .needsCopy(reason: reason) }
    if mustBeApplied || isParting {
      try partBranches(in: folder, of: state, through: last.sequence, from: common, log: log)
    }
    if !mustBeApplied {
      // Where nothing is left that the next owner's segments go on with, they have numbers of their
      // own.
      let empty =
        recovered.segments.isEmpty ? try JournalRecovery(erasing: storage, state: state) : nil
      state.becomesFollower(after: common, toldThrough: told, isParting: isParting)
      if let empty { state.oldestSegment = empty.oldestSegment }
      state.follows(claim)
      try file.write(state, generation: generation + 1)
      return .follows
    }
    guard let list = try list(in: folder, of: state, recovered.segments, last, common) else {
      return .needsCopy(
        reason: "not all of its records after \(common.sequence.rawValue) are in its journal")
    }
    try LackingFile.write(list, in: folder)
    let empty = try JournalRecovery(erasing: storage, state: state)
    state.becomesFollower(
      after: common, lacking: list.number, parked: branch,
      toldThrough: max(told, last.timestamp), isParting: true)
    state.follows(claim)
    state.oldestSegment = empty.oldestSegment
    generation += 1
    try file.write(state, generation: generation)
    return .follows
  }

  /// Why the disks cannot be told from the next owner's by a list of what records changed; nil when
  /// they can.
  private static func whatNoListTells(
    _ state: JournalState, _ last: JournalState.Mark, _ common: JournalState.Mark
  ) -> String? {
    if state.baseline != .complete { return "its own copy is not complete" }
    if common.sequence > last.sequence {
      return "it has records up to \(last.sequence.rawValue) only"
    }
    if state.namesDisks(after: common.sequence) {
      return "disks have come or left after record \(common.sequence.rawValue)"
    }
    if let disk = state.presentDisks.first(where: { $0.whole == nil }) {
      return "not all of disk \(disk.name) has come into its history"
    }
    return nil
  }

  /// What the own records after the common one have changed; nil: some of them are not here. The
  /// list of an earlier attempt stands for those of which it is.
  private static func list(
    in folder: String, of state: JournalState, _ segments: [Segment<File>],
    _ last: JournalState.Mark, _ common: JournalState.Mark
  ) throws -> LackingList? {
    var known = try LackingFile.read(in: folder)
    if let found = known {
      let isOfThis =
        found.group == state.group && found.common == common
        && found.last == state.lineage.ownerMark(of: found.last.sequence)
        && found.last.sequence <= last.sequence
      if !isOfThis { known = nil }
    }
    let first = known?.last.sequence ?? common.sequence
    var exactAfter = known?.exactAfter ?? state.lineage.ownerMark(of: common.sequence)
    var collector = DiskExtentCollector()
    for extent in known?.extents.extents ?? [] { collector.add(extent) }
    if first < last.sequence {
      // What was recycled is durable at those who follow: an owner that took over before it has
      // parked it.
      let oldest = segments.first?.firstSequence ?? last.sequence.advanced(by: 1)
      let start = max(first, SequenceNumber(oldest.rawValue - 1))
      if start > first {
        guard known == nil else { return nil }
        exactAfter = state.lineage.ownerMark(of: start)
      }
      guard
        let changed = try RecordedChanges.extents(
          in: segments, after: start, through: last.sequence)
      else { return nil }
      for extent in changed.extents { collector.add(extent) }
    }
    var generator = SystemEntropy()
    return LackingList(
      number: .random(in: 1...UInt64.max, using: &generator), group: state.group, common: common,
      exactAfter: exactAfter, last: state.lineage.ownerMark(of: last.sequence),
      extents: collector.finish())
  }
}

extension JournalState {
  /// The owner is known by its claim, and this site stands in nobody's way any more.
  mutating func follows(_ claim: Claim?) {
    fences = []
    guard let claim else { return }
    ownership.hear(of: claim.term, isTaken: claim.isTaken)
  }
}
