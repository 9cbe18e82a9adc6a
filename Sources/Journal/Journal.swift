import BlockModel
import SystemIO

/// One group's journal: the write path, the wire and the time machine.
///
/// Concurrency: everything here belongs to the group's loop, except `catalog` and `watermarks`,
/// which other threads read. `append` and `commit` write to the page cache and do not wait for the
/// disk; what does wait (syncs, new files) is handed out as a job and reported back.
///
/// A turn of the loop stages records with `append` or `accept`, then calls `commit` once: one write
/// for the whole batch. Nothing is acknowledged before `commit` has returned; nothing is called
/// durable before the sync job that covers it has come back.
public final class Journal<Storage: JournalStorage> {
  private enum Slot {
    case creating
    case free(Storage.File)
    case inUse(Storage.File)
  }

  public let catalog = SegmentCatalog<Storage.File>()
  public let watermarks = Watermarks()
  /// For whom records are kept that are applied already.
  public let followers: Followers
  public let storage: Storage
  public let options: Options
  public private(set) var group: GroupIdentifier
  public let payloadLimit: Int
  /// Where the maps of the index are put.
  public let shelf: IndexShelf

  private var slots: [Slot] = []
  private var slotNames: [String] = []
  /// Of `slots`.
  private var creatingCount = 0
  private var freeSlots: [Int] = []
  /// Difference between the number in a new file's name and its slot.
  private var fileNumberOffset = 0
  /// In order, oldest first; the last may be the active one.
  private(set) var segments: [Segment<Storage.File>] = []
  /// What the state file says; see `JournalState.oldestSegment`.
  private var oldestNumber: UInt32 = 0
  /// How many bytes of records all segments had that were opened before each of `segments`.
  private var byteCountsBefore: [UInt64] = []
  private var active: Segment<Storage.File>?
  private var activeEnd = 0
  private var activeCount: UInt64 = 0
  /// The active segment's own size: one from before a change of the configuration keeps it.
  private var activeLimit = 0
  /// Whose records are here. A protected group stamps as the newest.
  public private(set) var lineage = Lineage()
  var index: IndexStack

  /// Bytes of records written since the start.
  public private(set) var dataBytes: UInt64 = 0
  /// Segments opened since the start.
  public private(set) var openedCount: UInt64 = 0

  private var staged = GatherList(capacity: 1024)
  private var stagedStart = 0
  private let padding = PageBuffer(byteCount: 4096)

  private var lastSequence = SequenceNumber.none
  /// Of the newest record.
  private var lastTimestamp = Timestamp.zero
  /// The next record is later: than the newest one, and than what was promised.
  private var stampFloor = Timestamp.zero
  private var promisedTimestamp = Timestamp.zero
  /// Where the last record begins in its segment, the newest; 0 when that has none.
  private var lastPosition = 0
  private var durableSequence = SequenceNumber.none
  /// Segments up to here need no sync any more.
  private var syncedThroughSegment: UInt32 = 0
  private var appliedSequence = SequenceNumber.none
  /// Segments up to here have a sidecar, or get none.
  private var indexedThroughSegment: UInt32 = 0
  /// Segments of which the recovery says so.
  private var indexedSegments: Set<UInt32> = []
  /// Segments whose sidecar could not be written.
  private var failedSidecars: Set<UInt32> = []
  /// Segments whose sums must be checked before their records reach a disk: the start took a
  /// sidecar's word for them, or records lie here for long.
  private var unverifiedSegments: Set<UInt32> = []

  /// A marker of a disk with which `accept` has stopped.
  var nextChange: (DiskChange, JournalState.Mark)?
  var admitted = SequenceNumber.none

  /// - Parameter continuesLastSegment: a receiving side goes on in the last segment. At
  ///   the stamping side a new segment of a new incarnation begins, so that bytes which a power cut
  ///   brought back, or which another process wrote to a copy of the folder, never verify there.
  public init(
    storage: Storage, options: Options, state: JournalState,
    recovered: consuming JournalRecovery<Storage>, continuesLastSegment: Bool,
    followers: Followers = Followers()
  ) {
    self.storage = storage
    self.followers = followers
    self.options = options
    payloadLimit = min(RecordHeader.payloadLimit, options.segmentByteCount / 4)
    group = state.group
    shelf = recovered.shelf
    index = IndexStack(
      diskCount: state.diskCount, generations: [], life: 0, shelf: recovered.shelf)
    adopt(recovered, state: state, continuesLastSegment: continuesLastSegment)
  }

