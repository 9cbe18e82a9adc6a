import Analyzer
import BlockModel
import Configuration
import Journal
import Replication
import Storage
import SystemIO

/// Why a site cannot start, or cannot do what was asked: one sentence for the administrator.
public struct SiteError: Error, Sendable, CustomStringConvertible {
  public let description: String
  /// What is missing may come by itself.
  let isPassing: Bool
  /// For programs; nil where they are told no more than that it was refused.
  public let refusal: Refusal?

  init(_ description: String, _ refusal: Refusal? = nil, isPassing: Bool = false) {
    self.description = description
    self.refusal = refusal
    self.isPassing = isPassing
  }

  /// Why a group does not change hands, or is not tested. A raw value is a promise to programs: it
  /// is not changed.
  public enum Refusal: String, CaseIterable, Sendable {
    /// This site owns the group: a failover is ordered at one that follows.
    case isOwner = "is-owner"
    /// This site follows: a move is ordered at the owner.
    case isFollower = "is-follower"
    /// A failover is pending: it is to be committed or rolled back first.
    case failoverPending = "failover-pending"
    /// There is no failover to commit or roll back.
    case noFailover = "no-failover"
    /// The disks here are not whole yet.
    case copyIncomplete = "copy-incomplete"
    /// They are being brought in step, and what was here before is not parked any more.
    case nothingBefore = "nothing-before"
    /// The other site is not connected, or cannot recover anything yet.
    case notConnected = "not-connected"
    /// The other site lacks more than it gets in the time that there is.
    case notInStep = "not-in-step"
    /// The other site did not take the group over; it is where it was.
    case notTaken = "not-taken"
    /// The other site was asked to take over, and has not been met since: writes wait.
    case inDoubt = "in-doubt"
    /// What is parked would lose what it is built on.
    case buildsOnParked = "parked-needs-it"
    /// This site has no group of that name.
    case noSuchGroup = "no-such-group"
    /// The group is not open here; it is opened by itself once it can be.
    case groupClosed = "group-closed"
    /// Something else is under way: the same may succeed in a moment.
    case busy
    /// The group keeps no history: it is plain.
    case noHistory = "no-history"
    /// The instant cannot be opened, or is none.
    case noInstant = "no-instant"
    /// No site of that name follows, or several do and none is named.
    case noSuchFollower = "no-such-follower"
    case noSuchTest = "no-such-test"
    /// A test or something parked has that name.
    case nameTaken = "name-taken"
    /// It holds acknowledged writes, and is deleted only when that is said; or the way back needs
    /// it.
    case isParked = "is-parked"
    /// A value that no request may have.
    case badRequest = "bad-request"
  }
}

/// What a group is made of, opened and recovered, before its loop takes it.
struct GroupParts {
  var configuration: GroupConfiguration
  var duty: Duty
  var disks: DiskTable
  var sentDisks = SentDisks<DiskStore>(next: 0)
  /// Disks that are to come or to leave once the group serves.
  var changes: [DiskChanges.Wish] = []
  var journal: SiteJournal?
  var stateKeeper: StateKeeper?
  var followers = Followers()
  /// What a former owner lacks of the next one's disks.
  var lacking: LackingList?
  var observations: ObservationQueue
  var analyzer: GroupAnalyzer?
  /// Holds the folder's lock for as long as the group lives.
  var lock: File?
  /// Those that its folder has.
  var branches: [FoundBranch] = []
  /// Which one it serves itself.
  var branch: ServedBranch?
  /// Nil: those of its own configuration.
  var accessRules: AccessRules?
}

/// Opens a group's disks and recovers its journal. Blocks; on the group's own thread. Changes
/// nothing of a journal that is there.
enum GroupOpening {
  /// A journal that keeps records for longer than this checks their sums once more before it
  /// applies them. It costs a read of every byte, mostly of the page cache.
  private static let longHistoryNanoseconds: UInt64 = 60_000_000_000

