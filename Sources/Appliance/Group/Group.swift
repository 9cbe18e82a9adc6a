import Analyzer
import BlockModel
import Configuration
import Journal
import NBDProtocol
import Replication
import Storage
import Synchronization
import SystemIO
import Tap
import Volume

typealias SiteJournal = Journal<FolderStorage>
typealias SiteSegmentFile = File
typealias SiteView = View<SiteSegmentFile, DiskStore>
typealias SiteReader = VolumeReader<SiteSegmentFile, DiskStore>

/// A consistency group at this site: its disks, its journal and the connections to them.
///
/// Concurrency model: confined to its loop. The order in which this loop stages requests is the
/// order of the group's history; all connections meet here, so they are coherent. What blocks runs
/// on `lanes`: of these, the keeper (apply, the state file, the index) has one thread, so its
/// jobs follow each other. It is one opening of the group: what comes after a failure is another
/// (`GroupHost`).
///
/// The parts: this file (turns and connections), GroupLifecycle (what may begin, and what waits
/// for what) and GroupCourses (its steps), GroupDurability (syncs and who waits for them),
/// GroupApply (journal to base), GroupRecycling (segments that come free), GroupRoom (room ahead
/// of need, and in need), GroupIndexing (the index's upkeep), GroupViews (instants),
/// GroupDetachedViews (instants that the journal has no room for), GroupReceiving (records from
/// the peer), GroupReset (a journal that starts over), GroupCopying (full copies), GroupDisks
/// (which disks it has), GroupDiskChanges and GroupDiskContents (disks that come to an owner and
/// leave it), GroupDiskMarkers (the same at a follower), GroupRestamping (what a former owner
/// lacks), GroupReconciling (the same at that one), GroupDigesting (what that one has there),
/// GroupGrowing (sizes that differ or change), GroupPromises (what keeps instants as they are),
/// GroupHandover (to another process), GroupConditions (what people should know),
/// GroupStatusReport. What they decide by themselves is in values: GroupLifecycle, ApplySchedule,
/// JournalRoom and RoomSearch, PromiseLedger, ReceivingState, OpenViews, ConditionLedger.
final class Group: TurnParticipant, @unchecked Sendable {
  let configuration: GroupConfiguration
  /// Of this opening.
  let duty: Duty
  /// Of the site that this group is at.
  var siteName = ""
  /// What others could read of it on a network, in words; nil: nothing.
  var exposure: String?
  let diskTable: Mutex<DiskTable>
  /// Of those, what the links send.
  let sentDisks: SentDisks<DiskStore>
  let loop: EventLoop
  let lanes: GroupLanes
  /// Keeps others out of the journal's folder.
  let lock: File?
  let log: @Sendable (String) -> Void

  /// Nil for a group of role `plain`: its writes go to the base at once.
  let journal: SiteJournal?
  let tap: Tap<FolderStorage>?
  let stateKeeper: StateKeeper?
  /// Who receives its records; nobody at a recovery or plain group.
  let followers: Followers
  let analyzer: GroupAnalyzer?
  let payloadLimit: Int
  /// Bytes of a TRIM or WRITE_ZEROES that become one record; a plain group zeros them at once.
  let zeroLimit: Int

  private(set) var connections = Roster<GroupClient>()
  private var touched: [GroupClient] = []
  private var roomWaiters: [GroupClient] = []
  /// Counts the writes of a plain group, in place of a journal's sequence. The first stands for
  /// those of processes before: they were answered, and may be in memory only.
  private var plainSequence = SequenceNumber.none.advanced(by: 1)

  var plain = PlainFailures()

