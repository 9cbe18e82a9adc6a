import BlockModel
import Journal
import Storage
import SystemIO

/// The records of the journal, segment by segment.
extension SendingStream {
  mutating func ask(_ task: RepairWork<Store>.Task, _ segment: Segment<File>) {
    precondition(repairs.segment == nil, "one at a time")
    repairs.prepare(task, in: segment)
    output.ask(repairs)
  }

  enum Move { case moved, nothingYet, missing }

  /// To the segment that begins with the record which the receiver awaits. It is `missing` when
  /// that record is there, but not as the first one of a segment.
  mutating func moveToAwaited() -> Move {
    // In this order: a record that is appended has its segment in the catalog.
    let appended = parts.watermarks[.appended]
    if let next = parts.catalog.segment(holding: awaited), next.firstSequence.rawValue == awaited {
      return moveTo(next) ? .moved : .missing
    }
    return appended < awaited ? .nothingYet : .missing
  }

  /// Pins the segment and starts at its header. False when it is recycled.
  mutating func moveTo(_ next: Segment<File>) -> Bool {
    guard let pinned = parts.catalog.pinned(next.number) else { return false }
    leaveSegment()
    segment = pinned
    offset = 0
    return true
  }

  mutating func leaveSegment() {
    segment?.unpin()
    segment = nil
  }

  var hasRecords: Bool {
    guard let segment else { return parts.watermarks[.appended] >= awaited }
    // A sealed segment that was sent whole is left once there is another.
    return segment.end > offset
      || segment.isSealed && parts.catalog.segment(segment.number + 1) != nil
  }

  /// Puts out the next records, and says whether there were any that may go now.
  mutating func sendRecords(_ now: UInt64) throws(LinkError) -> Bool {
    if copy != nil, !pace.isFollowing { return false }
    if now < pauseEnd, !isAwaited {
      look(by: pauseEnd)
      return false
    }
    while true {
      if segment == nil, moveToAwaited() == .missing { throw .tooFarBehind }
      guard let segment else { return false }
      if copy != nil, !isCopied(segment) { return false }
      let isSealed = segment.isSealed
      let damage = self.damage.flatMap { $0.segment == segment.number ? $0 : nil }
      let end = min(segment.end, damage?.position ?? .max)
      if offset == 0 { putHeader(segment) }
      if let damage, damage.position == offset {
        ask(.restoreAndLook(damage), segment)
        return true
      }
      let next = isSealed ? parts.catalog.segment(segment.number + 1) : nil
      if end > offset {
        guard let byteCount = try putRange(segment, end) else { return true }
        hasSent = true
        // What is followed by more, or is the rest of a segment, is no batch that more could join.
        if byteCount < Self.smallBatchByteCount, next == nil, offset == end { pause(now) }
        return true
      }
      guard let next else {
        if hasSent { pause(now) }
        return !output.isEmpty
      }
      guard moveTo(next) else { throw .tooFarBehind }
    }
  }