  /// - Parameters:
  ///   - known: what this process has served before under this name: nothing else will do. A file
  ///     system that is not mounted looks like a new group.
  ///   - files: those that another process gave to this one.
  static func open(
    _ configuration: GroupConfiguration, dataDirectory: String, origin: ConfigurationOrigin?,
    known: GroupIdentifier? = nil, files: InheritedFiles = InheritedFiles(),
    _ indexMemory: IndexMemory, log: (String) -> Void
  ) throws(SiteError) -> GroupParts {
    let name = configuration.name
    try checkMode(configuration)
    let folder = "\(dataDirectory)/\(name)"
    if configuration.role == .plain {
      try leaveJournal(configuration, folder)
    } else {
      try requireNotLeft(name, folder)
    }
    if let known { try requireKnown(known, folder) }
    if configuration.role != .plain { try completeExchange(configuration, folder, files, log: log) }
    let state = configuration.role == .plain ? nil : try presentState(folder)
    let disks = try openDisks(configuration, origin, state, in: folder, files, log: log)
    var parts = GroupParts(
      configuration: configuration, duty: Duty(configuration.role), disks: disks,
      observations: ObservationQueue())
    if parts.duty == .plain { return parts }
    do {
      try openJournal(folder, into: &parts, files, indexMemory, log: log)
      if let journal = parts.journal, let state = parts.stateKeeper?.state {
        parts.branches = try openBranches(folder, journal, state, parts.disks) {
          log("group \(name): \($0)")
        }
      }
    } catch let error as SiteError {
      throw error
    } catch let error as Errno {
      throw SiteError("group \(name): folder \(folder): \(error.withAdvice)")
    } catch { throw SiteError("group \(name): folder \(folder): \(error)") }
    parts.analyzer = GroupAnalyzer(
      disks: disks.listed.map(\.analyzed), queue: parts.observations)
    return parts
  }

  /// What a crash has interrupted while the group changed hands. Of a group that another process
  /// has open there is nothing of it.
  private static func completeExchange(
    _ configuration: GroupConfiguration, _ folder: String, _ files: InheritedFiles,
    log: (String) -> Void
  ) throws(SiteError) {
    guard let fork = try presentState(folder)?.fork, fork.stage != .pending else { return }
    var exchange = try OwnershipExchange(configuration, in: folder, files)
    defer {
      for note in exchange.notes { log("group \(configuration.name): \(note)") }
      exchange.end()
    }
    try exchange.complete()
  }

  static func checkMode(_ configuration: GroupConfiguration) throws(SiteError) {
    if configuration.mode == .sync {
      throw SiteError(
        "group \(configuration.name): mode sync is not supported by this version; use async")
    }
  }

  static func requireKnown(
    _ group: GroupIdentifier, _ folder: String
  ) throws(SiteError) {
    let found = try presentState(folder)?.group
    if found == group { return }
    let what = found.map { "the journal of another group (\($0))" } ?? "no journal"
    throw SiteError(
      "folder \(folder) holds \(what) now, not that of group \(group), which was open "
        + "before: is its file system mounted?")
  }

  /// What the state file says; nil when there is none, or none was written.
  static func presentState(_ folder: String) throws(SiteError) -> JournalState? {
    let path = "\(folder)/\(JournalStateFile<File>.name)"
    guard Directory.exists(path) else { return nil }
    let file: File
    do throws(Errno) { file = try File(opening: path, .readOnly) } catch {
      throw SiteError("\(path): \(error)")
    }
    return try readState(JournalStateFile(file), folder)?.0
  }

  /// Why the configured size cannot be; nil when it can.
  static func shrinking(
    _ disk: DiskConfiguration, of group: GroupConfiguration, from byteCount: UInt64?
  ) -> String? {
    guard let byteCount, let wanted = disk.sizeBytes, wanted < byteCount else { return nil }
    let size = ByteCount.format(byteCount)
    return "group \(group.name), disk \(disk.name): it has \(size), and a disk cannot be made "
      + "smaller: its history may have writes behind the new end. Write 'size: \(size)', or copy "
      + "what is needed to a new disk"
  }

  /// A group's state file, and what it says; `generation` is 0 for a new group.
  private struct OpenedState {
    let file: JournalStateFile<File>
    var state: JournalState
    var generation: UInt64 = 0
    /// What the group did when it was open last.
    var former: Duty?
  }

  private static func openState(
    _ storage: FolderStorage, _ configuration: GroupConfiguration, _ disks: [JournalState.Disk]
  ) throws -> OpenedState {
    let name = JournalStateFile<File>.name
    guard Directory.exists("\(storage.path)/\(name)") else {
      try requireUnused(storage, "\(storage.path)/state is missing")
      return OpenedState(
        file: try .create(in: storage), state: newState(configuration, disks))
    }
    let file: JournalStateFile<File>
    do throws(Errno) {
      file = JournalStateFile(try storage.open(name))
      try file.settle()
    } catch {
      throw SiteError("\(storage.path)/\(name): \(error.withAdvice)")
    }
    guard let (state, generation) = try readState(file, storage.path) else {
      try requireUnused(storage, "\(storage.path)/state was never written")
      return OpenedState(file: file, state: newState(configuration, disks))
    }
    var opened = OpenedState(
      file: file, state: state, generation: generation, former: state.ownership.duty)
    opened.state.ownership.obey(Duty(configuration.role))
    // A receiving side's epochs are its peer's.
    if opened.state.ownership.duty == .owning, try file.lacksCopy(beside: generation) {
      opened.state.distrust()
    }
    return opened
  }

