import BlockModel
import Journal
import Storage
import SystemIO

/// The streaming part of one connection: where the sender is, and one step at a time.
struct LinkStream<Store: BackingStore>: ~Copyable {
  /// Batches below this wait a moment for more: at most so many steps a second.
  private static var smallBatchByteCount: Int { 256 << 10 }
  private static var pauseMilliseconds: UInt64 { 20 }
  private static var idleStepsBeforeSleep: Int { 10 }
  private static var heartbeatNanoseconds: UInt64 { 100_000_000 }
  private static var chunkByteLimit: Int { RecordHeader.payloadLimit + RecordHeader.byteCount }
  /// Pieces of a baseline between two looks at the journal.
  private static var baselineBurst: Int { 4 }

  private let parts: LinkSender<Store>.Parts
  private let monitor: LinkMonitor
  private let channel: LinkChannel
  /// What the peer was told last.
  private var hello: LinkHello
  /// Pinned while it is sent.
  private var segment: Segment<File>?
  private var offset = 0
  /// While no segment is sent: the record with which the next one begins.
  private var awaited: UInt64 = 0
  private var baseline: BaselineReader<Store>?
  private var pace = CopyPace(total: 0, lacking: 0, nowNanoseconds: 0)
  /// While a full copy runs: what all of its pieces that are still to come hold at least.
  private var copiedThrough: UInt64 = 0
  /// The next record that cannot be sent as it is in the journal, as far as is known.
  private var damage: DamagedRecord?
  /// The record for which the segment that holds it cannot be sent, as far as is known.
  private var loss: DamagedRecord?
  private var repair: RecordRepair<Store>
  private var policy = CompressionPolicy()
  private let plain = PageBuffer(byteCount: Self.chunkByteLimit)
  private let packed = PageBuffer(byteCount: LZ4.compressedLimit(Self.chunkByteLimit) + 4)
  private var idleSteps = 0
  private var lastHeartbeat: UInt64 = 0
  /// When the last frame of the peer came.
  private var lastHeard = SystemClock.monotonicNanoseconds()
  /// Of what the peer was told that it is durable here.
  private var toldDurable: UInt64 = 0
  private var lastDurableTold: UInt64 = 0

  init(
    parts: LinkSender<Store>.Parts, hello: LinkHello, monitor: LinkMonitor, channel: LinkChannel
  ) {
    self.parts = parts
    self.hello = hello
    self.monitor = monitor
    self.channel = channel
    repair = RecordRepair(stores: parts.disks.stores)
  }

  mutating func end() {
    segment?.unpin()
    segment = nil
  }

  // MARK: Beginning

  /// False when the journal does not reach back to what the receiver needs next, or has damage
  /// there that only a full copy repairs.
  mutating func resume(_ welcome: LinkWelcome) throws(LinkError) -> Bool {
    parts.reporter.goesOn(after: welcome.sequence)
    if welcome.position.segment == 0 {
      awaited = welcome.sequence.rawValue + 1
      guard moveToAwaited() != .missing else { return false }
    } else if let found = parts.catalog.pinned(welcome.position.segment) {
      segment = found
      offset = Int(welcome.position.offset)
      #if MUTANTS
        if Mutant.dropOnReconnect.isOn { offset = found.end }
      #endif
      guard offset >= SegmentHeader.byteCount, offset <= found.end else {
        throw .protocolViolation(
          "the peer asks for position \(offset) of segment \(found.number), which ends at "
            + "\(found.end)")
      }
    } else if let next = parts.catalog.segment(holding: welcome.sequence.rawValue + 1),
      next.firstSequence.rawValue == welcome.sequence.rawValue + 1
    {
      // It has all of a segment that is recycled here, and goes on with the next.
      guard moveTo(next) else { return false }
    } else {
      return false
    }
    guard try canSendNext(welcome.sequence.advanced(by: 1)) else { return false }
    try channel.send(LinkFrame(.begin))
    lastHeard = SystemClock.monotonicNanoseconds()
    monitor.update {
      $0.state = .connected
      $0.isRecoverable = true
    }
    return true
  }

  /// Looks at the first record to be sent: where a record is damaged, the link breaks at it, and
  /// begins again with it.
  private mutating func canSendNext(_ sequence: SequenceNumber) throws(LinkError) -> Bool {
    guard let segment else { return true }
    let position = max(offset, SegmentHeader.byteCount)
    damage = try repair.firstDamage(in: segment, from: position, sequence, limit: 1)
    guard let damage else { return true }
    try checkIsApplied(damage)
    if repair.restore(damage, in: segment) != nil { return true }
    noteRepair(of: damage, "is not on the disk any more as it was: a full copy follows")
    return false
  }

