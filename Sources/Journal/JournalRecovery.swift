import BlockModel
import SystemIO

/// Reads a journal folder into what a `Journal` starts from. Works on the folder alone.
///
/// `SlotSurvey` tells which segments are there, of most by their sidecars, `RecoveryDecision` what
/// of them counts.
public struct JournalRecovery<Storage: JournalStorage>: Sendable {
  /// A file and the state of its slot after recovery.
  struct Slot: Sendable {
    let file: Storage.File
    let name: String
  }

  public private(set) var segments: [Segment<Storage.File>] = []
  public private(set) var generations: [Generation] = []
  /// Where their maps are.
  let shelf: IndexShelf
  public private(set) var lastSequence: SequenceNumber
  public private(set) var lastTimestamp: Timestamp
  /// Of all segments of the group that were found, also of those that are not kept.
  public private(set) var newestEpoch: UInt64 = 0
  /// Of the segments that are kept, and of those at the end whose records are all lost.
  public private(set) var incarnations: [Incarnation] = []
  /// What markers say of disks in the segments that were read: a crash may have come before the
  /// state file was told of the last ones.
  public private(set) var diskChanges: [(change: DiskChange, mark: JournalState.Mark)] = []
  /// Where the last record begins in the last segment; 0 when that has none.
  private(set) var lastRecordPosition = 0
  /// Sentences for the log: what was cut or dropped, and why that is right.
  public private(set) var notes: [String] = []
  var slots: [Slot] = []
  var freeSlots: [Int] = []
  /// For the name of the next file: not their count, because one may be missing among them.
  var nextFileNumber: Int { (slots.compactMap { Self.slot(named: $0.name) }.max() ?? -1) + 1 }
  /// For the state file, before the journal is used: `JournalState.oldestSegment`.
  public private(set) var oldestSegment: UInt32 = 0
  /// The last segment holds the last record. False when it lost applied records to damage: then
  /// the next record's index would not be the number of records in it.
  public private(set) var endsWithLastSegment = true
  /// Segments whose sidecar is there, or must not be made: behind the end of a cut one a scan would
  /// find void records.
  private(set) var indexedSegments: Set<UInt32> = []
  /// Segments for which a seal stood and that are not applied: their records were not verified.
  private(set) var trustedSegments: Set<UInt32> = []

  public static func slotName(_ slot: Int) -> String {
    let digits = String(slot)
    return "segment-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits
  }

  /// The slot number in a segment file's name; nil for other files.
  public static func slot(named name: String) -> Int? {
    guard name.hasPrefix("segment-"), !name.hasSuffix(".new") else { return nil }
    return UInt32(name.dropFirst("segment-".count)).map { Int($0) }
  }

  /// Blocks: reads and verifies the segments for which no sidecar stands: see `SlotSurvey`.
  ///
  /// - Parameter cut: records after it are void, because the peer went back to it; segments that
  ///   hold nothing else are erased.
  /// - Parameter shelf: nil: one of its own.
  public init(
    _ storage: Storage, state: JournalState, cut: SequenceNumber? = nil, shelf: IndexShelf? = nil
  ) throws(JournalError) {
    self.shelf = shelf ?? IndexShelf(storage)
    lastSequence = state.applied.sequence
    lastTimestamp = state.applied.timestamp
    slots = try Self.open(storage)
    let isUnsure = !state.isClean && cut == nil
    let survey = try SlotSurvey(storage, slots, state, isUnsure: isUnsure)
    let facts = survey.facts
    let decision = RecoveryDecision.decide(
      facts, applied: state.applied.sequence, cut: cut)
    lastSequence = decision.lastSequence(applied: state.applied.sequence)
    // A crash while a full copy began may have left segments of before.
    let vouched = state.needsBaseline ? .none : Self.vouched(survey, decision)
    // What a peer went back behind is given up; what came before must all be there.
    let durable = max(state.durable, cut.map { min(vouched, $0) } ?? vouched)
    if lastSequence < durable {
      throw .damaged(
        "records up to \(durable.rawValue) were durable, but whole records end at "
          + "\(lastSequence.rawValue)")
    }
    newestEpoch = facts.compactMap { $0.header?.epoch }.max() ?? 0
    incarnations = (decision.chain.compactMap(\.facts.header) + decision.emptied)
      .map(\.incarnation)
    if let row = decision.stop {
      notes.append(
        "dropped what followed record \(lastSequence.rawValue), which was never durable "
          + "(recovery row \(row.rawValue))")
    }
    freeSlots = decision.freeSlots
    endsWithLastSegment = decision.lastSequence(applied: .none) == lastSequence
    if cut != nil {
      // The newest first: a crash then leaves no segment behind a hole, which looks like damage.
      let newestFirst = freeSlots.filter { facts[$0].header != nil }.sorted {
        (facts[$0].header?.number ?? 0) > (facts[$1].header?.number ?? 0)
      }
      try erase(newestFirst.map { slots[$0].file })
    }
    for (index, kept) in decision.chain.enumerated() {
      try adopt(
        kept, survey, isLast: index == decision.chain.count - 1, state: state, storage)
    }
    if cut != nil, decision.chain.last?.isCut == true, let last = segments.last {
      try void(behind: last, storage)
    }
    oldestSegment = max(state.oldestSegment, segments.first?.number ?? 0)
  }