  static func openJournal(
    _ folder: String, into parts: inout GroupParts, _ files: InheritedFiles,
    _ indexMemory: IndexMemory,
    log: (String) -> Void
  ) throws {
    let configuration = parts.configuration
    let storage = try FolderStorage(path: folder)
    parts.lock = try lock(folder, files)
    let own = parts.disks.numbered.compactMap { $0?.noted }
    let opened = try openState(storage, configuration, own)
    var state = opened.state
    state.folder = folder
    parts.duty = state.ownership.duty
    try check(state, against: configuration, own, folder)
    try requireOwn(storage, state)
    try note(parts.disks, in: &state)
    parts.lacking = try lacking(folder, state, log: log)
    let recovered = try JournalRecovery(
      storage, state: state,
      shelf: IndexShelf(
        storage, segmentByteCount: Int(configuration.journal.segmentSizeBytes), indexMemory))
    // What markers say that are lost is not so, or comes again.
    state.cutDisks(after: recovered.lastSequence)
    state.noteDisks(recovered.diskChanges)
    parts.disks.follow(state.disks, in: configuration.disks.map(\.name))
    for note in recovered.notes { log("group \(configuration.name): \(note)") }
    state.opens(recovered, isNew: opened.generation == 0, former: opened.former)
    parts.followers = followers(configuration, state)
    DroppedFiles.load(
      parts.followers, state, in: folder, oldest: recovered.segments.first?.firstSequence, log: log)
    parts.journal = Journal(
      storage: storage,
      options: .init(
        segmentByteCount: Int(configuration.journal.segmentSizeBytes),
        capacityByteCount: Int(configuration.journal.capacityBytes),
        verifiesBeforeApply: configuration.historyNanoseconds >= longHistoryNanoseconds),
      state: state, recovered: recovered, continuesLastSegment: parts.duty == .following,
      followers: parts.followers)
    if parts.duty == .owning {
      // The link may end a full copy before the loop has closed its first instant, and without one
      // the copy would be good for any.
      try parts.journal?.closeInstants(
        through: max(state.historyStart, promised(in: state)))
    } else {
      // The peer's, and it must keep it.
      try parts.journal?.closeInstants(through: state.promise.through)
    }
    parts.changes = firstChanges(configuration, state, parts.disks)
    var after = state
    for disk in parts.disks.waiting {
      try note(comingDisk: disk.name, disk.backing, in: &after)
    }
    let present = state.presentDisks.compactMap { parts.disks[$0.number] }
    parts.sentDisks = SentDisks(
      present.map(\.sent), next: state.nextDisk)
    parts.stateKeeper = StateKeeper(opened.file, state: state, generation: opened.generation)
  }

  /// What the last process that served the group may have promised.
  private static func promised(in state: JournalState) -> Timestamp {
    #if MUTANTS
      if Mutant.forgetPromise.isOn { return .zero }
    #endif
    return state.promise.limit(
      at: SystemClock.monotonicNanoseconds(), boot: SystemInfo.bootIdentifier)
  }

  /// A new group begins only where no journal is: it would write over the segments.
  static func requireUnused(_ storage: FolderStorage, _ problem: String) throws {
    guard let first = try JournalRecovery.filesInUse(storage, notOf: nil).first else { return }
    throw SiteError(
      "\(problem), but segments of a journal (\(first.name) …) are beside it: put the state file "
        + "back, or get the disks out with `tapline journal export --salvage \(storage.path)` and "
        + "move the folder away for a new group")
  }

  /// Segments of another group would count as free and be written over. Only a full copy that
  /// was interrupted at its beginning leaves some, which are void.
  private static func requireOwn(_ storage: FolderStorage, _ state: JournalState) throws {
    if state.needsBaseline { return }
    let foreign = try JournalRecovery.filesInUse(storage, notOf: state.group)
    guard let first = foreign.first, let header = first.header else { return }
    throw SiteError(
      "folder \(storage.path) holds \(foreign.count) segment files of another group, the first "
        + "\(first.name) of group \(header.identity.group), not \(state.group): move them, or the "
        + "state file that does not belong to them, out of the folder; `tapline journal ls "
        + "\(storage.path)` lists them")
  }

  static func lockPath(_ folder: String) -> String { "\(folder)/lock" }

