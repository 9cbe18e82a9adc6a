import BlockModel
import Journal
import SystemIO

/// The files of one group at one site: takes what is written to them to the oracle, and checks the
/// base disks whenever the site says how far they are.
final class GroupFiles {
  let folder: String
  private let group: Int
  private let oracle: GroupOracle
  private let site: Int
  private unowned let world: World
  private var segments: SegmentWatcher!
  private let states = StateWatcher()

  init(_ group: Int, at site: Int, _ world: World) {
    let oracle = world.groups[group]
    self.group = group
    self.oracle = oracle
    self.site = site
    self.world = world
    folder = "\(Plan.dataPath)/\(oracle.name)/"
    segments = SegmentWatcher { [unowned self] in handle($0) }
  }

  var role: Role { world.role(of: group, at: site) }
  var name: String { oracle.name }
  var state: JournalState? { states.state }

  func wrote(
    _ name: String, _ offset: Int, _ bytes: [UInt8], at machine: Machine, isStarting: Bool
  ) {
    // An open file goes by the name that it was created with.
    let name = name.hasSuffix(".new") ? String(name.dropLast(4)) : name
    if Self.isSegment(name) {
      segments.wrote(name, offset, bytes)
    } else if name == JournalStateFile<File>.name {
      let old = states.state
      guard let new = states.wrote(offset, bytes) else { return }
      world.trace.note(
        "\(role) \(oracle.name): state: durable \(new.durable.rawValue), applied "
          + "\(new.applied.sequence.rawValue) of \(new.applyTarget.sequence.rawValue), peer "
          + "\(new.followers.mark?.rawValue ?? 0), base \(new.baseline) from \(new.historyStart), "
          + "promised through \(new.promise.through)")
      // Recovery has read the segments, and may have found less than memory held.
      if isStarting { reloadSegments(from: machine) }
      if let recovery = oracle.recovery(role) {
        if old?.fork?.stage == .jumping, new.lack.list != old?.lack.list {
          world.statistics.jumps += 1
          oracle.jumped(role, behind: new.applied.sequence.rawValue)
        } else if !isStarting, !isNote(new, after: old) {
          follow(recovery, new)
        }
        recovery.state = new
      }
      if role == .protected, !isStarting, new.followers.mark ?? .none > new.durable {
        world.ambushes.fellBehind(world.site(of: group, role))
      }
      if old?.applied != new.applied { checkBases(new, machine) }
    }
  }

  private static func isSegment(_ name: String) -> Bool {
    JournalRecovery<FolderStorage>.slot(named: name) != nil
  }

  /// After a power cut.
  func reload(from machine: Machine) {
    oracle.mayLose(role)
    reloadSegments(from: machine)
    reloadState(from: machine)
  }

  /// What a start reads of the state: not what a failed sync has left in memory.
  func reloadState(from machine: Machine) {
    states.replace(with: machine.settledContents(of: folder + JournalStateFile<File>.name))
    guard let recovery = oracle.recovery(role) else { return }
    if states.state?.baseline == .complete { recovery.notErased() }
    recovery.state = states.state
  }

  /// The group is about to be opened, mostly because the site's process is about to start.
  func restarting(clock: Timestamp, on machine: Machine, isProcessStart: Bool = false) {
    if isProcessStart, role == .protected { oracle.protected.processStarts() }
    reloadState(from: machine)
    oracle.restarting(role)
    if let recovery = oracle.recovery(role) {
      recovery.restarting(isCopying: states.state?.baseline == .copying)
    } else {
      oracle.protected.restarting(clock: clock)
      // For those nothing is kept, as far as the state file was told.
      for (number, recovery) in oracle.recoveries.enumerated() {
        let name = world.site(of: group, .recovery(number)).name
        let mark = states.state?.followers.first { $0.site == name }
        if mark?.isKept == false { recovery.isDetached = true }
      }
    }
  }

  /// The site has started and says where the order ends.
  func restarted(appended: UInt64) {
    if let recovery = oracle.recovery(role) {
      let applied = states.state?.applied.sequence.rawValue ?? 0
      recovery.restarted(appended: appended, applied: applied, segments)
    } else {
      oracle.protected.restarted(appended: appended)
    }
  }

  /// What was not written to the disk may be gone after the next start.
  func syncFailed() { oracle.mayLose(role) }

  /// These bytes of a file have changed on the disk by themselves.
  func damaged(_ name: String, _ range: Range<Int>) {
    oracle.damaged(role)
    guard let (identity, indices) = segments.records(in: range, of: name) else { return }
    for (index, bytes) in indices { oracle.damaged(role, identity, index, bytes) }
  }

