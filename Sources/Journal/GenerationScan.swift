import BlockModel
import SystemIO

extension ActiveIndex {
  /// Adds a record that was read back from a segment.
  mutating func add<File: JournalFile>(_ record: SegmentScanner<File>.Record, segment: UInt32) {
    switch record.header.kind {
    case .checkpoint:
      add(
        Checkpoint(
          sequence: record.sequence, timestamp: record.header.timestamp,
          tag: unsafe String(decoding: record.payload, as: UTF8.self)))
    case .disk: addMarker(record.sequence, record.header.timestamp)
    case .write, .trim, .zero:
      add(
        record.header, record.sequence,
        record.header.extentSource(segment: segment, position: record.position))
    }
  }
}

/// The records of a segment, of which the maps of a generation can be made again. Blocks.
struct IndexOrigin: Sendable {
  /// Of the records of a span, in order; at least one.
  let scan: @Sendable (RecordSpan) throws(JournalError) -> [Generation]
}

extension Segment {
  /// - Parameter isAgain: of what was scanned already. When a file of that cannot be read either,
  ///   another one would not help: it comes into memory.
  func origin(diskCount: Int, _ shelf: IndexShelf, isAgain: Bool = false) -> IndexOrigin {
    IndexOrigin { [self] (span) throws(JournalError) in
      let parts = try Generation.scanning(
        self, after: SequenceNumber(span.firstSequence.rawValue - 1),
        notLaterThan: span.lastTimestamp, diskCount: diskCount, shelf, intoMemory: isAgain)
      guard !parts.isEmpty else { throw .damaged("segment \(number) has no records") }
      return parts
    }
  }
}

/// Makes generations of records of one segment that are read back, each of which goes to the shelf
/// before it is large.
struct IndexScan {
  private let segment: UInt32
  private let diskCount: Int
  private let shelf: IndexShelf
  private let origin: IndexOrigin
  private let isIntoMemory: Bool
  private var index: ActiveIndex
  private var generations: [Generation] = []

  init(
    _ segment: UInt32, diskCount: Int, _ shelf: IndexShelf, _ origin: IndexOrigin,
    intoMemory: Bool = false
  ) {
    isIntoMemory = intoMemory
    self.segment = segment
    self.diskCount = diskCount
    self.shelf = shelf
    self.origin = origin
    index = ActiveIndex(diskCount: diskCount)
  }

  /// Blocks at times.
  mutating func add<File: JournalFile>(_ record: SegmentScanner<File>.Record) {
    index.add(record, segment: segment)
    if index.recordCount >= shelf.memory.recordLimit { close() }
  }

  private mutating func close() {
    guard let span = index.span else { return }
    let generation = Generation(freezing: index, span: span, segment: segment, origin: origin)
    // What cannot be written stays in memory.
    generations.append(
      isIntoMemory ? shelf.keep(generation) : shelf.place(generation).generation)
    index = ActiveIndex(diskCount: diskCount)
  }

  /// Oldest first. Blocks.
  mutating func finish() -> [Generation] {
    close()
    return generations
  }
}

extension Generation {
  /// The records of this one that are not later than `instant`, of which some are later: read from
  /// the segment when somebody looks where this one has something. Any thread.
  public func prefix<File: JournalFile>(
    notLaterThan instant: Timestamp, of segment: Segment<File>, _ shelf: IndexShelf
  ) -> Generation {
    let (count, span) = (diskCount, span)
    let before = SequenceNumber(span.firstSequence.rawValue - 1)
    let index = FiledIndex(
      diskCount: count,
      from: .scan { () throws(JournalError) in
        try Generation.scanning(
          segment, after: before, notLaterThan: instant, diskCount: count, shelf)
      }, cache: shelf.memory.cache, outline: self)
    return Generation(span: span, checkpoints: [], segment: segment.number, filed: index)
  }

  /// The index of a segment's records after `after`, later than `start` and not later than
  /// `instant`, in generations that follow each other; none when there are no records. Verifies
  /// what it reads: a header that is not what was written would put other bytes in place of the
  /// record's. Blocks; for a worker.
  public static func scanning<File: JournalFile>(
    _ segment: Segment<File>, after: SequenceNumber, laterThan start: Timestamp = .zero,
    notLaterThan instant: Timestamp, diskCount: Int, _ shelf: IndexShelf,
    intoMemory: Bool = false
  ) throws(JournalError) -> [Generation] {
    var scan = IndexScan(
      segment.number, diskCount: diskCount, shelf,
      segment.origin(diskCount: diskCount, shelf, isAgain: true), intoMemory: intoMemory)
    try segment.forEachRecord { record in
      guard record.header.timestamp <= instant else { return false }
      if record.sequence > after, record.header.timestamp > start { scan.add(record) }
      return true
    }
    return scan.finish()
  }
}