  var durability = DurabilityWaits()
  private(set) lazy var journalSync = makeJournalSync()
  private(set) lazy var plainSync = makePlainSync()
  var apply: ApplySchedule
  var room = JournalRoom()
  var recycling = Recycling()
  var indexUpkeep = IndexUpkeep()
  var handover = GroupHandover()
  var views = OpenViews()
  var branches = GroupBranches()
  /// What it is the group of, if it serves a branch: nothing is ever applied.
  let branch: ServedBranch?
  var diskChanges = DiskChanges()
  var contents = DiskContents()
  var restamping = Restamping()
  /// What is lacking here, as this site owned the group before; see `GroupReconciling`.
  var lacking: LackingList?
  /// Nil where nothing is dropped for anybody.
  let dropped: DroppedFiles?
  var digesting = Digesting()
  /// What of it is left, as far as the owner has told, and all of it.
  var lackingByteCounts: (left: UInt64, total: UInt64) = (0, 0)
  /// What the configuration and the state file do not agree on.
  private let firstChanges: [DiskChanges.Wish]
  /// What apply may save for views.
  let viewScratch: ScratchBudget
  var receiving: ReceivingState
  /// Grows, on the keeper, when what was written to a disk before may be lost: a later sync says
  /// nothing about it.
  let storeFailures = Atomic<Int>(0)
  /// Who may open the disks.
  let accessRules: AccessRules
  var latency = LatencyRecorder()
  var conditions = ConditionLedger()
  let published = Publication<GroupSnapshot>()
  /// What sends to the followers, in their order.
  let links: [LinkMonitor]
  var checkpoints = CheckpointSchedule()
  var fork = PendingFork()
  var move = GroupMove()
  /// Whose ownership is in force instead of this one's: no write is acknowledged.
  var fences: [Fence] = []
  /// Called, on the loop, when this site is to give the group up for good.
  var onGivingWay: (@Sendable (Rival) -> Void)?
  /// The owner, a site of this name, has dropped what comes next here: to be called on the loop.
  var onJump: (@Sendable (JumpPoint, String) -> Void)?
  /// Called, on the loop, when this site is to take the group over from its owner, who asks for it.
  var onTakingOver: (@Sendable (_ owner: String) -> Void)?
  var promises: PromiseLedger
  var clock: GroupClock
  /// The group's time in this turn.
  private var turnNow = Timestamp.zero
  /// By follower.
  var unsent: [UnsentAges]
  /// Set while the group drains.
  var onDrained: (@Sendable () -> Void)?

  /// What it is doing; see there who changes it.
  var lifecycle = GroupLifecycle()
  /// Called once when it has failed, on the loop. Set before anything is posted there.
  var onFailure: (@Sendable (_ reason: String) -> Void)?
  /// What clients were told and this opening lacks. Set before the group begins.
  var loss: AcknowledgedLoss?
  /// That an opening before this one had to fail. Set before the group begins.
  var setback: Setback?
  /// Why this site cannot follow the owner, or the opening before this one could not.
  var obstacleToFollowing: String?
  /// Whom openings before this one have followed. Set before the group begins.
  var formerOwner = FormerOwner()
  private var turnStartNanoseconds: UInt64 = 0
  private var turnWrites = 0

  init(
    _ parts: GroupParts, links: [LinkMonitor] = [], loop: EventLoop, lanes: GroupLanes,
    log: @escaping @Sendable (String) -> Void
  ) {
    configuration = parts.configuration
    duty = parts.duty
    accessRules = parts.accessRules ?? AccessRules(parts.configuration.disks)
    branch = parts.branch
    diskTable = Mutex(parts.disks)
    sentDisks = parts.sentDisks
    firstChanges = parts.changes
    journal = parts.journal
    stateKeeper = parts.stateKeeper
    followers = parts.followers
    lacking = parts.lacking
    dropped = DroppedFiles(parts, log: log)
    receiving = ReceivingState(ownerDurable: parts.stateKeeper?.state.ownerDurable ?? .unknown)
    analyzer = parts.analyzer
    tap = parts.journal.map {
      Tap(journal: $0, followers: parts.followers.signal, observations: parts.observations)
    }
    apply = ApplySchedule(
      .init(
        periodNanoseconds: parts.configuration.applyEveryNanoseconds,
        windowNanoseconds: parts.configuration.historyNanoseconds,
        capacityByteCount: parts.journal?.capacityByteCount ?? 0))
    payloadLimit = parts.journal?.payloadLimit ?? RecordHeader.payloadLimit
    viewScratch = ScratchBudget(byteLimit: parts.configuration.journal.viewScratchLimit)
    zeroLimit = parts.journal == nil ? 64 << 20 : 1 << 30
    let areInOrder = zip(links, parts.followers.all).allSatisfy { $0.follower === $1 }
    precondition(areInOrder, "a link follows its follower's place")
    self.links = links
    self.loop = loop
    self.lanes = lanes
    lock = parts.lock
    self.log = log
    // Not the loop's, which may run already.
    let monotonic = SystemClock.monotonicNanoseconds()
    clock = GroupClock(
      wall: Timestamp(nanoseconds: SystemClock.realtimeNanoseconds()), monotonic: monotonic)
    fences = parts.stateKeeper?.state.fences ?? []
    unsent = parts.followers.all.map { _ in UnsentAges(now: monotonic) }
    promises = PromiseLedger(
      known: parts.stateKeeper?.state.promise.through ?? .zero, boot: SystemInfo.bootIdentifier)
    super.init()
    adopt(parts.branches)
  }

