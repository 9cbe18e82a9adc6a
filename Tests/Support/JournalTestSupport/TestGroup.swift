import BlockModel
import Journal
import Storage
import StorageTesting
import SystemIO
import TestSupport
import Volume

/// A group without threads, network or clock: a journal on a faulty storage, bases in memory, the
/// state file, and the plain history to compare with. It does what a site's group does, in the
/// same order, but only when told to.
public final class TestGroup {
  public struct Settings: Sendable {
    public var diskByteCounts: [Int]
    public var segmentByteCount = 16 << 10
    public var capacityByteCount = 128 << 10
    /// What indexes may take of the memory.
    public var indexMapByteLimit = 64 << 20
    public var indexCacheByteLimit = 1 << 20
    /// So many records are in one generation at most.
    public var indexRecordLimit = 32 << 10
    public init(diskByteCounts: [Int] = [48 << 10, 17 << 10]) {
      self.diskByteCounts = diskByteCounts
    }
  }

  public enum Ending: Sendable, CaseIterable {
    /// Everything is committed, synced and said so in the state file.
    case clean
    /// The process ends, the machine does not: what was committed stays.
    case kill
    case powerCut
  }

  public let storage: FaultyStorage
  public let stores: [MemoryStore]
  public private(set) var settings: Settings
  public private(set) var journal: Journal<FaultyStorage>
  public private(set) var state: JournalState
  public private(set) var history: RecordHistory
  /// Records come from a peer, so the epochs are the peer's.
  public private(set) var isReceiving = false
  /// Of the last restart.
  public private(set) var notes: [String] = []

  private let followers: Followers
  private let stateFile: JournalStateFile<FaultyFile>
  private var stateGeneration: UInt64
  private let arena = PageBuffer(byteCount: 2 << 20)
  private var arenaEnd = 0
  /// A job on the index that was run and not given back.
  private var indexJob: (job: IndexJob, result: IndexJob.Result)?
  private var sidecarResult: SidecarJob<FaultyStorage>.Result?

  public init(seed: UInt64, _ settings: Settings = Settings()) throws {
    self.settings = settings
    storage = FaultyStorage(seed: seed)
    followers = Followers([(site: "west", whenFull: .block)])
    followers.all[0].detach()
    stores = settings.diskByteCounts.map { MemoryStore(byteCount: $0) }
    var random = SeededGenerator(seed: seed ^ 0x6007)
    state = JournalState(
      groupName: "shop", group: .random(using: &random),
      disks: settings.diskByteCounts.enumerated().map {
        .init(
          number: DiskNumber(UInt16($0.offset)), name: "disk\($0.offset)",
          byteCount: UInt64($0.element))
      }, baseline: .complete)
    // While a group runs, its state says that it has not ended cleanly.
    state.isClean = false
    history = RecordHistory(diskByteCounts: settings.diskByteCounts)
    stateFile = try .create(in: storage)
    stateGeneration = 1
    try stateFile.write(state, generation: stateGeneration)
    journal = Self.open(
      storage, settings, state,
      try JournalRecovery(storage, state: state, shelf: Self.shelf(storage, settings)),
      continues: true, followers)
  }

  /// A recovery group with a complete (empty) baseline, for the records of `sender`.
  public convenience init(seed: UInt64, receivingFrom sender: JournalState, _ settings: Settings)
    throws
  {
    try self.init(seed: seed, settings)
    isReceiving = true
    state.group = sender.group
    state.lineage = Lineage()
    state.ownership = Ownership(beginning: .following)
    try updateState { _ in }
    try reopen()
  }

  private static func shelf(_ storage: FaultyStorage, _ settings: Settings) -> IndexShelf {
    IndexShelf(
      storage, segmentByteCount: settings.segmentByteCount,
      IndexMemory(
        mapByteLimit: settings.indexMapByteLimit, cacheByteLimit: settings.indexCacheByteLimit,
        recordLimit: settings.indexRecordLimit))
  }

