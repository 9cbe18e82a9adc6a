import BlockModel
import Journal
import SystemIO

/// A line of `tapline journal dump`.
public struct RecordListing: Codable, Equatable, Sendable {
  public var sequence: UInt64
  /// RFC 3339.
  public var instant: String
  /// `write`, `zero`, `trim` or `checkpoint`.
  public var kind: String
  /// Absent, with offset and length, for a checkpoint.
  public var disk: String?
  public var offset: UInt64?
  public var length: UInt32?
  /// Only of a checkpoint; empty for a periodic one.
  public var tag: String?
  public var segment: UInt32
  /// Of the record's header in the segment file.
  public var position: Int
}

/// Which records `tapline journal dump` lists.
public struct RecordSelection: Equatable, Sendable {
  /// Only this segment, be it kept or free; nil for the whole journal.
  public var segment: UInt32?
  public var fromSequence: SequenceNumber
  /// The most records; nil for all.
  public var limit: UInt64?

  public init(
    segment: UInt32? = nil, fromSequence: SequenceNumber = .none, limit: UInt64? = nil
  ) {
    self.segment = segment
    self.fromSequence = fromSequence
    self.limit = limit
  }
}

extension JournalFolder {
  /// Calls `body` with the selected records in order. Blocks.
  public func forEachRecord(
    _ selection: RecordSelection, _ body: (RecordListing) -> Void
  ) throws(JournalToolsError) {
    var chosen = keptSegments
    if let number = selection.segment {
      let candidates = segments.filter { $0.header?.number == number }
      guard let segment = candidates.first(where: \.isKept) ?? candidates.last else {
        throw .refused("there is no segment \(number)")
      }
      chosen = [segment]
    }
    var left = selection.limit ?? .max
    for segment in chosen where left > 0 {
      if let header = segment.header,
        header.firstSequence.advanced(by: segment.countedRecords) <= selection.fromSequence
      {
        continue
      }
      // Only sums tell a running site's new records from those that were scanned.
      try forEachRecord(of: segment, depth: isInUse ? .verified : .headersOnly) { record in
        if record.sequence < selection.fromSequence { return true }
        guard left > 0 else { return false }
        left -= 1
        body(listing(of: record, segment: segment.header?.number ?? 0))
        return left > 0
      }
    }
  }

  private func listing(
    of record: borrowing SegmentScanner<File>.Record, segment: UInt32
  ) -> RecordListing {
    let header = record.header
    var line = RecordListing(
      sequence: record.sequence.rawValue, instant: header.timestamp.description,
      kind: header.kind.name, segment: segment, position: record.position)
    switch header.kind {
    case .checkpoint: line.tag = unsafe String(decoding: record.payload, as: UTF8.self)
    case .disk:
      let change = unsafe DiskChange(number: header.disk, payload: record.payload)
      line.kind = change.map { "disk-\($0.event)" } ?? line.kind
      line.disk = change?.name
    case .write, .trim, .zero:
      line.disk = diskName(header.disk)
      line.offset = header.offset
      line.length = header.length
    }
    return line
  }

  /// Calls `body` with the counted records of a segment until it returns false.
  func forEachRecord(
    of segment: SegmentFile, depth: SegmentScanner<File>.Depth,
    _ body: (borrowing SegmentScanner<File>.Record) throws(JournalToolsError) -> Bool
  ) throws(JournalToolsError) {
    guard let header = segment.header else { return }
    var scanner = SegmentScanner(segment.file, header: header, limit: segment.end, depth: depth)
    while scanner.recordCount < segment.countedRecords {
      let record: SegmentScanner<File>.Record?
      do throws(Errno) { record = try scanner.next() } catch {
        throw .file("\(path)/\(segment.name)", error, doing: "reading")
      }
      guard let record else {
        // A running site recycles what is applied; its records are no part of the journal then.
        if isInUse { return }
        throw .refused("\(segment.name) changed while it was read")
      }
      if try !body(record) { return }
    }
  }
}

extension RecordKind {
  /// As `journal dump` writes it.
  public var name: String {
    switch self {
    case .write: "write"
    case .trim: "trim"
    case .zero: "zero"
    case .checkpoint: "checkpoint"
    case .disk: "disk"
    }
  }
}