  /// Starts over from what a recovery of the folder found: at a receiving side, after a cut or
  /// before a full copy. No view may be open and no job under way.
  public func adopt(
    _ recovered: consuming JournalRecovery<Storage>, state: JournalState,
    continuesLastSegment: Bool
  ) {
    group = state.group
    lineage = state.lineage
    for incarnation in recovered.incarnations where incarnation.epoch > lineage.epoch {
      lineage.note(incarnation)
    }
    // A power cut may have taken segments of the newest incarnations, and left a record that was
    // cut off before they began.
    if continuesLastSegment, recovered.endsWithLastSegment, let last = recovered.segments.last,
      recovered.lastSequence >= last.firstSequence
    {
      lineage.dropLater(than: last.header.incarnation)
    }
    segments = recovered.segments
    byteCountsBefore = []
    for segment in segments.indices { byteCountsBefore.append(byteCountBefore(segment)) }
    creatingCount = 0
    slots = recovered.slots.map { .inUse($0.file) }
    slotNames = recovered.slots.map(\.name)
    freeSlots = recovered.freeSlots
    fileNumberOffset = recovered.nextFileNumber - recovered.slots.count
    for slot in recovered.freeSlots { slots[slot] = .free(recovered.slots[slot].file) }
    index = IndexStack(
      diskCount: state.diskCount, generations: recovered.generations,
      life: index.life + 1, shelf: shelf)
    oldestNumber = recovered.oldestSegment
    lastSequence = recovered.lastSequence
    lastTimestamp = recovered.lastTimestamp
    stampFloor = lastTimestamp
    promisedTimestamp = .zero
    nextChange = nil
    admitted = .none
    durableSequence = min(state.durable, lastSequence)
    appliedSequence = state.applied.sequence
    raiseFloor()
    syncedThroughSegment = 0
    indexedThroughSegment = 0
    indexedSegments = recovered.indexedSegments
    failedSidecars = []
    // These need no sync to be merged. The last one may go on.
    for segment in segments.dropLast() {
      guard indexedSegments.remove(segment.number) != nil else { break }
      indexedThroughSegment = segment.number
    }
    unverifiedSegments =
      options.verifiesBeforeApply ? Set(segments.map(\.number)) : recovered.trustedSegments
    catalog.replaceAll(with: segments)
    staged.clear()
    goOn(inLastSegment: continuesLastSegment && recovered.endsWithLastSegment)
    lastPosition = recovered.endsWithLastSegment ? recovered.lastRecordPosition : 0
    publishLastPosition()
    stagedStart = activeEnd
    watermarks[.appended] = lastSequence.rawValue
    watermarks[.appendedTimestamp] = lastTimestamp.rawValue
    watermarks[.durable] = durableSequence.rawValue
    watermarks[.applied] = appliedSequence.rawValue
    // What was said of records that are gone must not make the RPO look better than it is.
    watermarks[.durableTimestamp] =
      durableSequence == lastSequence ? lastTimestamp.rawValue : 0
    watermarks[.completeThrough] = 0
  }

  private func goOn(inLastSegment isContinued: Bool) {
    active = isContinued ? segments.last : nil
    if active == nil { segments.last?.seal(lastTimestamp: lastTimestamp) }
    activeEnd = active?.end ?? 0
    activeLimit = active.map { Int($0.header.segmentByteCount) } ?? 0
    activeCount =
      active.map { lastSequence.advanced(by: 1).distance(from: $0.firstSequence) } ?? 0
  }

  // MARK: Appending

  public var appended: SequenceNumber { watermarks.sequence(.appended) }
  public var durable: SequenceNumber { durableSequence }
  public var applied: SequenceNumber { appliedSequence }
  public var newestTimestamp: Timestamp { lastTimestamp }
  /// No record at or before it will follow: what `closeInstants` was told last.
  public var promised: Timestamp { promisedTimestamp }
  /// What is stamped next is later.
  public var floor: Timestamp { stampFloor }
  /// The last record that was staged or committed.
  public var stamped: SequenceNumber { lastSequence }
  public var currentEpoch: UInt64 { lineage.epoch }