  var keeper: WorkerPool { lanes.keeper }
  /// Why the group serves nothing any more; nil while it does.
  var failure: String? { lifecycle.failure }
  var isStopping: Bool { lifecycle.isStopping }
  /// It serves a branch to which nothing comes any more, neither from clients nor from a peer.
  var isParked: Bool { branch != nil && duty == .following }

  // MARK: Connections

  var connectionCounts: [DiskNumber: Int] {
    connections.members.reduce(into: [:]) { $0[$1.disk, default: 0] += 1 }
  }

  /// What the client may do with the disk, and with its views. Any thread.
  func access(to disk: GroupDisk, for client: ClientIdentity) -> DiskAccess {
    let rules = accessRules.present
    // A branch's disk has those of the disk that it is made of.
    let owner = branch?.group ?? self
    let name = String(disk.name.prefix { $0 != "@" })
    let noted = owner.stateKeeper?.state.disks[disk.number]
    let hasLeft = branch == nil ? noted?.removed != nil : noted == nil || noted?.removed != nil
    let isOther = owner.diskTable.withLock { $0.awaits(name) }
    if !hasLeft, !isOther, let rule = rules.first(where: { $0.name == name }) {
      return rule.access(for: client)
    }
    // Who may write to all others may go on with a test.
    if branch != nil, rules.allSatisfy({ $0.access(for: client) == .readWrite }) {
      return .readWrite
    }
    // A disk that has left, or is another than the configuration means, has no rules any more: who
    // may see all others may see what it was.
    return rules.allSatisfy { $0.access(for: client) != .none } ? .readOnly : .none
  }

  func add(_ connection: GroupClient) {
    loop.assertIsCurrent()
    if failure != nil || isStopping { return connection.close() }
    connections.add(connection)
    loop.clientCount += 1
    if lifecycle.isPausing || move.isUnderWay { connection.pause() }
  }

  func remove(_ connection: GroupClient) {
    loop.assertIsCurrent()
    guard connections.remove(connection) else { return }
    loop.clientCount -= 1
    roomWaiters.removeAll { $0 === connection }
    durability.forget(connection)
  }

  /// The connection has something to finish this turn.
  func touch(_ connection: GroupClient) {
    if connection.isTouched { return }
    connection.isTouched = true
    touched.append(connection)
    loop.enlist(self)
  }

  override func finishTurn() {
    guard commit() else { return }
    if let journal, room.mustLook(opened: journal.openedCount) { keepReserve() }
    var index = 0
    while index < touched.count {
      let connection = touched[index]
      index += 1
      connection.finishTurn()
    }
    touched.removeAll(keepingCapacity: true)
    startSyncIfWaited()
    if turnWrites > 0 {
      latency.record(
        nanoseconds: SystemClock.monotonicNanoseconds() &- turnStartNanoseconds,
        count: turnWrites)
      turnWrites = 0
    }
    if lifecycle.isWaiting { goOn() }
  }

  // MARK: Writes

  /// The last request staged.
  @inline(__always)
  var stamped: SequenceNumber { journal?.stamped ?? plainSequence }

  /// Workers have finished a change of a plain group's disk: what syncs from here on covers it.
  func plainChanged() { plainSequence = plainSequence.advanced(by: 1) }

  @inline(__always)
  func hasRoom(payloadByteCount: Int) -> Bool {
    room.allowance > 0 && (journal?.hasRoom(payloadByteCount: payloadByteCount) ?? true)
  }

  /// Once a follower with `on_full: throttle` lacks three quarters of the journal.
  func updateAllowance(_ journal: SiteJournal) {
    guard throttles else { return }
    // What only apply holds comes free as it is needed: see `keepReserve`.
    let lacking = followers.throttlingMark.map { journal.segmentCount(after: $0) }
    let left = max(
      0, journal.capacityByteCount - (lacking ?? 0) * journal.options.segmentByteCount)
    room.allow(left: left, of: journal.capacityByteCount, least: payloadLimit)
    if !roomWaiters.isEmpty { roomCame() }
  }

  private var throttles: Bool {
    configuration.journal.onFull == .throttle || followers.all.contains { $0.whenFull == .throttle }
  }

  /// Clients wait for room in the journal.
  var writesWait: Bool { !roomWaiters.isEmpty }

  func waitForRoom(_ connection: GroupClient) {
    roomWaiters.append(connection)
    // A throttled client waits for the next tick; the journal itself is not full.
    if journal?.hasRoom(payloadByteCount: payloadLimit) != true { makeRoom() }
  }