  /// The last record that a sidecar says was durable, and that no later epoch made void.
  private static func vouched(
    _ survey: SlotSurvey<Storage>, _ decision: RecoveryDecision
  ) -> SequenceNumber {
    let begun = decision.chain.compactMap(\.facts.header) + decision.emptied
    return survey.vouched.map { sidecar in
      let forks = begun.filter { $0.epoch > sidecar.epoch }.map(\.firstSequence)
      guard let fork = forks.min(), fork <= sidecar.last else { return sidecar.last }
      return SequenceNumber(fork.rawValue - 1)
    }.max() ?? .none
  }

  /// The segment files that hold something of another group, or of any group when `group` is nil:
  /// names, with the headers of those whose header verifies. Nothing of theirs may be written over
  /// for the mere reason that this group does not know them. Blocks.
  public static func filesInUse(
    _ storage: Storage, notOf group: GroupIdentifier?
  ) throws(JournalError) -> [(name: String, header: SegmentHeader?)] {
    var found: [(name: String, header: SegmentHeader?)] = []
    for slot in try open(storage) {
      let header = try readHeader(of: slot.file)
      if let header {
        if header.identity.group != group { found.append((slot.name, header)) }
      } else if group == nil, try !isBlank(slot.file, 2 * SegmentHeader.byteCount) {
        found.append((slot.name, nil))
      }
    }
    return found
  }

  private static func isBlank(
    _ file: Storage.File, _ byteCount: Int
  ) throws(JournalError) -> Bool {
    let start = PageBuffer(byteCount: byteCount)
    do throws(Errno) {
      let count = try unsafe file.read(into: UnsafeMutableRawBufferPointer(start.bytes), at: 0)
      return unsafe start.bytes.prefix(count).allSatisfy { $0 == 0 }
    } catch { throw .storage(error, doing: "reading a segment header") }
  }

  /// Forgets everything in the folder: all files become free. Durable when it returns.
  public init(
    erasing storage: Storage, state: JournalState, shelf: IndexShelf? = nil
  ) throws(JournalError) {
    self.shelf = shelf ?? IndexShelf(storage)
    lastSequence = state.applied.sequence
    lastTimestamp = state.applied.timestamp
    slots = try Self.open(storage)
    freeSlots = Array(slots.indices)
    var used: [Storage.File] = []
    for slot in slots where try !Self.isBlank(slot.file, SegmentHeader.byteCount) {
      used.append(slot.file)
    }
    try erase(used)
  }

  /// Blanks the headers, so that what the files hold can never be taken for records again.
  private func erase(_ files: [Storage.File]) throws(JournalError) {
    let blank = PageBuffer(byteCount: SegmentHeader.byteCount)
    do throws(Errno) {
      for file in files {
        try unsafe file.write(UnsafeRawBufferPointer(blank.bytes), at: 0)
        try file.syncData()
      }
    } catch { throw .storage(error, doing: "erasing segments") }
  }

  /// What follows the end of a segment that is cut can never be taken for records again: a start as
  /// owner would, with nobody to cut it once more. First its sidecar, which says that they are
  /// there.
  private func void(
    behind last: Segment<Storage.File>, _ storage: Storage
  ) throws(JournalError) {
    let blank = PageBuffer(byteCount: SegmentHeader.byteCount)
    let head = unsafe UnsafeRawBufferPointer(rebasing: blank.bytes[..<RecordHeader.byteCount])
    do throws(Errno) {
      let name = SidecarIndex.name(ofSegmentFile: slots[last.slot].name)
      if try storage.names().contains(name) {
        // Where it cannot be changed, all stays as it is: the peer cuts once more.
        guard let sidecar = try? storage.open(name),
          unsafe (try? sidecar.write(head, at: 0)) != nil, (try? sidecar.syncData()) != nil
        else { return }
      }
      if last.end + head.count <= Int(last.header.segmentByteCount) {
        try unsafe last.file.write(head, at: UInt64(last.end))
        try last.file.syncData()
      }
    } catch { throw .storage(error, doing: "cutting a segment") }
  }

  static func open(_ storage: Storage) throws(JournalError) -> [Slot] {
    do throws(Errno) {
      var slots: [Slot] = []
      for name in try storage.names() where slot(named: name) != nil {
        slots.append(Slot(file: try storage.open(name), name: name))
      }
      return slots
    } catch { throw .storage(error, doing: "opening the segment files") }
  }

  /// The header of a segment file; nil when it is blank or torn. Blocks.
  public static func readHeader(of file: Storage.File) throws(JournalError) -> SegmentHeader? {
    var bytes = [UInt8](repeating: 0, count: SegmentHeader.byteCount)
    var failure: Errno?
    unsafe bytes.withUnsafeMutableBytes { buffer in
      do throws(Errno) { _ = try unsafe file.read(into: buffer, at: 0) } catch { failure = error }
    }
    if let failure { throw .storage(failure, doing: "reading a segment header") }
    do {
      return try SegmentHeader(decoding: bytes)
    } catch .otherVersion(let version) {
      throw .otherVersion(version)
    } catch {
      return nil
    }
  }