  /// Whether a record with this payload can be staged now. When not, the caller stops reading from
  /// its clients until a segment has been recycled or created.
  @inline(__always)
  public func hasRoom(payloadByteCount: Int) -> Bool {
    let end = activeEnd &+ RecordHeader.byteCount &+ payloadByteCount
    return (active != nil && end <= activeLimit) || !freeSlots.isEmpty
  }

  /// Whether the next segment can be opened now.
  public var hasFreeSegment: Bool { !freeSlots.isEmpty }

  /// Stamps and stages one record. `record` points to 28 bytes that become the header, followed by
  /// the payload; they must stay unchanged until `commit`.
  ///
  /// - Precondition: `hasRoom` for the payload, which is at most `payloadLimit`.
  @inline(__always)
  public func append(
    _ kind: RecordKind, disk: DiskNumber, offset: UInt64, length: UInt32,
    now: Timestamp, record: UnsafeMutableRawPointer
  ) throws(JournalError) {
    #if MUTANTS
      let stampFloor = Mutant.trustClock.isOn ? .zero : stampFloor
    #endif
    let timestamp = max(now, Timestamp(rawValue: stampFloor.rawValue &+ 1))
    let header = RecordHeader(
      disk: disk, kind: kind, timestamp: timestamp, offset: offset, length: length)
    let byteCount = RecordHeader.byteCount &+ header.payloadByteCount
    if active == nil || activeEnd &+ byteCount > activeLimit {
      try openNextSegment(firstTimestamp: timestamp)
    }
    guard let segment = active else { preconditionFailure("no active segment") }
    let checksumStart = segment.checksumSeed ^ UInt32(truncatingIfNeeded: activeCount)
    unsafe header.encode(sealing: record, checksumStart: checksumStart)
    try unsafe stage(header, record, byteCount, in: segment)
  }

  /// Stages one record whose header is encoded already, and indexes it.
  @inline(__always)
  private func stage(
    _ header: RecordHeader, _ record: UnsafeMutableRawPointer, _ byteCount: Int,
    in segment: Segment<Storage.File>
  ) throws(JournalError) {
    if staged.isFull { try commit() }
    unsafe staged.append(record, count: byteCount)
    lastSequence = lastSequence.advanced(by: 1)
    lastTimestamp = header.timestamp
    stampFloor = header.timestamp
    if header.kind.isMarker {
      unsafe indexMarker(header, record)
    } else {
      let source = header.extentSource(segment: segment.number, position: activeEnd)
      index.active.add(header, lastSequence, source)
    }
    lastPosition = activeEnd
    activeEnd &+= byteCount
    activeCount &+= 1
  }

  private func indexMarker(_ header: RecordHeader, _ record: UnsafeMutableRawPointer) {
    guard header.kind == .checkpoint else {
      return index.active.addMarker(lastSequence, header.timestamp)
    }
    let tag = unsafe String(
      decoding: UnsafeRawBufferPointer(
        start: record + RecordHeader.byteCount, count: header.payloadByteCount), as: UTF8.self)
    index.active.add(Checkpoint(sequence: lastSequence, timestamp: header.timestamp, tag: tag))
  }

  /// Where the last staged record's payload is: what the analyzer is told.
  @inline(__always)
  public func sourceOfLast(length: UInt32) -> ExtentSource {
    guard let active else { return .zeros }
    return ExtentSource(
      segment: active.number,
      position: UInt32(truncatingIfNeeded: activeEnd &- Int(length)))
  }

  /// Writes what is staged: one call for the batch. Afterwards it may be acknowledged and is
  /// visible to the link and to views. Throws when the storage failed; the journal must then not
  /// be used any more. Returns whether there was anything.
  @discardableResult
  public func commit() throws(JournalError) -> Bool {
    guard !staged.isEmpty, let segment = active else { return false }
    precondition(
      stagedStart < activeEnd && activeEnd <= activeLimit,
      "a batch from \(stagedStart) to \(activeEnd) in a segment of \(activeLimit) bytes")
    padToPage()
    do throws(Errno) {
      try segment.file.write(&staged, at: UInt64(stagedStart))
    } catch { throw .storage(error, doing: "appending to segment \(segment.number)") }
    dataBytes &+= UInt64(activeEnd - stagedStart)
    stagedStart = activeEnd
    segment.publish(end: activeEnd)
    // In this order: who reads the timestamp first and the sequence then has all records up to it.
    publishLastPosition()
    watermarks[.appended] = lastSequence.rawValue
    watermarks[.appendedTimestamp] = lastTimestamp.rawValue
    if index.active.recordCount >= shelf.memory.recordLimit { freezeIndex() }
    return true
  }