  private static func open(
    _ storage: FaultyStorage, _ settings: Settings, _ state: JournalState,
    _ recovered: JournalRecovery<FaultyStorage>, continues: Bool, _ followers: Followers
  ) -> Journal<FaultyStorage> {
    Journal(
      storage: storage,
      options: .init(
        segmentByteCount: settings.segmentByteCount,
        capacityByteCount: settings.capacityByteCount),
      state: state, recovered: recovered, continuesLastSegment: continues, followers: followers)
  }

  public func updateState(_ change: (inout JournalState) -> Void) throws {
    if isReceiving { state.lineage = journal.lineage.holding(through: journal.appended) }
    change(&state)
    stateGeneration += 1
    try stateFile.write(state, generation: stateGeneration)
  }

  // MARK: Writing

  /// Stages one record. False when there is no room and none can be made.
  @discardableResult
  public func stage(_ operation: Operation, now: UInt64) throws -> Bool {
    let payload = operation.payload
    guard try makeRoom(payload.count) else { return false }
    let byteCount = RecordHeader.byteCount + payload.count
    if arenaEnd + byteCount > arena.count { try commit() }
    let record = unsafe arena.base + arenaEnd
    unsafe (record + RecordHeader.byteCount).copyMemory(from: payload, byteCount: payload.count)
    try unsafe journal.append(
      operation.kind, disk: operation.disk, offset: UInt64(operation.offset),
      length: UInt32(operation.length), now: Timestamp(rawValue: now), record: record)
    // Some records lie next to each other in memory, some do not.
    arenaEnd += byteCount + (byteCount % 3 == 0 ? 16 : 0)
    history.append(operation, at: journal.newestTimestamp)
    return true
  }

  public func commit() throws {
    try journal.commit()
    arenaEnd = 0
  }

  /// Stages and commits one record.
  @discardableResult
  public func record(_ operation: Operation, now: UInt64 = 0) throws -> Bool {
    let staged = try stage(operation, now: now)
    try commit()
    return staged
  }

  private func makeRoom(_ payloadByteCount: Int) throws -> Bool {
    if journal.hasRoom(payloadByteCount: payloadByteCount) { return true }
    createSlots()
    if journal.hasRoom(payloadByteCount: payloadByteCount) { return true }
    try apply()
    return journal.hasRoom(payloadByteCount: payloadByteCount)
  }

  public func createSlots() {
    while let (slot, name) = journal.slotToCreate(isIdle: false) {
      guard let file = try? storage.create(name, byteCount: settings.segmentByteCount) else {
        return journal.slotFailed(slot)
      }
      journal.slotCreated(slot, file)
    }
  }

  public func sync() throws {
    try commit()
    guard let job = journal.syncJob() else { return }
    try job.run()
    journal.syncCompleted(job)
  }

  // MARK: Applying

  public typealias GroupView = View<FaultyFile, MemoryStore>

  /// Applies the oldest `limit` generations that end by `instant`, then frees segments.
  ///
  /// - Parameters:
  ///   - savers: detached views, for which is saved what is overwritten.
  ///   - sharing: detached views that read what another one's overlay has.
  ///   - peerMark: what the peer has durable; nil when there is none.
  @discardableResult
  public func apply(
    limit: Int = .max, through instant: Timestamp = .distantFuture,
    savingFor savers: [GroupView] = [], sharing: [GroupView] = [],
    peerMark: SequenceNumber? = nil
  ) throws -> Applier<FaultyFile, MemoryStore>.Outcome {
    keep(after: peerMark)
    try journal.freezeActive()
    arenaEnd = 0
    try sync()
    let generations = Array(
      journal.generations.prefix(limit).prefix { $0.span.lastTimestamp <= instant })
    guard let span = generations.last?.span else {
      try recycle(peerMark: peerMark)
      return .init()
    }
    let mark = JournalState.Mark(span.lastSequence, span.lastTimestamp)
    try updateState { $0.applyBegins(through: mark) }
    let outcome = try Applier(catalog: journal.catalog, stores: stores).apply(
      generations, savingFor: savers)
    try updateState {
      $0.applyEnded(
        through: mark, durable: journal.durable, followers: followers.marks,
        oldest: journal.catalog.oldestNeeded(
          durable: journal.durable, applied: mark.sequence, kept: followers.marks.mark))
    }
    journal.applyCompleted(through: mark.sequence)
    try recycle(peerMark: peerMark)
    for view in savers + sharing { view.raiseFloor(to: journal.firstUnappliedSegment) }
    return outcome
  }