  /// Builds the segment and, for records not applied yet, its generation.
  private mutating func adopt(
    _ kept: RecoveryDecision.Kept, _ survey: SlotSurvey<Storage>, isLast: Bool,
    state: JournalState, _ storage: Storage
  ) throws(JournalError) {
    guard let header = kept.facts.header else { return }
    let file = slots[kept.facts.slot].file
    if let seal = survey.seals[kept.facts.slot] {
      if seal.span.lastSequence > state.applied.sequence { trustedSegments.insert(header.number) }
      indexedSegments.insert(header.number)
      if !kept.isCut {
        lastTimestamp = max(lastTimestamp, seal.span.lastTimestamp)
        let segment = Segment(
          header: header, file: file, slot: kept.facts.slot, end: seal.end,
          isSealed: !isLast, lastTimestamp: seal.span.lastTimestamp)
        segments.append(segment)
        if let sidecar = survey.sidecars[kept.facts.slot] {
          let name = SidecarIndex.name(ofSegmentFile: slots[kept.facts.slot].name)
          let index = segment.filedIndex(
            sidecar.layout, name: name, storage, shelf,
            bounds: seal.bounds(state.diskBounds))
          generations.append(
            Generation(
              span: seal.span, checkpoints: sidecar.checkpoints, segment: header.number,
              filed: index, origin: segment.origin(diskCount: state.diskCount, shelf)))
        }
        return
      }
    }
    if kept.isCut { indexedSegments.insert(header.number) }
    // Whoever reads it again later must not look at what was cut off, which is void by then.
    let whole = Segment(
      header: header, file: file, slot: kept.facts.slot,
      end: kept.isCut ? try end(of: kept, header) : kept.facts.end, isSealed: true)
    let disks = state.diskBounds
    var index = IndexScan(
      header.number, diskCount: disks.count, shelf, whole.origin(diskCount: disks.count, shelf))
    var end = SegmentHeader.byteCount
    // Its first record may be lost: another one must still not be earlier than the header says.
    let headerTimestamp = Timestamp(rawValue: max(1, header.firstTimestamp.rawValue) - 1)
    lastTimestamp = max(lastTimestamp, headerTimestamp)
    var scanner = SegmentScanner(
      file, header: header, limit: kept.facts.end, depth: .headersOnly)
    while scanner.recordCount < kept.recordCount {
      let record: SegmentScanner<Storage.File>.Record?
      do throws(Errno) { record = try scanner.next() } catch {
        throw .storage(error, doing: "reading \(slots[kept.facts.slot].name)")
      }
      guard let record else { break }
      lastTimestamp = max(lastTimestamp, record.header.timestamp)
      if isLast { lastRecordPosition = record.position }
      if record.header.kind == .disk,
        let change = unsafe DiskChange(number: record.header.disk, payload: record.payload)
      {
        diskChanges.append((change, .init(record.sequence, record.header.timestamp)))
      }
      if record.sequence > state.applied.sequence {
        try Self.index(record, disks, into: &index)
      }
    }
    end = scanner.position
    // Appending goes on only in the very segment that a clean stop left, or, at the receiving
    // side, where the same bytes will be sent again.
    segments.append(
      Segment(
        header: header, file: file, slot: kept.facts.slot, end: end, isSealed: !isLast))
    generations += index.finish()
  }

  /// Of the records that are kept.
  private func end(
    of kept: RecoveryDecision.Kept, _ header: SegmentHeader
  ) throws(JournalError) -> Int {
    let slot = slots[kept.facts.slot]
    var scanner = SegmentScanner(
      slot.file, header: header, limit: kept.facts.end, depth: .headersOnly)
    do throws(Errno) {
      while scanner.recordCount < kept.recordCount, try scanner.next() != nil {}
    } catch { throw .storage(error, doing: "reading \(slot.name)") }
    return scanner.position
  }

  private static func index(
    _ record: SegmentScanner<Storage.File>.Record, _ disks: [UInt64], into index: inout IndexScan
  ) throws(JournalError) {
    let header = record.header
    guard
      header.kind.isMarker
        || header.disk.index < disks.count && header.range.end <= disks[header.disk.index]
    else {
      throw .damaged(
        "record \(record.sequence.rawValue) lies outside of its disk")
    }
    index.add(record)
  }
}

extension RecordHeader {
  /// Where an extent map finds the bytes of a data record at `position` of segment `segment`.
  @inline(__always)
  func extentSource(segment: UInt32, position: Int) -> ExtentSource {
    switch kind {
    case .write, .checkpoint, .disk:
      ExtentSource(
        segment: segment,
        position: UInt32(truncatingIfNeeded: position + RecordHeader.byteCount))
    case .zero: .zeros
    case .trim: .hole
    }
  }
}
