import BlockModel
import Journal
import SystemIO

/// Reads a damaged journal from its oldest record that is still needed to its newest: what is whole
/// of it, and what is lost in between.
///
/// Segments are taken in the order of their numbers. Inside of one, a record that does not verify
/// is skipped by looking for the next one that does. A segment whose header does not verify is
/// known by its first record, because every record's checksum names group, epoch and segment.
/// Records that a later epoch made void are not shown.
struct SalvageWalk {
  @safe struct Whole {
    let header: RecordHeader
    let sequence: SequenceNumber
    /// Valid during the call.
    let payload: UnsafeRawBufferPointer
  }

  /// Records that follow each other and cannot be read.
  struct Lost {
    private(set) var first: SequenceNumber
    var last: SequenceNumber
    /// Where the first of them should be; nil position when that is not known.
    let file: String
    let position: Int?
    /// Headers that still look like records' between two whole ones: their bytes may be changed,
    /// too, but mostly it is the payload. Fewer than the records when some tell nothing.
    var headers: [RecordHeader]
    /// Of the whole records before and after.
    let after: Timestamp?
    var before: Timestamp?
    /// How many were lost is not known, and so not what the numbers of those that follow are.
    let isUncertain: Bool

    var count: UInt64 { last.rawValue + 1 - first.rawValue }

    init(
      _ first: SequenceNumber, through last: SequenceNumber, file: String, position: Int?,
      headers: [RecordHeader], after: Timestamp?
    ) {
      (self.first, self.last, self.file, self.position) = (first, last, file, position)
      (self.headers, self.after) = (headers, after)
      isUncertain = last < first
    }

    /// Forgets those up to `held`; which headers are theirs is known only when all are there.
    mutating func drop(through held: SequenceNumber) {
      guard held >= first, held < last else { return }
      let dropped = held.rawValue + 1 - first.rawValue
      headers = UInt64(headers.count) == count ? Array(headers.dropFirst(Int(dropped))) : []
      first = held.advanced(by: 1)
    }
  }

  enum Event {
    case whole(Whole)
    case lost(Lost)
  }

  /// A segment to read: its header, or what its first record proves it to be.
  struct Part {
    let file: SegmentFile
    let identity: SegmentIdentity
    let header: SegmentHeader?
  }

  /// Headers of lost records that are kept at most of one damage.
  private static let headerLimit = 4096

  let folder: JournalFolder
  let parts: [Part]
  private var expected: SequenceNumber?
  private var lastTimestamp: Timestamp?
  private var pending: Lost?

  init(_ folder: JournalFolder) throws(JournalToolsError) {
    self.folder = folder
    parts = try folder.salvageParts()
    if let state = folder.state {
      let first = parts.first?.header?.firstSequence
      let needed = state.applied.sequence.advanced(by: 1)
      expected = first.map { min($0, needed) } ?? needed
    }
  }

  /// Calls `body` with everything in order until it returns false. Blocks.
  mutating func run(
    _ body: (Event) throws(JournalToolsError) -> Bool
  ) throws(JournalToolsError) {
    for index in parts.indices {
      let next = index + 1 < parts.count ? parts[index + 1] : nil
      if try !read(parts[index], next: next, body) { return }
    }
    let durable = folder.durableKnown
    if let expected, parts.isEmpty, expected <= durable {
      lose(expected, through: durable, JournalFolder.stateName, nil, [])
    }
    if let lost = pending { _ = try body(.lost(lost)) }
  }