  /// The disks hold only what is applied.
  private func checkIsApplied(_ damage: DamagedRecord) throws(LinkError) {
    if damage.sequence <= parts.watermarks.sequence(.applied) { return }
    throw .local(
      "\(damage) is damaged, and is not applied to the disk: nothing after it "
        + "can be sent until it is")
  }

  private func noteRepair(of damage: DamagedRecord, _ outcome: String) {
    let text = "\(damage) is damaged and \(outcome)"
    if monitor.snapshot.repair == text { return }
    monitor.update { $0.repair = text }
    parts.log("group \(parts.hello.groupName): \(text)")
  }

  private enum Move { case moved, nothingYet, missing }

  /// To the segment that begins with the record which the receiver awaits. It is `missing` when
  /// that record is there, but not as the first one of a segment.
  private mutating func moveToAwaited() -> Move {
    // In this order: a record that is appended has its segment in the catalog.
    let appended = parts.watermarks[.appended]
    if let next = parts.catalog.segment(holding: awaited), next.firstSequence.rawValue == awaited {
      return moveTo(next) ? .moved : .missing
    }
    return appended < awaited ? .nothingYet : .missing
  }

  /// Pins the segment and starts at its header. False when it is recycled.
  private mutating func moveTo(_ next: Segment<File>) -> Bool {
    guard let pinned = parts.catalog.pinned(next.number) else { return false }
    segment?.unpin()
    segment = pinned
    offset = 0
    return true
  }

  /// Starts a full copy, or goes on with the one that the receiver names if that is known here.
  /// Until little is lacking, no records are sent and none are kept for the peer: `CopyDebt` knows
  /// what changes.
  ///
  /// - Parameters:
  ///   - copy: what the receiver has of one; `.none`: nothing that counts.
  ///   - seen: what the receiver has, all of which the operator has given up.
  mutating func beginCopy(
    resuming copy: JournalState.Copy = .none, discarding seen: JournalState.OwnerMark? = nil
  ) throws(LinkError) {
    let debt = parts.follower.debt
    let byteCounts = hello.disks.byteCounts
    let isKnown = debt.resume(copy)
    let number = isKnown ? copy.number : debt.begin(byteCounts)
    if isKnown { debt.adjust(to: byteCounts) }
    #if MUTANTS
      if Mutant.joinForeignCopy.isOn, !isKnown, copy.stored > 0 {
        for disk in hello.disks {
          debt.take(disk.number.index, ByteRange(start: 0, length: disk.byteCount / 2))
        }
      }
    #endif
    parts.reporter.copyBegins()
    try channel.send(LinkFrame(.copyBegin, argument: number), LinkMessage.encodeDiscarded(seen))
    lastHeard = SystemClock.monotonicNanoseconds()
    baseline = BaselineReader(parts.disks.stores, debt)
    let (total, lacking) = (debt.totalByteCount, debt.lackingByteCount)
    pace = CopyPace(
      total: total, lacking: lacking, nowNanoseconds: SystemClock.monotonicNanoseconds())
    monitor.update {
      $0.state = .syncing
      $0.syncProgress = Self.progress(lacking, of: total)
      $0.isRecoverable = false
    }
    parts.log(
      "group \(parts.hello.groupName): the full copy to \(monitor.peerSite) "
        + (isKnown ? "goes on, \(ByteCount.format(lacking)) are left" : "begins"))
  }

  private static func progress(_ lacking: UInt64, of total: UInt64) -> Double {
    total == 0 ? 1 : max(0, 1 - Double(lacking) / Double(total))
  }

  /// Records are sent from the segment that holds the first one which the base does not hold yet,
  /// so whatever the rest of the copy misses, they bring.
  private mutating func follow() throws(LinkError) {
    // Before `debt.follow`: what is noted after it is later than this.
    let applied = parts.watermarks[.applied]
    var start = applied
    if let first = parts.catalog.segment(holding: applied + 1) {
      // Pinned before it is looked at: what lies in the slot of a recycled one is no damage. If it
      // was recycled in this moment, the next step finds another.
      guard moveTo(first) else { return }
      switch try beginning(at: first, applied) {
      case .segment: start = first.firstSequence.rawValue - 1
      case .behind: end()
      case .notYet:
        end()
        return try readProgress(timeoutMilliseconds: Int32(Self.pauseMilliseconds))
      }
    }
    parts.follower.debt.follow()
    awaited = start + 1
    parts.reporter.copyFollows(from: SequenceNumber(start))
    try channel.send(LinkFrame(.baselineBegin, argument: start))
    // The receiver forgets it with its journal.
    toldDurable = 0
    copiedThrough = applied
    pace.noteFollowing()
  }

