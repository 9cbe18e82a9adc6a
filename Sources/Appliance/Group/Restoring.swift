import Journal
import SystemIO

/// The way of parked records back into their group: see `ParkedTail`.
struct Restoring {
  enum Step {
    /// Segments that the group has begun meanwhile.
    case clear
    case begin
    /// A segment file, and its name in the group's folder.
    case move(String, String)
    case settle
    case discard
  }

  private let last: JournalState.Mark
  private let folder: ParkingFolder
  /// Of the branch; nil when the group has its records already.
  private let parked: JournalState?
  /// Those that are left, in their order.
  let steps: [Step]

  /// As `ParkedTail.restore`. Changes nothing yet.
  init(
    after last: JournalState.Mark, of state: JournalState, in path: String, from name: String,
    log: @escaping (String) -> Void
  ) throws(SiteError) {
    let folder = ParkingFolder(of: state, in: path, branch: name, log: log)
    self.last = last
    self.folder = folder
    let isBegun = folder.has(ParkingFolder.restoring)
    guard isBegun || folder.has(BranchRecord.fileName) else {
      if folder.has(ParkingFolder.parking) { throw folder.failure("parking has not ended") }
      // All records were in the group's folder, durably, before the last of these went.
      parked = nil
      steps = [.discard]
      return
    }
    guard let parked = try GroupOpening.presentState(folder.branch.path) else {
      throw folder.failure("it has no state file, so nothing tells whose its records are")
    }
    guard parked.applied == last, parked.group == state.group else {
      throw folder.failure(
        "its records follow \(parked.applied.sequence.rawValue), not \(last.sequence.rawValue)")
    }
    self.parked = parked
    let parts = try folder.segments(in: folder.branch)
    let targets = try Self.targets(of: parts, in: folder)
    steps =
      [.clear] + (isBegun ? [] : [.begin])
      + zip(parts, targets).map { .move($0.file, $1) } + [.settle, .discard]
  }

  /// The names of the branch's segments in the group's folder. The copy of the one that was divided
  /// takes the place of what was left of it, if that is still there.
  private static func targets(
    of parts: [ParkingFolder.Part], in folder: ParkingFolder
  ) throws(SiteError) -> [String] {
    let present = try folder.segments(in: folder.own)
    var taken: Set<String> = []
    try folder.files("listing \(folder.own.path)") { () throws(Errno) in
      taken = Set(try folder.own.names())
    }
    // Behind all names of both: one that is made up must not be that of another part.
    let slots = (taken + parts.map(\.file)).compactMap(
      JournalRecovery<FolderStorage>.slot(named:))
    var next = (slots.max() ?? -1) + 1
    return parts.map { part in
      if let left = present.first(where: { $0.header == part.header }) { return left.file }
      if taken.insert(part.file).inserted { return part.file }
      defer { next += 1 }
      return JournalRecovery<FolderStorage>.slotName(next)
    }
  }

  /// Durable when it returns. Blocks.
  func perform(_ step: Step) throws(SiteError) {
    switch step {
    case .clear: try clear()
    case .begin: try folder.rename(BranchRecord.fileName, to: ParkingFolder.restoring)
    case .move(let name, let target):
      try folder.move(name, of: folder.branch, to: target, of: folder.own)
    case .settle: try folder.settle()
    case .discard: try folder.discard()
    }
  }

  /// A segment that the group has begun meanwhile, and not used, would be taken for the successor
  /// of the last record.
  private func clear() throws(SiteError) {
    for part in try folder.segments(in: folder.own)
    where part.header.firstSequence > last.sequence {
      // One of the branch, which came before a crash.
      if parked?.lineage.contains(part.header.incarnation.identifier) == true { continue }
      let isVoid = try folder.journal { () throws(JournalError) in
        try JournalTail.void(unused: part, in: folder.own)
      }
      if isVoid { continue }
      throw folder.failure(
        "\(part.file) of the group holds records after \(last.sequence.rawValue) that are not "
          + "parked; nothing is taken back")
    }
  }
}
