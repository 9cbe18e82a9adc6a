import BlockModel
import SystemIO

/// Reads a journal folder into what a `Journal` starts from. Works on the folder alone.
public struct JournalRecovery<Storage: JournalStorage>: Sendable {
  /// A file and the state of its slot after recovery.
  struct Slot: Sendable {
    let file: Storage.File
    let name: String
  }

  public private(set) var segments: [Segment<Storage.File>] = []
  public private(set) var generations: [Generation] = []
  public private(set) var lastSequence: SequenceNumber
  public private(set) var lastTimestamp: Timestamp
  /// Sentences for the log: what was cut or dropped, and why that is right.
  public private(set) var notes: [String] = []
  var slots: [Slot] = []
  var freeSlots: [Int] = []
  /// For the name of the next file: not their count, because one may be missing among them.
  var nextFileNumber: Int { (slots.compactMap { Self.slot(named: $0.name) }.max() ?? -1) + 1 }
  /// The last segment holds the last record. False when it lost applied records to damage: then
  /// the next record's index would not be the number of records in it.
  private(set) var endsWithLastSegment = true

  static func slotName(_ slot: Int) -> String {
    let digits = String(slot)
    return "segment-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits
  }

  /// The slot number in a segment file's name; nil for other files.
  public static func slot(named name: String) -> Int? {
    guard name.hasPrefix("segment-"), !name.hasSuffix(".new") else { return nil }
    return UInt32(name.dropFirst("segment-".count)).map { Int($0) }
  }

  /// Blocks: reads and verifies every record that is not applied yet or may be sent again.
  ///
  /// - Parameter cut: records after it are void, because the peer went back to it; segments that
  ///   hold nothing else are erased.
  public init(
    _ storage: Storage, state: JournalState, cut: SequenceNumber? = nil
  ) throws(JournalError) {
    lastSequence = state.applied.sequence
    lastTimestamp = state.applied.timestamp
    let facts = try Self.scan(storage, group: state.group, into: &slots)
    let decision = RecoveryDecision.decide(
      facts, applied: state.applied.sequence, cut: cut)
    lastSequence = decision.lastSequence(applied: state.applied.sequence)
    if lastSequence < state.durable, cut == nil {
      throw .damaged(
        "records up to \(state.durable.rawValue) were durable, but whole records end at "
          + "\(lastSequence.rawValue)")
    }
    if let row = decision.stop {
      notes.append(
        "dropped what followed record \(lastSequence.rawValue), which was never durable "
          + "(recovery row \(row.rawValue))")
    }
    freeSlots = decision.freeSlots
    endsWithLastSegment = decision.lastSequence(applied: .none) == lastSequence
    if cut != nil { try erase(freeSlots.map { slots[$0].file }) }
    for (index, kept) in decision.chain.enumerated() {
      try adopt(kept, isLast: index == decision.chain.count - 1, state: state)
    }
  }

  /// Forgets everything in the folder: all files become free. Durable when it returns.
  public init(erasing storage: Storage, state: JournalState) throws(JournalError) {
    lastSequence = state.applied.sequence
    lastTimestamp = state.applied.timestamp
    _ = try Self.scan(storage, group: GroupIdentifier(high: 0, low: 0), into: &slots)
    freeSlots = Array(slots.indices)
    try erase(slots.map(\.file))
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

  private static func scan(
    _ storage: Storage, group: GroupIdentifier, into slots: inout [Slot]
  ) throws(JournalError) -> [SegmentFacts] {
    var facts: [SegmentFacts] = []
    do throws(Errno) {
      for name in try storage.names() where slot(named: name) != nil {
        let file = try storage.open(name)
        slots.append(Slot(file: file, name: name))
        facts.append(
          SegmentFacts(
            slot: slots.count - 1, header: nil, recordCount: 0, end: 0, lastTimestamp: .zero))
      }
    } catch { throw .storage(error, doing: "opening the segment files") }
    for index in facts.indices {
      let file = slots[index].file
      guard let header = try readHeader(of: file), header.identity.group == group else { continue }
      facts[index].header = header
      do throws(Errno) {
        var scanner = SegmentScanner(file, header: header, limit: Int(header.segmentByteCount))
        var last = Timestamp.zero
        while let record = try scanner.next() { last = record.header.timestamp }
        facts[index].recordCount = scanner.recordCount
        facts[index].end = scanner.position
        facts[index].lastTimestamp = last
      } catch { throw .storage(error, doing: "reading \(slots[index].name)") }
    }
    return facts
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
    } catch .newerVersion(let version) {
      throw .newerVersion(version)
    } catch {
      return nil
    }
  }

  /// Builds the segment and, for records not applied yet, its generation.
  private mutating func adopt(
    _ kept: RecoveryDecision.Kept, isLast: Bool, state: JournalState
  ) throws(JournalError) {
    guard let header = kept.facts.header else { return }
    let file = slots[kept.facts.slot].file
    var index = ActiveIndex(diskCount: state.disks.count)
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
      if record.sequence > state.applied.sequence {
        try Self.index(record, segment: header.number, state: state, into: &index)
      }
    }
    end = scanner.position
    // Appending goes on only in the very segment that a clean stop left, or, at the receiving
    // side, where the same bytes will be sent again.
    segments.append(
      Segment(
        header: header, file: file, slot: kept.facts.slot, end: end, isSealed: !isLast))
    if let span = index.span { generations.append(Generation(freezing: index, span: span)) }
  }

  private static func index(
    _ record: SegmentScanner<Storage.File>.Record, segment: UInt32, state: JournalState,
    into index: inout ActiveIndex
  ) throws(JournalError) {
    let header = record.header
    guard
      header.kind == .checkpoint
        || header.disk.index < state.disks.count
          && header.range.end <= state.disks[header.disk.index].byteCount
    else {
      throw .damaged(
        "record \(record.sequence.rawValue) lies outside of its disk")
    }
    index.add(record, segment: segment)
  }
}

extension RecordHeader {
  /// Where an extent map finds the bytes of a data record at `position` of segment `segment`.
  @inline(__always)
  func extentSource(segment: UInt32, position: Int) -> ExtentSource {
    switch kind {
    case .write, .checkpoint:
      ExtentSource(
        segment: segment,
        position: UInt32(truncatingIfNeeded: position + RecordHeader.byteCount))
    case .zero: .zeros
    case .trim: .hole
    }
  }
}