  private func reloadSegments(from machine: Machine) {
    segments.forget { machine.contents(of: folder + $0) == nil }
    for path in machine.fileNames() where path.hasPrefix(folder) {
      let name = String(path.dropFirst(folder.count))
      if Self.isSegment(name) { segments.reload(name, machine.contents(of: path) ?? []) }
    }
  }

  private func handle(_ event: SegmentWatcher.Event) {
    switch event {
    case .opened(let header, let replaced):
      oracle.opened(role, header)
      if let replaced { checkVoid(replaced, under: header) }
      if role == .protected, let replaced { oracle.recycled(replaced) }
      world.trace.note(
        "\(role) \(oracle.name): segment \(header.number) of epoch \(header.epoch), from record "
          + "\(header.firstSequence.rawValue) on")
    case .rewound(let last): oracle.rewound(role, to: last)
    case .astray(let what): oracle.violation("\(role): \(what)")
    case .record(let found):
      let record = oracle.found(role, found)
      world.trace.note("\(role) \(oracle.name): \(record)")
    }
  }

  /// A power cut may lose the new header and keep records that follow it: the old header must then
  /// be known to be void. Of another epoch are also those that a start has dropped, which have no
  /// sidecar.
  private func checkVoid(_ replaced: SegmentIdentity, under header: SegmentHeader) {
    guard role == .protected, let state = states.state, replaced.epoch == header.epoch,
      replaced.group == header.identity.group, replaced.number >= state.oldestSegment
    else { return }
    oracle.violation(
      "protected: segment \(header.number) is written over segment \(replaced.number), which the "
        + "state file does not call void: \(state.oldestSegment) is the oldest")
  }

  /// Says nothing but that more segments are void, or what the peer has said or copied. The
  /// beginning of a full copy after a broken one may be the very same state, and never says what
  /// the peer has.
  private func isNote(_ new: JournalState, after old: JournalState?) -> Bool {
    guard var same = old, new != old else { return false }
    same.oldestSegment = max(same.oldestSegment, new.oldestSegment)
    // Pieces of the copy that is under way are on the disks.
    if same.copy.number == new.copy.number { same.copy.stored = new.copy.stored }
    if new.ownerDurable != .unknown {
      same.ownerDurable = new.ownerDurable
      same.lineage = new.lineage
    }
    return same == new
  }

  private func follow(_ recovery: RecoveryOracle, _ new: JournalState) {
    // Nothing is kept, and nothing has come yet.
    let begins =
      new.baseline == .copying && new.applied == new.applyTarget && new.applied.timestamp == .zero
      && new.durable == new.applied.sequence
    if begins {
      world.trace.note("\(role) \(oracle.name): a full copy begins after \(new.applied.sequence)")
      world.statistics.fullCopies += 1
      oracle.erased(role, start: new.applied.sequence.rawValue)
    } else {
      recovery.isDurable(through: new.durable.rawValue)
    }
  }

  /// The disks are what the order makes of them, whenever the state file says that they are.
  func checkBases(_ state: JournalState, _ machine: Machine) {
    // Until a full copy ends, and a little longer, the disks may hold parts of what is to come. So
    // they may after a step that failed.
    guard state.baseline == .complete, state.applied.sequence >= state.applyTarget.sequence,
      role == .protected && !oracle.hasExchanged || state.applied.timestamp >= state.historyStart
    else { return }
    world.statistics.appliesChecked += 1
    compareBases(with: Int(state.applied.sequence.rawValue), at: machine)
  }

  /// The raw files hold the first `count` records and nothing else.
  func compareBases(with count: Int, at machine: Machine) {
    let line = oracle.line(role)
    guard count <= line.count else {
      oracle.violation("\(role): record \(count) is applied, of \(line.count) that there are")
    }
    let images = line.disks(after: count)
    // Of one that comes, a follower has only what has come as records.
    let numbers =
      role == .protected
      ? line.present(after: count, of: oracle.disks) : line.shown(after: count, of: oracle.disks)
    for number in numbers {
      let image = images[number]
      let path = Plan.diskPath(oracle.disks[number].name)
      if machine.file(path, holds: image.pages, byteCount: image.byteCount) { continue }
      let difference = oracle.baseDifference(
        of: machine.contents(of: path) ?? [], from: image.bytes, disk: number, role)
      if let difference {
        oracle.violation("\(role): \(path) with \(count) records applied: \(difference)")
      }
    }
  }
}