  /// Where the records begin that follow a full copy.
  private enum Beginning {
    case segment
    /// With the next record that comes: the copy has all that is in the segment.
    case behind
    case notYet
  }

  /// No record can be left out of a segment. So where one is lost, the records begin where none of
  /// it is needed any more, and the next one must not come in it.
  private mutating func beginning(
    at first: Segment<File>, _ applied: UInt64
  ) throws(LinkError) -> Beginning {
    // It is sealed before the mark is read: what comes then begins another.
    let isSealed = first.isSealed
    if loss?.segment != first.number { loss = try repair.firstLoss(in: first) }
    guard let loss else {
      damage = try repair.firstDamage(
        in: first, from: SegmentHeader.byteCount, first.firstSequence)
      return .segment
    }
    if isSealed, parts.catalog.newest?.number == first.number,
      parts.watermarks[.appended] == applied
    {
      return .behind
    }
    monitor.askToEnd(first.number)
    noteRepair(
      of: loss,
      "cannot be made again: the full copy goes on once all of that segment is applied")
    return .notYet
  }

  // MARK: Steps

  /// Sends what there is, reads what the peer reports, and waits a moment if there was little.
  mutating func step() throws(LinkError) {
    if parts.follower.isDetached, baseline == nil || pace.isFollowing { throw .tooFarBehind }
    try readProgress(timeoutMilliseconds: 0)
    try checkIsHeard()
    try tellGrowth()
    let isCopying = try stepBaseline()
    let sent = try sendRecords()
    try tellDurable()
    monitor.update { $0.wireByteCount += channel.takeSentByteCount() }
    if isCopying || sent >= Self.smallBatchByteCount {
      idleSteps = 0
      return
    }
    try sendHeartbeat()
    if sent > 0 {
      idleSteps = 0
      Thread.sleep(milliseconds: Self.pauseMilliseconds)
    } else if idleSteps < Self.idleStepsBeforeSleep {
      idleSteps += 1
      try readProgress(timeoutMilliseconds: Int32(Self.pauseMilliseconds))
    } else {
      parts.follower.arm()
      if !hasRecords {
        parts.follower.wait(orReadable: channel.socket, timeoutMilliseconds: 100)
      }
    }
  }

  /// Disks have become larger, have come or left: says hello again. A full copy is of the disks
  /// that it began with, so another connection goes on with it.
  private mutating func tellGrowth() throws(LinkError) {
    let disks = parts.disks.noted
    if hello.disks == disks { return }
    if disks.map(\.number) != hello.disks.map(\.number) {
      if baseline != nil {
        throw .local("disks have come or left: the full copy goes on with them")
      }
      repair = RecordRepair(stores: parts.disks.stores)
    }
    hello = parts.presentHello
    try channel.send(LinkFrame(.hello), hello.encoded())
  }

  private var hasRecords: Bool {
    guard let segment else { return parts.watermarks[.appended] >= awaited }
    // A sealed segment that was sent whole is left once there is another.
    return segment.end > offset
      || segment.isSealed && parts.catalog.segment(segment.number + 1) != nil
  }

  /// Returns the number of bytes sent.
  private mutating func sendRecords() throws(LinkError) -> Int {
    var total = 0
    if baseline != nil, !pace.isFollowing { return 0 }
    while total < 16 << 20 {
      if segment == nil, moveToAwaited() == .missing { throw .tooFarBehind }
      guard let segment else { return total }
      if baseline != nil, !isCopied(segment) { return total }
      let isSealed = segment.isSealed
      let damage = self.damage.flatMap { $0.segment == segment.number ? $0 : nil }
      let end = min(segment.end, damage?.position ?? .max)
      if offset == 0 { try sendHeader(segment) }
      if let damage, damage.position == offset {
        total += try sendRestored(damage, segment)
      } else if end > offset {
        total += try sendRange(segment, end)
      } else if isSealed, let next = parts.catalog.segment(segment.number + 1) {
        guard moveTo(next) else { throw .tooFarBehind }
      } else {
        return total
      }
    }
    return total
  }