  /// Segments were recycled or created: those who wait go on.
  func roomCame() {
    let waiters = roomWaiters
    roomWaiters.removeAll()
    for connection in waiters { connection.roomCame() }
    resumeReceiving()
  }

  /// Stages one guest request; see `Tap.stage`. Returns its sequence number.
  @inline(__always)
  func stage(
    _ kind: RecordKind, disk: DiskNumber, offset: UInt64, length: UInt32,
    record: UnsafeMutableRawPointer
  ) -> SequenceNumber {
    loop.assertIsCurrent()
    if turnWrites == 0 {
      turnStartNanoseconds = SystemClock.monotonicNanoseconds()
      turnNow = readClock()
    }
    turnWrites &+= 1
    room.spend(Int(kind == .write ? length : 0))
    guard let tap, let journal else {
      return unsafe writeThrough(kind, disk, offset, length, record)
    }
    do throws(JournalError) {
      try unsafe tap.stage(
        kind, disk: disk, offset: offset, length: length, now: turnNow, record: record)
    } catch { fail("\(error)") }
    return journal.stamped
  }

  /// Writes what is staged; false when the group has failed.
  func commit() -> Bool {
    loop.assertIsCurrent()
    if failure != nil { return false }
    do throws(JournalError) {
      try tap?.commit()
      return true
    } catch {
      fail("\(error)")
      return false
    }
  }

  /// A plain group's write: to the page cache of the raw file, at once. What goes wrong is in
  /// `plain` then.
  private func writeThrough(
    _ kind: RecordKind, _ disk: DiskNumber, _ offset: UInt64, _ length: UInt32,
    _ record: UnsafeMutableRawPointer
  ) -> SequenceNumber {
    let store = self.disk(disk).store
    do throws(StorageError) {
      switch kind {
      case .write, .checkpoint, .disk:
        try unsafe store.write(
          UnsafeRawBufferPointer(start: record + RecordHeader.byteCount, count: Int(length)),
          at: offset)
      case .zero, .trim:
        try store.zero(
          ByteRange(start: offset, length: UInt64(length)), mayFreeSpace: kind == .trim)
      }
      plain.succeeded(disk)
    } catch {
      plain.ofRequest = error
      noteFailure(PlainFailure(disk: disk, error: error))
    }
    plainSequence = plainSequence.advanced(by: 1)
    return plainSequence
  }

  @inline(__always)
  func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    journal?.piece(disk: disk, at: offset, limit: limit) ?? (limit, nil)
  }

  /// For a worker, of what `piece` could not tell. Pins the oldest segment that it may name until
  /// it is released: not one that waits to be recycled.
  func coldLookUp(_ disk: DiskNumber) -> ColdLookUp? {
    guard let journal else { return nil }
    let (cover, floor) = journal.closedIndex
    let oldest = journal.oldestNamedSegment
    oldest?.pin()
    return ColdLookUp(disk: disk, index: .live(cover, floor: floor, oldest: oldest))
  }

  // MARK: Failing and stopping

  /// The journal cannot be trusted any more. Clients are cut off without replies, so nothing that
  /// was not stored is ever acknowledged; what is durable stays for the next opening.
  func fail(_ reason: String) {
    loop.assertIsCurrent()
    guard lifecycle.failed(reason) else { return }
    log(
      "group \(configuration.name) has failed and serves nothing until it is opened again: "
        + reason)
    // What is staged lies in buffers that end with their connections.
    journal?.abandon()
    closeConnections()
    closeReceiver()
    // Nobody may find it there when it has ended.
    continueSecuring()
    onFailure?(reason)
    // The stop waited for a sync, and there is none to come.
    goOn()
  }

  /// Nothing begins any more, also nothing that only reads: the opening is about to end.
  func abandon() {
    lifecycle.failed("the group is stopping")
    stopIndexUpkeep()
    closeConnections()
    closeReceiver()
    continueSecuring()
    views.expireAll()
    // The workers take nothing more.
    views.refuseQueued(.unavailable("group \(configuration.name): \(failure ?? "")"))()
  }

  func makeFirstChanges() { for wish in firstChanges { change(wish) } }

  /// Nothing of it happens on the loop from here on. What its jobs had posted before has come.
  func leaveLoop() { loop.cancelTimers(of: self) }

  func closeConnections() {
    for connection in connections.members { connection.close() }
    touched.removeAll()
    roomWaiters.removeAll()
    durability.forgetAll()
  }

  /// No new requests from here on.
  func beginStop() {
    lifecycle.stop()
    stopIndexUpkeep()
    _ = commit()
    closeConnections()
    closeReceiver()
  }
}
