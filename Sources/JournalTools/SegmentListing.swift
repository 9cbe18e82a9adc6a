import BlockModel
import Journal

/// A line of `tapline journal ls`.
public struct SegmentListing: Codable, Equatable, Sendable {
  public var file: String
  /// Absent, with the seven below, when the file has no readable header.
  public var number: UInt32?
  public var epoch: UInt64?
  /// 32 hexadecimal digits.
  public var incarnation: String?
  public var firstSequence: UInt64?
  /// Absent, with the instants, when the segment has no record.
  public var lastSequence: UInt64?
  /// RFC 3339.
  public var firstInstant: String?
  public var lastInstant: String?
  public var records: UInt64
  /// Bytes of the file up to the end of the last whole record.
  public var usedBytes: UInt64
  public var fileBytes: UInt64
  /// `kept`: part of the journal. `cut`: part of it, and what follows its records is void. `free`:
  /// to be used again. `unreachable`: whole, but records before it are missing. `unreadable`: its
  /// header does not verify. `new`: opened by a running site while the folder was read. `foreign`:
  /// of another group. `unknown`: the state file cannot be read.
  public var state: String

  enum CodingKeys: String, CodingKey {
    case file, number, epoch, incarnation, records, state
    case firstSequence = "first_sequence"
    case lastSequence = "last_sequence"
    case firstInstant = "first_instant"
    case lastInstant = "last_instant"
    case usedBytes = "used_bytes"
    case fileBytes = "file_bytes"
  }

  init(_ segment: SegmentFile) {
    file = segment.name
    records = segment.countedRecords
    usedBytes = UInt64(segment.end)
    fileBytes = segment.byteCount
    state = Self.state(of: segment)
    guard let header = segment.header else {
      usedBytes = 0
      return
    }
    number = header.number
    epoch = header.epoch
    incarnation = header.incarnation.identifier.description
    firstSequence = header.firstSequence.rawValue
    guard records > 0 else { return }
    lastSequence = header.firstSequence.advanced(by: records - 1).rawValue
    firstInstant = header.firstTimestamp.description
    lastInstant = segment.lastTimestamp?.description
  }

  private static func state(of segment: SegmentFile) -> String {
    switch segment.reading {
    case .unreadable, .otherVersion: return "unreadable"
    case .foreign: return "foreign"
    case .later: return "new"
    case .blank, .whole: break
    }
    switch segment.verdict {
    case nil: return "unknown"
    case .free: return "free"
    case .kept(let count): return count < segment.recordCount ? "cut" : "kept"
    }
  }
}

extension JournalFolder {
  /// All segment files, in the order of `segments`.
  public func listing() throws(JournalToolsError) -> [SegmentListing] {
    var lines: [SegmentListing] = []
    for segment in segments {
      var line = SegmentListing(segment)
      if line.state == "free", isLeftOut(segment) { line.state = "unreachable" }
      if line.state == "cut" {
        // The end and the last instant are those of the last record that counts.
        let cut = try lastRecord(of: segment)
        line.usedBytes = UInt64(cut.end)
        line.lastInstant = cut.timestamp?.description
      }
      lines.append(line)
    }
    return lines
  }

  private func lastRecord(
    of segment: SegmentFile
  ) throws(JournalToolsError) -> (end: Int, timestamp: Timestamp?) {
    var end = SegmentHeader.byteCount
    var timestamp: Timestamp?
    try forEachRecord(of: segment, depth: .headersOnly) { record in
      end = record.position + RecordHeader.byteCount + record.header.payloadByteCount
      timestamp = record.header.timestamp
      return true
    }
    return (end, timestamp)
  }
}