  /// The receiver applies nothing that a piece may still overwrite with something older. So that
  /// its journal does not fill up with that, it is not sent before. It stays here anyway, because
  /// it is not applied here either.
  private func isCopied(_ segment: Segment<File>) -> Bool {
    #if MUTANTS
      if Mutant.applyDuringCopy.isOn { return true }
    #endif
    guard let next = parts.catalog.segment(segment.number + 1) else { return false }
    return next.firstSequence.rawValue <= copiedThrough + 1
  }

  private mutating func sendHeader(_ segment: Segment<File>) throws(LinkError) {
    try channel.send(
      LinkFrame(.segment, argument: UInt64(segment.number) << 32), segment.header.encoded())
    offset = SegmentHeader.byteCount
  }

  /// Sends some or all of the segment's records up to `end`.
  private mutating func sendRange(_ segment: Segment<File>, _ end: Int) throws(LinkError) -> Int {
    channel.hasWaited = false
    let start = SystemClock.monotonicNanoseconds()
    let count: Int
    if policy.shouldCompress() {
      count = try sendCompressed(segment, end)
    } else {
      count = end - offset
      let position = StreamPosition(segment: segment.number, offset: UInt32(offset))
      try channel.send(
        LinkFrame(.records, argument: position.argument), file: segment.file,
        at: UInt64(offset), count: count)
    }
    if channel.hasWaited {
      policy.noteSent(
        byteCount: count, nanoseconds: SystemClock.monotonicNanoseconds() - start)
    }
    offset += count
    monitor.update { $0.sentByteCount += UInt64(count) }
    return count
  }

  /// Sends a record that is damaged in the journal, as the disk has it.
  private mutating func sendRestored(
    _ damaged: DamagedRecord, _ segment: Segment<File>
  ) throws(LinkError) -> Int {
    guard let count = repair.restore(damaged, in: segment) else {
      // Asked again when the link begins again.
      throw .local("\(damaged) is damaged, and what it wrote was just written over")
    }
    let position = StreamPosition(segment: segment.number, offset: UInt32(offset))
    try unsafe channel.send(
      LinkFrame(.records, argument: position.argument), [],
      payload: UnsafeRawBufferPointer(start: repair.room.base, count: count))
    offset += count
    monitor.update {
      $0.sentByteCount += UInt64(count)
      $0.restoredCount += 1
    }
    noteRepair(of: damaged, "was sent as it is on the disk")
    damage = try repair.firstDamage(in: segment, from: offset, damaged.sequence.advanced(by: 1))
    if let damage { try checkIsApplied(damage) }
    return count
  }

  /// Sends whole records, at most a chunk of them, in LZ4 if that makes them smaller.
  private mutating func sendCompressed(
    _ segment: Segment<File>, _ end: Int
  ) throws(LinkError) -> Int {
    let wanted = min(end - offset, plain.count)
    let target = unsafe UnsafeMutableRawBufferPointer(start: plain.base, count: wanted)
    do throws(Errno) {
      let got = try unsafe segment.file.read(into: target, at: UInt64(offset))
      guard got == wanted else { throw Errno.io }
    } catch { throw .local("reading journal segment \(segment.number): \(error)") }
    let count = unsafe Self.wholeRecords(UnsafeRawBufferPointer(target))
    guard count > 0 else {
      throw .protocolViolation(
        "the peer asks for position \(offset) of segment \(segment.number): no record begins there")
    }
    let source = unsafe UnsafeRawBufferPointer(rebasing: target[..<count])
    let start = SystemClock.monotonicNanoseconds()
    let room = unsafe UnsafeMutableRawBufferPointer(start: packed.base, count: packed.count)
    let compressed = unsafe LZ4.compress(source, into: room) ?? count
    policy.noteCompressed(
      from: count, to: compressed, nanoseconds: SystemClock.monotonicNanoseconds() - start)
    let position = StreamPosition(segment: segment.number, offset: UInt32(offset))
    if compressed < count {
      var prefix = WireEncoder()
      prefix.put(UInt32(count))
      try unsafe channel.send(
        LinkFrame(.compressedRecords, argument: position.argument), prefix.bytes,
        payload: UnsafeRawBufferPointer(rebasing: room[..<compressed]))
    } else {
      try unsafe channel.send(
        LinkFrame(.records, argument: position.argument), [], payload: source)
    }
    return count
  }