  /// What its only follower has durably; nil: nothing is kept for it.
  public func keep(after peerMark: SequenceNumber?) {
    let follower = followers.all[0]
    if let peerMark {
      follower.reporter.copyFollows(from: peerMark)
    } else {
      follower.detach()
    }
  }

  /// Notes that applied segments are void, and frees them. Returns how many became free.
  @discardableResult
  public func recycle(peerMark: SequenceNumber? = nil) throws -> Int {
    keep(after: peerMark)
    if let oldest = journal.oldestNeeded {
      try updateState { $0.oldestSegment = oldest }
    }
    return journal.recycle(before: state.oldestSegment)
  }

  // MARK: Index

  /// Does what a site's keeper does for the index when it has time, in at most `limit` steps: jobs
  /// begin in one step and end in the next, whatever happens in between.
  public func keepIndex(limit: Int = .max) {
    for _ in 0..<limit {
      if let (job, result) = indexJob {
        journal.install(result, of: job)
        indexJob = nil
      } else if let result = sidecarResult {
        journal.sidecarWritten(result)
        sidecarResult = nil
      } else if let job = journal.sidecarJob() {
        sidecarResult = try? job.run()
        if sidecarResult == nil { return journal.sidecarFailed(job) }
      } else if let job = journal.placingJob() ?? journal.mergeJob() {
        guard let result = try? job.run() else { return journal.indexJobFailed(job) }
        if result.failure != nil { return journal.install(result, of: job) }
        indexJob = (job, result)
      } else {
        return
      }
    }
  }

  // MARK: Reading

  /// All disks, read through the journal's index.
  public func contents() throws -> [[UInt8]] {
    try commit()
    return try settings.diskByteCounts.indices.map { try contents(disk: $0) }
  }

