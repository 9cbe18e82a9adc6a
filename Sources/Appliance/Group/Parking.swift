import BlockModel
import Journal
import SystemIO
import Volume

/// The way of a group's last records into a branch: see `ParkedTail`.
struct Parking {
  enum Step {
    case begin
    /// The segment in which the last record to keep lies.
    case copy
    case describe
    /// A segment file.
    case move(String)
    case settle
    /// What was copied.
    case void
    /// A test that is built on what moves.
    case end(BranchRecord)
    case finish
  }

  private let last: JournalState.Mark
  private let state: JournalState
  private let record: BranchRecord
  private let folder: ParkingFolder
  private let tail: JournalTail<FolderStorage>
  /// Those that are left, in their order.
  let steps: [Step]

  /// As `ParkedTail.park`. Changes nothing yet.
  init(
    after last: JournalState.Mark, of state: JournalState, in path: String,
    as record: BranchRecord, log: @escaping (String) -> Void
  ) throws(SiteError) {
    let folder = ParkingFolder(of: state, in: path, branch: record.name, log: log)
    let isOnDisks =
      record.isApart
      ? state.applied.sequence == last.sequence : state.applyTarget.sequence <= last.sequence
    guard isOnDisks, state.baseline == .complete else {
      throw folder.failure(
        "what follows record \(last.sequence.rawValue) cannot be parked: the disks do not hold "
          + "what is to be its base")
    }
    self.last = last
    self.state = state
    self.folder = folder
    let found = try GroupOpening.findRecords(path, log: log)
    let begun = try Self.begun(record, in: folder)
    self.record = begun ?? record
    tail = try folder.journal { () throws(JournalError) in
      try JournalTail(after: last.sequence, of: state, in: folder.own)
    }
    if folder.has(BranchRecord.fileName) {
      // Its content was whole before it had this file.
      guard found.contains(where: { $0.isParking(as: record) }) else {
        throw folder.failure("there is a branch of that name already")
      }
      steps = []
      return
    }
    if let reason = Self.refusal(after: last.timestamp, beside: found) {
      throw folder.failure(reason)
    }
    if begun == nil, tail.last < state.durable {
      throw folder.failure(
        "records up to \(state.durable.rawValue) were durable, but the journal ends at "
          + "\(tail.last.rawValue); `tapline journal verify \(path)` names the damage")
    }
    let tests = found.filter { $0.isBuiltOn(after: record.instant) }
    // The newest first: what is left is without a hole.
    steps =
      (begun == nil ? [.begin] : []) + [.copy, .describe]
      + tail.whole.reversed().map { .move($0.file) } + [.settle, .void]
      + tests.map { .end($0) } + [.finish]
  }

  /// What a parking that a crash has ended had begun with.
  private static func begun(
    _ record: BranchRecord, in folder: ParkingFolder
  ) throws(SiteError) -> BranchRecord? {
    if folder.has(ParkingFolder.restoring) { throw folder.failure("it is being taken back") }
    guard folder.has(ParkingFolder.parking) else { return nil }
    let begun = try BranchRecord.read(
      ParkingFolder.parking, from: folder.branch.path, log: folder.log)
    guard let begun, begun.isParking(as: record) else {
      throw folder.failure("another parking has not come to its end there")
    }
    return begun
  }

  /// Why the records after that time cannot be parked; nil when they can.
  static func refusal(after time: Timestamp, beside branches: [BranchRecord]) -> String? {
    let lost = branches.filter { $0.kind == .parked && $0.isBuiltOn(after: time) }.map(\.name)
    if lost.isEmpty { return nil }
    return "what is parked as \(lost.joined(separator: ", ")) begins after \(time), and is "
      + "built on records that would leave the group: choose a later instant, or delete it "
      + "(`tapline test stop \(lost[0]) --parked`)"
  }

  /// Durable when it returns. Blocks.
  func perform(_ step: Step) throws(SiteError) {
    switch step {
    case .begin, .copy, .describe:
      do throws(SiteError) { try prepare(step) } catch {
        undo()
        throw error
      }
    case .move(let name):
      try folder.move(name, of: folder.own, to: name, of: folder.branch)
    case .settle: try folder.settle()
    case .void:
      #if MUTANTS
        if Mutant.keepParkedCopy.isOn { return }
      #endif
      try folder.journal { () throws(JournalError) in try tail.voidDivided(in: folder.own) }
    case .end(let test): try end(test)
    case .finish: try folder.rename(ParkingFolder.parking, to: BranchRecord.fileName)
    }
  }

  /// What needs space.
  private func prepare(_ step: Step) throws(SiteError) {
    switch step {
    case .begin: try begin()
    case .copy:
      try folder.journal { () throws(JournalError) in
        try tail.copyDivided(from: folder.own, to: folder.branch)
      }
    case .describe: try describe()
    case .move, .settle, .void, .end, .finish: preconditionFailure("needs no space")
    }
  }

  /// The folder is the branch's own from here on. What an earlier one of that name has left goes.
  private func begin() throws(SiteError) {
    try folder.files("making it") { () throws(Errno) in
      let storage = try FolderStorage(path: folder.branch.path)
      for name in try storage.names() { try storage.remove(name) }
      try DurableFile.replace(folder.path(ParkingFolder.parking), with: record.encoded())
    }
  }

  private func describe() throws(SiteError) {
    if try GroupOpening.presentState(folder.branch.path) == nil {
      var parked = state.parked(
        after: last, as: BranchOpening.groupName(record.name, of: state.groupName),
        from: record.instant, firstNumber: tail.firstNumber ?? state.oldestSegment,
        promised: promised)
      for place in parked.disks.indices { parked.disks[place].name += "@\(record.name)" }
      let described = parked
      try folder.files("writing its state") { () throws(Errno) in
        try JournalStateFile.create(in: folder.branch).write(described, generation: 1)
      }
    }
    try folder.files("making room for what is saved") { () throws(Errno) in
      // Nothing is saved before this is a branch, and what a crash has left may not be whole.
      if folder.has(Branch.savedName) { try folder.branch.remove(Branch.savedName) }
      try SiteOverlay.createLasting(
        Branch.savedName, in: folder.branch, identity: record.identityBytes)
    }
  }

  /// What can have been told to anybody.
  private var promised: Timestamp {
    state.promise.limit(
      at: SystemClock.monotonicNanoseconds(), boot: SystemInfo.bootIdentifier)
  }

  /// Before the first segment has moved, nothing of the group has changed.
  private func undo() {
    do throws(SiteError) {
      guard Directory.exists(folder.branch.path) else { return }
      let hasMoved = try folder.segments(in: folder.branch).contains {
        $0.header.firstSequence > last.sequence
      }
      if !hasMoved { try folder.discard() }
    } catch { folder.log("\(error)") }
  }

  /// It is built on records that leave the group.
  private func end(_ test: BranchRecord) throws(SiteError) {
    let reason = "what it is built on is parked, as \(record.name)"
    folder.log("branch \(test.name) has ended: \(reason)")
    try folder.files("ending test \(test.name)") { () throws(Errno) in
      try test.end(reason, inGroupOf: folder.own.path)
    }
  }
}

extension BranchRecord {
  /// The same parking, though perhaps with another identity: whoever calls again has drawn one.
  fileprivate func isParking(as other: BranchRecord) -> Bool {
    kind == .parked && other.kind == .parked && name == other.name && group == other.group
      && instant == other.instant
  }
}
