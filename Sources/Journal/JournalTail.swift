import BlockModel
import SystemIO

/// The records of a journal that come after one of its records, as files hold them: the segments
/// that begin behind it, which are whole, and the end of the segment in which it lies. Works on a
/// folder that nobody has open.
public struct JournalTail<Storage: JournalStorage>: Sendable {
  /// A segment, and the file that holds it.
  public struct Part: Equatable, Sendable {
    public let file: String
    public let header: SegmentHeader
  }

  /// The segment in which the record lies, when others of it follow.
  public struct Divided: Equatable, Sendable {
    public let part: Part
    /// Where the first record that follows begins, in bytes from the start of the file.
    let position: Int
    /// Of the last record.
    let end: Int
  }

  /// Nil when no record follows in that segment, or none does any more.
  public let divided: Divided?
  /// In ascending order of their numbers. Also what recovery would leave out, being of a timeline
  /// that ended: it does so wherever they are.
  public let whole: [Part]
  /// The last record that the folder holds.
  public let last: SequenceNumber

  /// The lowest number of a segment that has some of them; nil when there are none.
  public var firstNumber: UInt32? { divided?.part.header.number ?? whole.first?.header.number }

  /// Reads no more than a start does, and part of one segment. Blocks.
  ///
  /// - Parameter state: applied at most up to `record`.
  public init(
    after record: SequenceNumber, of state: JournalState, in storage: Storage
  ) throws(JournalError) {
    let slots = try JournalRecovery<Storage>.open(storage)
    let survey = try SlotSurvey(storage, slots, state, isUnsure: !state.isClean)
    let decision = RecoveryDecision.decide(
      survey.facts, applied: state.applied.sequence, cut: nil)
    last = decision.lastSequence(applied: state.applied.sequence)
    whole = survey.facts.compactMap { fact in
      fact.header.flatMap { header in
        header.firstSequence > record ? Part(file: slots[fact.slot].name, header: header) : nil
      }
    }.sorted { $0.header.number < $1.header.number }
    divided = try Self.divided(after: record, decision, slots)
  }

  private static func divided(
    after record: SequenceNumber, _ decision: RecoveryDecision,
    _ slots: [JournalRecovery<Storage>.Slot]
  ) throws(JournalError) -> Divided? {
    let holder = decision.chain.first { kept in
      let first = kept.facts.firstSequence
      return first <= record && record.advanced(by: 1) < first.advanced(by: kept.recordCount)
    }
    guard let holder, let header = holder.facts.header else { return nil }
    let slot = slots[holder.facts.slot]
    var scanner = SegmentScanner(
      slot.file, header: header, limit: holder.facts.end, depth: .headersOnly)
    let kept = record.advanced(by: 1).distance(from: header.firstSequence)
    do throws(Errno) {
      while scanner.recordCount < kept, try scanner.next() != nil {}
    } catch { throw .storage(error, doing: "reading \(slot.name)") }
    guard scanner.recordCount == kept else {
      throw .damaged("record \(record.rawValue) in \(slot.name) does not verify")
    }
    return Divided(
      part: Part(file: slot.name, header: header), position: scanner.position,
      end: holder.facts.end)
  }

  /// All segments of the group whose files the folder has, in ascending order of their numbers.
  /// Blocks.
  public static func segments(
    of group: GroupIdentifier, in storage: Storage
  ) throws(JournalError) -> [Part] {
    var found: [Part] = []
    for slot in try JournalRecovery<Storage>.open(storage) {
      guard let header = try JournalRecovery<Storage>.readHeader(of: slot.file),
        header.identity.group == group
      else { continue }
      found.append(Part(file: slot.name, header: header))
    }
    return found.sorted { $0.header.number < $1.header.number }
  }

  // MARK: The divided segment