  private func contents(disk: Int) throws -> [UInt8] {
    let number = DiskNumber(UInt16(disk))
    let range = ByteRange(start: 0, length: UInt64(settings.diskByteCounts[disk]))
    var plan = ReadPlan(range) { journal.piece(disk: number, at: $0, limit: $1) }
    if plan.isUnresolved {
      let (cover, floor) = journal.closedIndex
      try plan.resolve { (offset, limit) throws(VolumeError) in
        do throws(JournalError) {
          return try cover.pieceWaiting(disk: number, at: offset, limit: limit, floor: floor)
        } catch { throw .index(error) }
      }
    }
    let reader = VolumeReader(store: stores[disk], catalog: journal.catalog)
    var bytes = [UInt8](repeating: 0xEE, count: Int(range.length))
    let result = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Void, VolumeError> in
      var start = 0
      do throws(VolumeError) {
        for piece in plan.pieces {
          let end = start + Int(piece.length)
          let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[start..<end])
          try unsafe reader.read(piece.source, at: UInt64(start), into: target)
          start = end
        }
        return .success(())
      } catch { return .failure(error) }
    }
    try result.get()
    return bytes
  }

  // MARK: Ending and beginning again

  /// Ends the group in one of the three ways and opens it from its folder. The history is cut to
  /// what came back.
  public func restart(_ ending: Ending) throws {
    if ending == .clean {
      try sync()
      try updateState {
        $0.noteStop(durable: journal.durable, followers: followers.marks, promised: .zero)
      }
    }
    if ending == .powerCut {
      storage.crash()
      for store in stores { store.dropUnsynced() }
    }
    try reopen()
  }

  private func reopen() throws {
    guard case .state(let found, let generation) = try stateFile.read() else {
      throw Lost(description: "the state file has no state")
    }
    state = found
    stateGeneration = generation
    let recovered = try JournalRecovery(
      storage, state: state, shelf: Self.shelf(storage, settings))
    notes = recovered.notes
    state.opens(recovered, isNew: false)
    arenaEnd = 0
    indexJob = nil
    sidecarResult = nil
    journal = Self.open(storage, settings, state, recovered, continues: isReceiving, followers)
    try updateState { _ in }
    if isReceiving { return }
    guard journal.stamped <= history.lastSequence else {
      throw Lost(description: "recovered records that were never written")
    }
    history.truncate(after: journal.stamped)
  }

  /// Opens the folder again with another segment size, after a clean ending.
  public func resize(segmentByteCount: Int) throws {
    settings.segmentByteCount = segmentByteCount
    settings.capacityByteCount = 16 * segmentByteCount
    indexJob = nil
    sidecarResult = nil
    journal = Self.open(
      storage, settings, state,
      try JournalRecovery(storage, state: state, shelf: Self.shelf(storage, settings)),
      continues: true, followers)
  }

  // MARK: Receiving

  public func accept(segment header: SegmentHeader) throws {
    createSlots()
    if !journal.hasFreeSegment { try apply() }
    try journal.acceptSegment(header)
  }

  /// Gives the journal bytes that have arrived and commits. Returns how many it took.
  public func accept(_ bytes: [UInt8]) throws -> Int {
    var bytes = bytes
    let disks = settings.diskByteCounts.map { UInt64($0) }
    let taken = try unsafe bytes.withUnsafeMutableBytes { buffer in
      defer { _ = try? journal.commit() }
      return try unsafe journal.accept(buffer, disks: disks)
    }
    return taken
  }

  /// Goes back to `sequence`, as the peer demands.
  public func cut(after sequence: SequenceNumber) throws {
    let lineage = journal.lineage.holding(through: sequence)
    try updateState {
      $0.cut(after: sequence, keeping: lineage, ownerDurable: .unknown, isDiscarded: false)
    }
    let recovered = try JournalRecovery(
      storage, state: state, cut: sequence, shelf: journal.shelf)
    journal.adopt(recovered, state: state, continuesLastSegment: true)
    try updateState { $0.oldestSegment = recovered.oldestSegment }
  }

  /// Forgets its records: a full copy begins, which holds those up to `start`.
  ///
  /// - Parameter lineage: of the sender.
  public func beginBaseline(_ start: SequenceNumber, _ lineage: Lineage) throws {
    try updateState {
      $0.copies(
        $0.group, copy: 1, from: start, of: lineage, disks: $0.disks, nextDisk: $0.nextDisk,
        now: .zero)
    }
    let recovered = try JournalRecovery(erasing: storage, state: state)
    journal.adopt(recovered, state: state, continuesLastSegment: true)
    try updateState { $0.oldestSegment = recovered.oldestSegment }
  }

  /// Starts over from a recovery, as a receiver does that was told to go back.
  public func adopt(
    _ recovered: JournalRecovery<FaultyStorage>, truncatingHistoryAfter sequence: SequenceNumber,
    newEpoch: Bool
  ) throws {
    try updateState {
      $0.durable = min($0.durable, sequence)
      $0.oldestSegment = recovered.oldestSegment
      if newEpoch { $0.beginIncarnation(after: .init(sequence, .zero)) }
    }
    arenaEnd = 0
    journal.adopt(recovered, state: state, continuesLastSegment: !newEpoch)
    history.truncate(after: sequence)
  }

  public struct Lost: Error, CustomStringConvertible {
    public let description: String
  }
}