  private func publishLastPosition() {
    let number = lastPosition > 0 ? segments.last?.number ?? 0 : 0
    watermarks[.appendedPosition] = UInt64(number) << 32 | UInt64(lastPosition)
  }

  /// Forgets what is staged; the memory in which it lies may end. The journal must then not be used
  /// any more.
  public func abandon() { staged.clear() }

  /// Fills the batch up to the end of its last page with zeros, which the next batch overwrites. A
  /// page written whole need not be read first, so appending to a recycled file whose pages have
  /// left memory does not wait for the disk.
  private func padToPage() {
    let pad = -activeEnd & (Self.pageByteCount - 1)
    if pad > 0, !staged.isFull { unsafe staged.append(padding.base, count: pad) }
  }

  private static var pageByteCount: Int { 4096 }

  /// Promises that no record at or before `instant` will follow: what is told to peers, and needed
  /// before an instant is opened. Commits what is staged. At a receiving side it is the peer's
  /// promise, and a record that breaks it is refused.
  ///
  /// The state file must know of it before (`Promise`), so that it holds after a crash.
  public func closeInstants(through instant: Timestamp) throws(JournalError) {
    try commit()
    if instant <= promisedTimestamp { return }
    promisedTimestamp = instant
    stampFloor = max(stampFloor, instant)
    watermarks[.completeThrough] = instant.rawValue
  }

  // MARK: Segments

  private func openNextSegment(firstTimestamp: Timestamp) throws(JournalError) {
    try sealActive()
    let number = max((segments.last?.number ?? 0) + 1, oldestNumber)
    guard let incarnation = lineage.newest else { preconditionFailure("stamps as nobody") }
    let header = SegmentHeader(
      identity: SegmentIdentity(group: group, incarnation: incarnation, number: number),
      segmentByteCount: UInt32(options.segmentByteCount),
      firstSequence: lastSequence.advanced(by: 1), firstTimestamp: firstTimestamp)
    try open(header)
  }

  /// Closes the active segment, if there is one. The next record opens another.
  public func sealActive() throws(JournalError) {
    try commit()
    active?.seal(lastTimestamp: index.active.span?.lastTimestamp ?? lastTimestamp)
    freezeIndex()
    active = nil
  }

  private func freezeIndex() {
    index.freeze(
      segment: active?.number ?? 0,
      origin: active?.origin(diskCount: index.active.disks.count, shelf))
  }