  static func lock(_ folder: String, _ files: InheritedFiles) throws -> File {
    let path = lockPath(folder)
    if let file = files.file(at: path) { return file }
    let file =
      Directory.exists(path)
      ? try File(opening: path, .readWrite) : try File(creating: path)
    guard try file.tryLock() else {
      throw SiteError(
        "folder \(folder) is in use by another tapline process: end that one, or give this site a "
          + "data folder of its own")
    }
    return file
  }

  private static func newState(
    _ configuration: GroupConfiguration, _ disks: [JournalState.Disk]
  ) -> JournalState {
    var generator = SystemEntropy()
    let isProtected = configuration.role == .protected
    var state = JournalState(
      groupName: configuration.name,
      group: isProtected
        ? .random(using: &generator) : GroupIdentifier(high: 0, low: 0),
      disks: disks, baseline: isProtected ? .complete : .missing)
    state.historyStart = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
    return state
  }

  static func readState(
    _ file: JournalStateFile<File>, _ folder: String
  ) throws(SiteError) -> (JournalState, UInt64)? {
    let reading: JournalStateFile<File>.Reading
    do throws(Errno) { reading = try file.read() } catch {
      throw SiteError("\(folder)/state: \(error)")
    }
    switch reading {
    case .state(let state, let generation): return (state, generation)
    case .blank: return nil
    case .damaged:
      throw SiteError(
        "\(folder)/state is damaged; the journal beside it may be whole: "
          + "`tapline journal verify \(folder)` tells, and `tapline journal export --salvage` gets "
          + "the disks out")
    case .otherVersion(let version):
      throw SiteError(
        "\(folder)/state "
          + FormatVersion.advice(version, own: JournalStateFile<File>.version))
    }
  }

  /// What a follower lacks. If nobody can tell that any more, everything, behind what it has.
  private static func lacking(
    _ folder: String, _ state: JournalState, log: (String) -> Void
  ) throws -> LackingList? {
    guard state.baseline == .reconciling else { return nil }
    let found = try LackingFile.read(in: folder)
    if let found, found.number == state.lack.list, found.group == state.group { return found }
    log(
      "group \(state.groupName): \(LackingFile.path(folder)), which says what its disks lack, is "
        + "missing or damaged: everything is compared")
    var list = LackingList(
      number: state.lack.list, group: state.group, behind: state.applied, of: state.lineage,
      extents: DiskExtents(whole: state.presentDisks))
    // Without a record nothing depends on numbers, which may be those of a former owner.
    list.hasOwnersDisks = state.applied.sequence > .none
    return list
  }

  private static func check(
    _ state: JournalState, against configuration: GroupConfiguration,
    _ disks: [JournalState.Disk], _ folder: String
  ) throws(SiteError) {
    let name = configuration.name
    guard state.groupName == name else {
      throw SiteError("folder \(folder) belongs to group \(state.groupName), not to \(name)")
    }
    // A disk may have grown: what is behind its old end was never written.
    for old in state.disks {
      guard let new = disks[old.number], old.byteCount > new.byteCount else { continue }
      throw SiteError(
        "group \(name): the journal in \(folder) is of disk \(old.name) with \(old.byteCount) "
          + "bytes, and its store has \(new.byteCount): put the old one back, or use a new group; "
          + "`tapline journal export` gets out what the journal holds of it")
    }
    if state.ownership.duty == .owning, state.baseline != .complete {
      throw SiteError(
        "group \(name): this site's copy is not complete and cannot be the protected side")
    }
  }
}

extension GroupOpening {
  /// Those that a protected group sends to.
  static func receivers(
    _ group: GroupConfiguration, _ duty: Duty
  ) -> [PeerConfiguration] {
    duty == .owning ? group.peers.filter { $0.address != nil } : []
  }

  private static func followers(
    _ group: GroupConfiguration, _ state: JournalState
  ) -> Followers {
    Followers(
      receivers(group, state.ownership.duty).map {
        (site: $0.site, whenFull: Follower.WhenFull($0.onFull ?? group.journal.onFull))
      }, known: state.followers)
  }
}

extension Follower.WhenFull {
  init(_ policy: OnFull) {
    switch policy {
    case .block: self = .block
    case .throttle: self = .throttle
    case .degrade: self = .degrade
    }
  }
}

extension Group {
  /// Writes down that the group is in use, and what its opening decided, before it serves. Durable
  /// when it returns. Blocks; before the loop starts.
  func noteUse() throws(SiteError) {
    do throws(Errno) { try stateKeeper?.update(firstPromise) } catch {
      throw SiteError("group \(configuration.name): writing its state file: \(error.withAdvice)")
    }
  }
}