  private mutating func pause(_ now: UInt64) {
    hasSent = false
    // Pieces of a copy come between batches anyway.
    if copy != nil { return }
    pauseEnd = now + Self.pauseNanoseconds
    look(by: pauseEnd)
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

  private mutating func putHeader(_ segment: Segment<File>) {
    output.put(
      LinkFrame(.segment, argument: UInt64(segment.number) << 32), segment.header.encoded())
    offset = SegmentHeader.byteCount
  }

  private func frame(_ kind: LinkFrameKind, _ segment: Segment<File>) -> LinkFrame {
    let position = StreamPosition(segment: segment.number, offset: UInt32(offset))
    return LinkFrame(kind, argument: position.argument)
  }

  /// Puts out some or all of the segment's records up to `end`, and returns how many bytes of it;
  /// nil when they must be read first, for which it asks.
  private mutating func putRange(
    _ segment: Segment<File>, _ end: Int
  ) throws(LinkError) -> Int? {
    precondition(offset >= SegmentHeader.byteCount && offset < end && end <= segment.end)
    let start = parts.clock()
    let count: Int
    if isRecent(segment), !policy.shouldCompress() {
      count = end - offset
      output.put(
        frame(.records, segment), [],
        .file(segment.file, offset: UInt64(offset), byteCount: count))
    } else {
      guard let read = try putRead(segment, end) else { return nil }
      count = read
    }
    measure(count, since: start)
    turnByteCount += count
    offset += count
    precondition(offset <= end, "what is behind the end is not whole")
    monitor.update { $0.sentByteCount += UInt64(count) }
    return count
  }

  /// The work that was asked for has ended.
  mutating func worked() throws(LinkError) {
    // What was read of a copy or of a segment is taken when its turn comes.
    guard repairs.segment != nil else { return }
    try repairs.check()
    switch repairs.task {
    case .restoreAndLook: try putRestored()
    case .survey: noteSurvey()
    case .check: break
    }
  }

  /// The damaged record that comes next was made again, or could not be: it is sent as the disk has
  /// it.
  private mutating func putRestored() throws(LinkError) {
    guard let damaged = damage, let segment else { return }
    guard let count = repairs.restoredByteCount else {
      // Asked again when the link begins again.
      throw .local("\(damaged) is damaged, and what it wrote was just written over")
    }
    unsafe output.put(
      frame(.records, segment), [],
      .memory(UnsafeRawBufferPointer(start: repairs.repair.room.base, count: count)))
    offset += count
    monitor.update {
      $0.sentByteCount += UInt64(count)
      $0.restoredCount += 1
    }
    noteRepair(of: damaged, "was sent as it is on the disk")
    damage = repairs.damage
    if let damage { try checkIsApplied(damage, by: parts.watermarks.sequence(.applied)) }
  }

  /// Written so short a time ago that it is in memory: who sends it from the file waits for no
  /// disk.
  private func isRecent(_ segment: Segment<File>) -> Bool {
    guard let newest = parts.catalog.newest else { return true }
    return newest.number - segment.number <= 1
  }

  /// Puts out whole records, at most a chunk of them, in LZ4 if that pays and makes them smaller.
  private mutating func putRead(
    _ segment: Segment<File>, _ end: Int
  ) throws(LinkError) -> Int? {
    let wanted = min(end - offset, SegmentReading.byteLimit)
    guard let bytes = try unsafe reading.bytes(of: segment, at: offset, wanted) else {
      output.ask(reading)
      return nil
    }
    let count = unsafe Self.wholeRecords(bytes)
    guard count > 0 else {
      throw .protocolViolation(
        "the peer asks for position \(offset) of segment \(segment.number): no record begins there")
    }
    let source = unsafe UnsafeRawBufferPointer(rebasing: bytes[..<count])
    // Of a recent segment, that was asked before it was read instead of sent from the file.
    if isRecent(segment) || policy.shouldCompress(), let packed = unsafe compress(source) {
      var prefix = WireEncoder()
      prefix.put(UInt32(count))
      unsafe output.put(frame(.compressedRecords, segment), prefix.bytes, .memory(packed))
    } else {
      unsafe output.put(frame(.records, segment), [], .memory(source))
    }
    return count
  }

  /// The bytes in LZ4, from `start` of the room for that on; nil when that makes them no smaller.
  mutating func compress(
    _ source: UnsafeRawBufferPointer, at start: Int = 0
  ) -> UnsafeRawBufferPointer? {
    let room = unsafe UnsafeMutableRawBufferPointer(
      start: packed.base + start, count: packed.count - start)
    let begin = parts.clock()
    let count = unsafe LZ4.compress(source, into: room) ?? source.count
    policy.noteCompressed(from: source.count, to: count, nanoseconds: parts.clock() &- begin)
    guard count < source.count else { return nil }
    return unsafe UnsafeRawBufferPointer(rebasing: room[..<count])
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
}