  /// The length of the whole records at the start of `bytes`.
  private static func wholeRecords(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard let base = bytes.baseAddress else { return 0 }
    var end = 0
    while end + RecordHeader.byteCount <= bytes.count,
      let header = unsafe RecordHeader(parsing: base + end)
    {
      let next = end + RecordHeader.byteCount + header.payloadByteCount
      if next > bytes.count { break }
      end = next
    }
    return end
  }

  // MARK: Baseline

  /// The next step of the full copy. False when none runs.
  private mutating func stepBaseline() throws(LinkError) -> Bool {
    if baseline == nil { return false }
    let debt = parts.follower.debt
    let now = SystemClock.monotonicNanoseconds()
    let lacking = debt.lackingByteCount
    monitor.update { $0.syncProgress = Self.progress(lacking, of: debt.totalByteCount) }
    switch pace.next(lacking: lacking, isConfirmed: debt.isConfirmed, nowNanoseconds: now) {
    case .send: try sendPieces()
    case .confirm:
      pace.noteConfirming(nowNanoseconds: now)
      try channel.send(LinkFrame(.baselineConfirm, argument: debt.mark()))
    case .wait: try readProgress(timeoutMilliseconds: Int32(Self.pauseMilliseconds))
    case .follow: try follow()
    case .end:
      baseline = nil
      try endBaseline()
      return false
    }
    return true
  }

  private mutating func sendPieces() throws(LinkError) {
    guard var reader = baseline.take() else { return }
    for _ in 0..<Self.baselineBurst {
      // The mark first, then the data: what is read holds at least so much.
      let applied = parts.watermarks.sequence(.applied)
      let piece: BaselineReader<Store>.Piece?
      do throws(StorageError) { piece = try reader.next() } catch {
        throw .local("reading a disk for the initial sync: \(error)")
      }
      // All that are to come hold so much.
      copiedThrough = applied.rawValue
      switch piece {
      case .data(let disk, let range):
        try unsafe send(reader.bytes(range), of: disk, at: range.start, applied)
        pace.noteSent(range.length)
      case .zeros(let disk, let range):
        try sendZeros(disk, range, applied)
        pace.noteSent(range.length)
      case nil: break
      }
    }
    baseline = consume reader
  }

  private func sendZeros(
    _ disk: DiskNumber, _ range: ByteRange, _ applied: SequenceNumber
  ) throws(LinkError) {
    try channel.send(
      LinkFrame(.baselineZeros),
      BaselinePiece(disk: disk, range: range, applied: applied).encoded())
  }

  /// Sends a piece: what is zeros as such, the rest in LZ4 where that pays.
  private mutating func send(
    _ bytes: UnsafeRawBufferPointer, of disk: DiskNumber, at offset: UInt64,
    _ applied: SequenceNumber
  ) throws(LinkError) {
    try unsafe ZeroRuns.forEach(bytes) { (run, isZero) throws(LinkError) in
      let range = ByteRange(start: offset + UInt64(run.lowerBound), length: UInt64(run.count))
      if isZero { return try sendZeros(disk, range, applied) }
      let piece = BaselinePiece(disk: disk, range: range, applied: applied)
      try unsafe sendData(piece, UnsafeRawBufferPointer(rebasing: bytes[run]))
    }
  }

  private mutating func sendData(
    _ piece: BaselinePiece, _ bytes: UnsafeRawBufferPointer
  ) throws(LinkError) {
    channel.hasWaited = false
    var kind = LinkFrameKind.baselineData
    var payload = unsafe bytes
    if policy.shouldCompress() {
      let room = unsafe UnsafeMutableRawBufferPointer(start: packed.base, count: packed.count)
      let start = SystemClock.monotonicNanoseconds()
      let compressed = unsafe LZ4.compress(bytes, into: room) ?? bytes.count
      policy.noteCompressed(
        from: bytes.count, to: compressed,
        nanoseconds: SystemClock.monotonicNanoseconds() - start)
      if compressed < bytes.count {
        kind = .compressedBaseline
        unsafe payload = unsafe UnsafeRawBufferPointer(rebasing: room[..<compressed])
      }
    }
    let start = SystemClock.monotonicNanoseconds()
    try unsafe channel.send(LinkFrame(kind), piece.encoded(), payload: payload)
    if channel.hasWaited {
      policy.noteSent(
        byteCount: payload.count, nanoseconds: SystemClock.monotonicNanoseconds() - start)
    }
  }