  private mutating func read(
    _ part: Part, next: Part?, _ body: (Event) throws(JournalToolsError) -> Bool
  ) throws(JournalToolsError) -> Bool {
    guard let first = part.header?.firstSequence ?? expected else { return true }
    if let expected, expected < first {
      lose(expected, through: SequenceNumber(first.rawValue - 1), part.file.name, nil, [])
    }
    let image = try SegmentImage(part.file, folder: folder.path)
    let seed = part.identity.checksumSeed
    var earlier =
      part.header.map { Timestamp(rawValue: max(1, $0.firstTimestamp.rawValue) - 1) }
      ?? lastTimestamp ?? .zero
    if part.header == nil, !Self.isProven(part, image, first, earlier, next) {
      // Records may be missing before its first, and nothing tells their number.
      lose(first, through: SequenceNumber(first.rawValue - 1), part.file.name, 0, [])
    }
    let end = folder.voidBegins(afterEpoch: part.identity.epoch)
    var position = SegmentHeader.byteCount
    var index: UInt64 = 0
    while first.advanced(by: index) < end {
      let sequence = first.advanced(by: index)
      if let record = image.record(at: position, index: index, seed: seed, after: earlier) {
        if try !emit(record, sequence, image, body) { return false }
        (position, index) = (record.end, index + 1)
        earlier = record.header.timestamp
      } else if let found = image.nextRecord(
        behind: position, index: index, seed: seed, after: earlier)
      {
        let last = min(first.advanced(by: found.index), end).rawValue - 1
        let headers = image.plausibleHeaders(
          from: position, to: found.position, after: earlier, limit: Self.headerLimit)
        lose(sequence, through: SequenceNumber(last), part.file.name, position, headers)
        (position, index) = (found.position, found.index)
      } else {
        break
      }
    }
    expected = min(first.advanced(by: index), end)
    loseTail(of: part, image, from: position, after: earlier, next: next, end: end)
    return true
  }

  private mutating func emit(
    _ record: SegmentImage.Found, _ sequence: SequenceNumber, _ image: borrowing SegmentImage,
    _ body: (Event) throws(JournalToolsError) -> Bool
  ) throws(JournalToolsError) -> Bool {
    if var lost = pending {
      pending = nil
      lost.before = record.header.timestamp
      if try !body(.lost(lost)) { return false }
    }
    lastTimestamp = record.header.timestamp
    let payload = unsafe image.payload(of: record)
    return try unsafe body(
      .whole(Whole(header: record.header, sequence: sequence, payload: payload)))
  }

  /// What is known to have followed the last record that could be read in a segment.
  private mutating func loseTail(
    of part: Part, _ image: borrowing SegmentImage, from position: Int, after earlier: Timestamp,
    next: Part?, end: SequenceNumber
  ) {
    let following: SequenceNumber
    if let next {
      guard let header = next.header else { return }
      following = header.firstSequence
    } else {
      following = folder.durableKnown.advanced(by: 1)
    }
    guard let expected, expected < min(following, end) else { return }
    let last = SequenceNumber(min(following, end).rawValue - 1)
    let count = Int(clamping: last.rawValue + 1 - expected.rawValue)
    let headers = image.plausibleHeaders(
      from: position, to: .max, after: earlier, limit: min(count, Self.headerLimit))
    lose(expected, through: last, part.file.name, position, headers)
    self.expected = last.advanced(by: 1)
  }

  private mutating func lose(
    _ first: SequenceNumber, through last: SequenceNumber, _ file: String, _ position: Int?,
    _ headers: [RecordHeader]
  ) {
    if var lost = pending, first <= lost.last.advanced(by: 1) {
      lost.last = max(lost.last, last)
      lost.headers += headers
      pending = lost
      return
    }
    pending = Lost(
      first, through: last, file: file, position: position, headers: headers, after: lastTimestamp)
  }

  /// Whether the numbers of a segment without a header are certain: all of its records are whole,
  /// and the next segment begins with the number after them.
  private static func isProven(
    _ part: Part, _ image: borrowing SegmentImage, _ first: SequenceNumber, _ earlier: Timestamp,
    _ next: Part?
  ) -> Bool {
    let seed = part.identity.checksumSeed
    guard let header = next?.header, header.number == part.identity.number + 1,
      let record = image.record(
        at: SegmentHeader.byteCount, index: 0, seed: seed, after: earlier)
    else { return false }
    let count = image.lastRecord(of: record, seed: seed).index + 1
    return first.advanced(by: count) == header.firstSequence
  }
}