  private func open(_ header: SegmentHeader) throws(JournalError) {
    precondition(!freeSlots.isEmpty, "no free segment: the caller must ask hasRoom first")
    precondition(staged.isEmpty, "a segment begins while records of another are staged")
    precondition(
      header.firstSequence == lastSequence.advanced(by: 1)
        && header.number > segments.last?.number ?? 0,
      "segment \(header.number) from record \(header.firstSequence) does not follow")
    let slot = freeSlots.removeFirst()
    guard case .free(let file) = slots[slot] else { preconditionFailure("slot is not free") }
    let bytes = header.encoded()
    var failure: Errno?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(Errno) { try unsafe file.write(buffer, at: 0) } catch { failure = error }
    }
    if let failure { throw .storage(failure, doing: "opening segment \(header.number)") }
    slots[slot] = .inUse(file)
    let segment = Segment(
      header: header, file: file, slot: slot, end: SegmentHeader.byteCount, isSealed: false)
    byteCountsBefore.append(byteCountBefore(segments.count))
    segments.append(segment)
    if options.verifiesBeforeApply { unverifiedSegments.insert(segment.number) }
    catalog.append(segment)
    active = segment
    activeEnd = SegmentHeader.byteCount
    activeCount = 0
    activeLimit = Int(header.segmentByteCount)
    stagedStart = activeEnd
    openedCount &+= 1
  }

  /// The file that should be created next, if any: so many are kept ready until the capacity is
  /// used. The caller creates it on a worker and reports `slotCreated` or `slotFailed`.
  ///
  /// - Parameter isIdle: nobody writes now, so more is made ready for the next burst.
  public func slotToCreate(isIdle: Bool = false) -> (slot: Int, name: String)? {
    let spares =
      isIdle
      ? min(Self.idleSpareSlots, max(Self.spareSlots, options.slotLimit / 4)) : Self.spareSlots
    guard slots.count < options.slotLimit, freeSlots.count + creatingCount < spares else {
      return nil
    }
    let slot = slots.count
    slots.append(.creating)
    creatingCount += 1
    slotNames.append(JournalRecovery<Storage>.slotName(fileNumberOffset + slot))
    return (slot, slotNames[slot])
  }

  private static var spareSlots: Int { 3 }
  private static var idleSpareSlots: Int { 16 }

  /// Segments are used up faster than files can be filled.
  public var needsFilesQuickly: Bool { !segments.isEmpty && freeSlots.count < 2 }

  /// Whether files are being created or may still be: room will come without recycling.
  public var slotToCreateExists: Bool {
    slots.count < options.slotLimit || creatingCount > 0
  }

  public func slotCreated(_ slot: Int, _ file: Storage.File) {
    guard case .creating = slots[slot] else { preconditionFailure("slot \(slot) has a file") }
    slots[slot] = .free(file)
    creatingCount -= 1
    freeSlots.append(slot)
  }

  /// The last slot's file could not be made; it is asked for again later.
  public func slotFailed(_ slot: Int) {
    guard slot == slots.count - 1 else { return }
    slots.removeLast()
    creatingCount -= 1
    slotNames.removeLast()
  }

  /// The number of the oldest segment that must be kept, if it is newer than the state file's
  /// `oldestSegment`: older ones are applied, and durable at the followers for whom records are
  /// kept. They can be recycled once the state file has this number.
  public var oldestNeeded: UInt32? {
    let number = catalog.oldestNeeded(
      durable: durableSequence, applied: disposable, kept: followers.mark)
    return number.flatMap { $0 > oldestNumber ? $0 : nil }
  }

  /// Up to here the disks have all, and those who look up know it.
  private var disposable: SequenceNumber {
    #if MUTANTS
      if Mutant.recycleEarly.isOn { return durableSequence }
    #endif
    return appliedSequence
  }

  /// Frees the segments before number `oldest`, as far as they are not pinned and `applyCompleted`
  /// has told of their records: a step of apply notes the number before that. Returns how many
  /// became free: their files may be written over at once.
  ///
  /// - Parameter oldest: what the state file has as `oldestSegment`, durably.
  @discardableResult
  public func recycle(before oldest: UInt32) -> Int {
    oldestNumber = max(oldestNumber, oldest)
    var freed = 0
    while segments.count > 1, let oldest = segments.first, oldest.number < oldestNumber,
      oldest !== active, segments[1].firstSequence <= disposable.advanced(by: 1),
      catalog.removeUnlessPinned(oldest)
    {
      segments.removeFirst()
      byteCountsBefore.removeFirst()
      slots[oldest.slot] = .free(oldest.file)
      freeSlots.append(oldest.slot)
      freed += 1
    }
    if freed > 0, let oldest = segments.first { index.floor = max(index.floor, oldest.number) }
    return freed
  }

  /// Segments that can still be opened before one must be recycled.
  ///
  /// - Parameter grows: files that the capacity allows can be made; if not, only those that are
  ///   there count.
  public func freeSegmentCount(grows: Bool) -> Int {
    max(freeSlots.count, grows ? options.slotLimit - segments.count : 0)
  }

  /// The last record that must be applied for the `count` oldest segments to be recycled. Nil when
  /// applying frees none: the oldest is applied already, or needed until the followers have more,
  /// or the newest.
  public func lastToApply(freeing count: Int) -> SequenceNumber? {
    let kept = followers.mark
    var last: SequenceNumber?
    for next in segments.dropFirst().prefix(count) {
      let end = SequenceNumber(next.firstSequence.rawValue - 1)
      if end <= appliedSequence || end > (kept ?? end) { break }
      last = end
    }
    return last
  }

  /// How many segments hold records after `sequence`.
  public func segmentCount(after sequence: SequenceNumber) -> Int {
    var count = 0
    var last = lastSequence
    for segment in segments.reversed() {
      if last <= sequence { break }
      count += 1
      last = SequenceNumber(segment.firstSequence.rawValue - 1)
    }
    return count
  }

  public var usedByteCount: Int { segments.count * options.segmentByteCount }
  public var capacityByteCount: Int { options.slotLimit * options.segmentByteCount }
  public var segmentCount: Int { segments.count }
  public var oldestSegment: Segment<Storage.File>? { segments.first }
  public var newestSegment: Segment<Storage.File>? { segments.last }

  /// Bytes of records after `sequence`, to the precision of a segment; within a segment it is
  /// taken in proportion to the number of records.
  public func byteCount(after sequence: SequenceNumber) -> UInt64 {
    let behind = segments(after: sequence, through: lastSequence)
    guard let first = behind.first else { return 0 }
    let total = byteCountBefore(behind.endIndex) - byteCountsBefore[behind.startIndex]
    guard sequence >= first.firstSequence else { return total }
    let next =
      behind.count > 1
      ? behind[behind.startIndex + 1].firstSequence : lastSequence.advanced(by: 1)
    let done = sequence.advanced(by: 1).distance(from: first.firstSequence)
    let count = max(1, next.distance(from: first.firstSequence))
    let inFirst = Double(first.end - SegmentHeader.byteCount)
    return total - UInt64(inFirst * Double(min(done, count)) / Double(count))
  }

  /// What all segments have, or had, that were opened before the one at `position`.
  private func byteCountBefore(_ position: Int) -> UInt64 {
    guard position > 0 else { return 0 }
    let last = segments[position - 1]
    return byteCountsBefore[position - 1] + UInt64(last.end - SegmentHeader.byteCount)
  }

  /// The segments that hold records in `after < record ≤ through`, oldest first. Takes a time that
  /// grows with the logarithm of the journal's length.
  public func segments(
    after: SequenceNumber, through: SequenceNumber
  ) -> ArraySlice<Segment<Storage.File>> {
    // The one before the first that begins behind `after + 1` may hold that record.
    let following = segments.firstIndexInOrder { $0.firstSequence.rawValue > after.rawValue &+ 1 }
    var first = max(0, following - 1)
    let end = segments.firstIndexInOrder { $0.firstSequence > through }
    while first < end, lastSequence(ofSegmentAt: first) <= after { first += 1 }
    return segments[min(first, end)..<end]
  }

  private func lastSequence(ofSegmentAt position: Int) -> SequenceNumber {
    position + 1 < segments.count
      ? SequenceNumber(segments[position + 1].firstSequence.rawValue - 1) : lastSequence
  }

  // MARK: Durability

  /// A job whose end makes everything committed now durable; nil when it is already.
  public func syncJob() -> SyncJob? {
    let through = appended
    guard through > durableSequence else { return nil }
    var first = segments.endIndex
    while first > 0, segments[first - 1].number > syncedThroughSegment { first -= 1 }
    let unsynced = segments[first...]
    // All but the last are complete: they need no further sync after this one.
    let complete = unsynced.last.map { $0.isSealed ? $0.number : $0.number - 1 }
    return SyncJob(
      newest: unsynced.last?.file, others: unsynced.dropLast().map(\.file),
      throughSegment: complete ?? syncedThroughSegment, sequence: through,
      timestamp: Timestamp(rawValue: watermarks[.appendedTimestamp]))
  }

  public func syncCompleted(_ job: SyncJob) {
    precondition(job.sequence <= appended, "more is durable than was written")
    syncedThroughSegment = max(syncedThroughSegment, job.throughSegment)
    durableSequence = max(durableSequence, job.sequence)
    watermarks[.durableTimestamp] = max(
      watermarks[.durableTimestamp], job.timestamp.rawValue)
    watermarks[.durable] = durableSequence.rawValue
  }

  /// A job that writes the next segment's sidecar; nil when there is none to write. Each is handed
  /// out once, when the one before has ended; one that failed, again, when there is no other. A job
  /// may also be dropped.
  ///
  /// Only for a segment that is durable and has a successor: nothing is appended to it any more. It
  /// gets an index if none of its records is applied; else a start needs none.
  public func sidecarJob() -> SidecarJob<Storage>? {
    // The one before has ended.
    index.complete(before: indexedThroughSegment + 1)
    guard let oldest = segments.first else { return nil }
    while true {
      let number = max(indexedThroughSegment + 1, oldest.number)
      guard number <= syncedThroughSegment, Int(number - oldest.number) + 1 < segments.count
      else {
        index.complete(before: indexedThroughSegment + 1)
        return failedSidecars.popFirst().flatMap { sidecarJob(of: $0) }
      }
      indexedThroughSegment = number
      if indexedSegments.remove(number) != nil { continue }
      if let job = sidecarJob(of: number) { return job }
    }
  }

  /// Nil when the segment is gone, or has no records.
  private func sidecarJob(of number: UInt32) -> SidecarJob<Storage>? {
    let position = segments.firstIndexInOrder { $0.number >= number }
    guard position + 1 < segments.count, segments[position].number == number else { return nil }
    let segment = segments[position]
    let (first, next) = (segment.firstSequence, segments[position + 1].firstSequence)
    if first == next { return nil }
    let parts = index.generations(after: SequenceNumber(first.rawValue - 1)).prefix {
      $0.span.lastSequence < next
    }
    return SidecarJob(
      storage: storage, name: SidecarIndex.name(ofSegmentFile: slotNames[segment.slot]),
      segment: segment, seal: segment.seal(before: next),
      generations: first > appliedSequence ? Array(parts) : [], shelf: shelf,
      maps: first > appliedSequence && !parts.isEmpty
        ? index.cover(of: RecordSpan(joining: Array(parts))) : [],
      life: index.life)
  }

  /// Takes what a job has written.
  public func sidecarWritten(_ result: SidecarJob<Storage>.Result) {
    guard let index = result.index, result.life == self.index.life else { return }
    self.index.noteSidecar(index, of: result.segment, result.span)
  }

  /// It will be tried again.
  public func sidecarFailed(_ job: SidecarJob<Storage>) {
    if job.life == index.life { failedSidecars.insert(job.segment.number) }
  }

  // MARK: Index and apply

  /// Where the newest bytes at `offset` are. Only what is committed may be read: call `commit`
  /// first in the same turn. Does not block: what is `unresolved` must be asked of `closedIndex`
  /// by somebody who may wait, and the oldest segment be pinned until its bytes are read.
  @inline(__always)
  public func piece(
    disk: DiskNumber, at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    index.piece(disk: disk, at: offset, limit: limit)
  }

  /// Closes the active generation, without closing the segment, so that it can be applied.
  public func freezeActive() throws(JournalError) {
    try commit()
    freezeIndex()
  }

  /// Segments with records up to `sequence` whose sums must be checked before these reach a disk.
  public func segmentsToVerify(through sequence: SequenceNumber) -> [Segment<Storage.File>] {
    if unverifiedSegments.isEmpty { return [] }
    return segments(after: appliedSequence, through: sequence).filter {
      unverifiedSegments.contains($0.number)
    }
  }

  public func segmentsVerified(_ segments: [Segment<Storage.File>]) {
    unverifiedSegments.subtract(segments.map(\.number))
  }

  /// The disks have what is before the first record that is not applied.
  private func raiseFloor() {
    let unapplied = segments(after: appliedSequence, through: lastSequence).first
    index.floor = max(index.floor, (unapplied ?? segments.last)?.number ?? 0)
  }

  /// The bases hold everything through `sequence`, durably, and the state file says so.
  public func applyCompleted(through sequence: SequenceNumber) {
    precondition(sequence <= appended, "more is applied than was written")
    appliedSequence = max(appliedSequence, sequence)
    index.drop(through: sequence)
    // The disks have what is before: nobody who looks up now may hold up its recycling.
    raiseFloor()
    watermarks[.applied] = appliedSequence.rawValue
  }

  // MARK: Replicated records

  /// Opens the segment that the peer begins. It must follow the last record.
  public func acceptSegment(_ header: SegmentHeader) throws(JournalError) {
    guard header.identity.group == group else { throw .notNext("segment of another group") }
    guard header.number >= oldestNumber else {
      throw .notNext("segment \(header.number), of which all was applied before")
    }
    guard header.segmentByteCount == options.segmentByteCount else {
      throw .mismatch(
        "the peer's segments have \(header.segmentByteCount) bytes and this site's "
          + "\(options.segmentByteCount): give both groups the same segment_size")
    }
    // A full copy begins with what the peer has not applied; that may be from before its last
    // crash.
    if let last = segments.last?.header {
      guard header.epoch >= last.epoch else {
        throw .notNext("segment of epoch \(header.epoch), after epoch \(last.epoch)")
      }
      guard header.epoch > last.epoch || header.incarnation == last.incarnation else {
        throw .notNext("segment of another timeline, incarnation \(header.incarnation.identifier)")
      }
    }
    guard header.firstSequence > .none, header.number > 0, header.number < .max else {
      throw .notNext("segment \(header.number) from record \(header.firstSequence.rawValue)")
    }
    #if MUTANTS
      if Mutant.dropOnReconnect.isOn { lastSequence = .init(header.firstSequence.rawValue - 1) }
    #endif
    guard header.firstSequence == lastSequence.advanced(by: 1),
      segments.last.map({ $0.number + 1 == header.number }) ?? true
    else {
      throw .notNext(
        "segment \(header.number) begins at record \(header.firstSequence.rawValue), expected "
          + "\(lastSequence.rawValue + 1)")
    }
    guard header.firstTimestamp > lastTimestamp else {
      throw .notNext("segment \(header.number) begins before the end of the one before")
    }
    try sealActive()
    lineage.note(header.incarnation)
    try open(header)
    // No record of it may be earlier than that: a scan would end there. Nor than what was promised:
    // of a segment that begins before, its owner may have lost all but the header.
    let first = Timestamp(rawValue: header.firstTimestamp.rawValue - 1)
    stampFloor = max(first, promisedTimestamp)
  }

  /// Verifies and stages the whole records at the start of `bytes`, which continue the active
  /// segment; the memory must stay unchanged until `commit`. Returns how many bytes were taken;
  /// the rest is the beginning of a record, or begins with a marker of a disk: see `nextChange`.
  /// Throws when the bytes are not the next records; what came before the bad one stays staged.
  public func accept(
    _ bytes: UnsafeMutableRawBufferPointer, disks: [UInt64]
  ) throws(JournalError) -> Int {
    guard let segment = active, let base = bytes.baseAddress else {
      throw .notNext("records before a segment")
    }
    var taken = 0
    while taken + RecordHeader.byteCount <= bytes.count {
      let record = unsafe base + taken
      guard let header = unsafe RecordHeader(parsing: record) else {
        throw .notNext("not a record at position \(activeEnd) of segment \(segment.number)")
      }
      let byteCount = RecordHeader.byteCount + header.payloadByteCount
      if taken + byteCount > bytes.count { break }
      let checksumStart = segment.checksumSeed ^ UInt32(truncatingIfNeeded: activeCount)
      guard header.timestamp > stampFloor else {
        let verifies = unsafe header.verifies(record, checksumStart: checksumStart)
        throw tooEarly(header, verifies: verifies)
      }
      guard activeEnd + byteCount <= activeLimit else {
        throw .notNext("record exceeds its segment")
      }
      guard unsafe header.verifies(record, checksumStart: checksumStart) else {
        throw .notNext("checksum of record \(lastSequence.rawValue + 1) is wrong")
      }
      if header.kind == .disk, admitted != lastSequence.advanced(by: 1) {
        nextChange = try unsafe diskChange(header, record)
        break
      }
      try checkPlace(header, disks)
      try unsafe stage(header, record, byteCount, in: segment)
      taken += byteCount
    }
    return taken
  }

  /// - Parameter verifies: what the record says is what the peer wrote.
  private func tooEarly(_ header: RecordHeader, verifies: Bool) -> JournalError {
    let sequence = lastSequence.advanced(by: 1)
    if verifies, header.timestamp <= promisedTimestamp {
      return .brokenPromise(
        sequence: sequence, of: header.timestamp, promised: promisedTimestamp)
    }
    return .notNext("record \(sequence.rawValue) is not later than the one before")
  }

  /// Of a record that verifies: what it says is what the peer wrote.
  private func checkPlace(_ header: RecordHeader, _ disks: [UInt64]) throws(JournalError) {
    if header.kind.isMarker { return }
    guard header.disk.index < disks.count else {
      throw .notNext("there is no disk \(header.disk.rawValue)")
    }
    guard header.range.end <= disks[header.disk.index] else {
      throw .behindEnd(
        sequence: lastSequence.advanced(by: 1), disk: header.disk, end: header.range.end)
    }
  }

  /// Where the next replicated byte belongs; nil segment: a new one must be begun.
  public var acceptPosition: (segment: UInt32, offset: Int)? {
    active.map { ($0.number, activeEnd) }
  }
}