  private mutating func endBaseline() throws(LinkError) {
    // The copy holds nothing later than what is appended now: from this record on, the other
    // side's disks can be trusted.
    // The timestamps are read before the sequence, which is stored before them: every record at or
    // before the timestamp is at or before the sequence.
    var body = WireEncoder()
    body.put(max(parts.watermarks[.appendedTimestamp], parts.watermarks[.completeThrough]))
    let sequence = parts.watermarks[.appended]
    try channel.send(LinkFrame(.baselineEnd, argument: sequence), body.bytes)
    monitor.update { $0.syncProgress = 1 }
    parts.log("group \(parts.hello.groupName): initial sync sent to \(monitor.peerSite)")
  }

  // MARK: Progress

  /// What is durable here is not lost at a power cut: the peer may tell one from worse by it.
  private mutating func tellDurable() throws(LinkError) {
    let durable = parts.watermarks[.durable]
    guard durable > toldDurable else { return }
    let monotonic = SystemClock.monotonicNanoseconds()
    guard monotonic - lastDurableTold >= Self.heartbeatNanoseconds else { return }
    lastDurableTold = monotonic
    toldDurable = durable
    try channel.send(LinkFrame(.durable, argument: durable))
  }

  private mutating func sendHeartbeat() throws(LinkError) {
    let monotonic = SystemClock.monotonicNanoseconds()
    guard baseline == nil, monotonic - lastHeartbeat >= Self.heartbeatNanoseconds else { return }
    // The mark is read before the journal is looked at: whatever is appended later is later.
    let complete = parts.watermarks[.completeThrough]
    guard !hasRecords else { return }
    lastHeartbeat = monotonic
    try channel.send(LinkFrame(.heartbeat, argument: complete))
    if parts.follower.durable == parts.watermarks.sequence(.appended) {
      monitor.update { $0.completeThroughNanoseconds = complete }
    }
  }

  /// A receiver that is there says so each second, whatever it does meanwhile.
  private func checkIsHeard() throws(LinkError) {
    let silence = SystemClock.monotonicNanoseconds() - lastHeard
    guard silence < UInt64(LinkChannel.stallMilliseconds) * 1_000_000 else {
      throw .network("the peer said nothing for \(LinkChannel.stallMilliseconds / 1000) s")
    }
  }

  /// The peer has said something. That is a success if it has more than before, or all, or is at
  /// work on a full copy.
  private func noteSuccess(hasMore: Bool) {
    let hasAll = parts.follower.durable >= parts.watermarks.sequence(.appended)
    let now = lastHeard
    monitor.update {
      if hasMore || hasAll || $0.state == .syncing { $0.vitals.succeeded(now: now) }
    }
  }

  private mutating func readProgress(timeoutMilliseconds: Int32) throws(LinkError) {
    var timeout = timeoutMilliseconds
    while let (frame, body) = try channel.receive(timeoutMilliseconds: timeout) {
      timeout = 0
      lastHeard = SystemClock.monotonicNanoseconds()
      switch frame.kind {
      case .alive:
        noteSuccess(hasMore: false)
      case .progress:
        let progress = try LinkProgress(decoding: body)
        guard progress.received <= parts.watermarks.sequence(.appended),
          progress.durable <= progress.received
        else { throw .protocolViolation("the peer reports records that were never sent") }
        let hasMore = progress.durable > parts.follower.durable
        parts.reporter.report(
          received: progress.received, durable: progress.durable, applied: progress.applied)
        let isCopied = baseline == nil
        monitor.update {
          $0.isRecoverable = progress.isRecoverable
          if progress.isRecoverable, isCopied {
            $0.state = .connected
            $0.syncProgress = nil
          }
        }
        if progress.isRecoverable, isCopied { parts.follower.debt.end() }
        noteSuccess(hasMore: hasMore)
      case .baselineStored:
        pace.noteConfirmed(nowNanoseconds: SystemClock.monotonicNanoseconds())
        parts.follower.debt.confirm(frame.argument)
        noteSuccess(hasMore: true)
      case .welcome:
        // Its disks have grown.
        let welcome = try LinkWelcome(decoding: body)
        monitor.update { $0.peerDisks = welcome.disks }
      case .refused:
        throw .refused(String(oneLine: body))
      default:
        throw .protocolViolation("unexpected \(frame.kind)")
      }
    }
  }
}