  /// Makes a copy of the divided segment in another folder, under the same name, unless a whole one
  /// is there. Its header comes last: without that the file holds nothing. Durable when it returns.
  /// Blocks.
  public func copyDivided(
    from storage: Storage, to other: Storage
  ) throws(JournalError) {
    guard let divided else { return }
    let (name, header) = (divided.part.file, divided.part.header)
    do throws(Errno) {
      if try other.names().contains(name), try Self.header(of: other.open(name)) == header {
        return
      }
      let source = try storage.openToRead(name)
      let target = try other.allocate(name, byteCount: Int(header.segmentByteCount))
      try Self.copy(source, target, SegmentHeader.byteCount..<divided.end)
      try target.syncData()
      try Self.copy(source, target, 0..<SegmentHeader.byteCount)
      try target.syncData()
    } catch { throw .storage(error, doing: "copying \(name)") }
  }

  private static func header(of file: Storage.File) throws(Errno) -> SegmentHeader? {
    // One of another version is not the group's own.
    do throws(JournalError) { return try JournalRecovery<Storage>.readHeader(of: file) } catch {
      if case .storage(let errno, _) = error { throw errno }
      return nil
    }
  }

  private static func copy(
    _ source: Storage.File, _ target: Storage.File, _ range: Range<Int>
  ) throws(Errno) {
    let buffer = PageBuffer(byteCount: 1 << 20)
    var position = range.lowerBound
    while position < range.upperBound {
      let count = min(buffer.count, range.upperBound - position)
      let piece = unsafe UnsafeMutableRawBufferPointer(start: buffer.base, count: count)
      guard try unsafe source.read(into: piece, at: UInt64(position)) == count else { throw .io }
      try unsafe target.write(UnsafeRawBufferPointer(piece), at: UInt64(position))
      position += count
    }
  }

  /// What follows the record in the divided segment is void. First its sidecar, which says that it
  /// is there. Needs no space. Durable when it returns. Blocks.
  public func voidDivided(in storage: Storage) throws(JournalError) {
    guard let divided else { return }
    let name = divided.part.file
    do throws(Errno) {
      let sidecar = SidecarIndex.name(ofSegmentFile: name)
      if try storage.names().contains(sidecar) { try Self.blank(storage.open(sidecar), at: 0) }
      try Self.blank(storage.open(name), at: divided.position)
    } catch { throw .storage(error, doing: "cutting \(name)") }
  }

  /// A segment that was begun, and holds no record, is none. Durable when it returns. Blocks.
  ///
  /// - Returns: false: it holds records, and stays.
  public static func void(
    unused part: Part, in storage: Storage
  ) throws(JournalError) -> Bool {
    do throws(Errno) {
      let file = try storage.open(part.file)
      var scanner = SegmentScanner(
        file, header: part.header, limit: Int(part.header.segmentByteCount))
      if try scanner.next() != nil { return false }
      try blank(file, at: 0)
      return true
    } catch { throw .storage(error, doing: "erasing \(part.file)") }
  }

  private static func blank(_ file: Storage.File, at position: Int) throws(Errno) {
    let zeros = PageBuffer(byteCount: SegmentHeader.byteCount)
    let head = unsafe UnsafeRawBufferPointer(rebasing: zeros.bytes[..<RecordHeader.byteCount])
    try unsafe file.write(head, at: UInt64(position))
    try file.syncData()
  }
}

extension JournalState {
  /// Of a journal that holds what this one does after `last`, and is never applied: its base is
  /// what this one shows then.
  ///
  /// - Parameters:
  ///   - name: of its group.
  ///   - start: no earlier instant can be opened; at or after `last`.
  ///   - firstNumber: of its segments.
  ///   - promised: nothing at or before it would have followed its last record.
  public func parked(
    after last: Mark, as name: String, from start: Timestamp, firstNumber: UInt32,
    promised: Timestamp
  ) -> JournalState {
    var parked = self
    parked.groupName = name
    parked.ownership = Ownership(
      duty: .following, term: ownership.term, configured: .following, isTaken: ownership.isTaken)
    // A step of apply may have begun: before its end the disks are no state of the group.
    parked.applied = last
    parked.applyTarget = applyTarget.sequence > last.sequence ? applyTarget : last
    parked.durable = max(durable, last.sequence)
    parked.followers = []
    (parked.fork, parked.fences) = (nil, [])
    parked.historyStart = max(start, historyStart, parked.applyTarget.timestamp)
    // What is here can be opened, also where its history was to begin later.
    parked.promise = Promise(given: max(promised, parked.historyStart))
    parked.oldestSegment = firstNumber
    return parked
  }
}
