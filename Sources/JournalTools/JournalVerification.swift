import BlockModel
import Journal

/// A place in a journal folder that is not as it was written.
public struct JournalDamage: Codable, Equatable, Sendable {
  /// Name in the folder.
  public var file: String
  /// Byte in the file; absent when the file as a whole is at fault.
  public var position: Int?
  /// One sentence without a full stop.
  public var what: String
  /// The first and last record that it makes unusable, where that is known.
  public var firstSequence: UInt64?
  public var lastSequence: UInt64?
  /// Whether any of them was durable: true is certain, false means that a power cut may have taken
  /// them. Absent when no record is affected, or none is known.
  public var isDurable: Bool?
  public var remedy: Remedy

  public init(
    file: String, position: Int? = nil, what: String, remedy: Remedy = .salvage,
    records: ClosedRange<UInt64>? = nil, isDurable: Bool? = nil
  ) {
    self.file = file
    self.position = position
    self.what = what
    self.remedy = remedy
    self.isDurable = isDurable
    firstSequence = records?.lowerBound
    lastSequence = records?.upperBound
  }

  enum CodingKeys: String, CodingKey {
    case file, position, what, remedy
    case firstSequence = "first_sequence"
    case lastSequence = "last_sequence"
    case isDurable = "durable"
  }

  /// What to do about a damage.
  public enum Remedy: String, Codable, Sendable, CaseIterable {
    case salvage
    case startNewerVersion = "start_newer_version"
    case moveAway = "move_away"
    case removeSidecar = "remove_sidecar"
    case restoreState = "restore_state"

    /// A sentence.
    public var text: String {
      switch self {
      case .salvage:
        "Put the file back from a copy if there is one. Else get the disks out with"
          + " `tapline journal export --salvage`, and go on with a new group; at a recovery site it"
          + " is enough to move the folder away: a full copy follows."
      case .startNewerVersion:
        "Start the version of tapline that wrote it; this one changes nothing."
      case .moveAway:
        "Move the file out of the folder, to the group that it belongs to."
      case .removeSidecar:
        "Remove the file: it can always be made again, and the next start reads the segment."
      case .restoreState:
        "Put the state file back from a copy. Without one, get the disks out with"
          + " `tapline journal export --salvage --disk '#0'`, and go on with a new group."
      }
    }
  }
}

/// What `tapline journal verify` found. The journal is whole when `damages` is empty.
public struct JournalReport: Codable, Equatable, Sendable {
  public var damages: [JournalDamage] = []
  /// What is unusual and harmless, such as the unfinished record that a killed site leaves.
  public var notes: [String] = []
  public var segmentFiles = 0
  public var keptSegments = 0
  /// Of the kept segments.
  public var records: UInt64 = 0
  public var usedBytes: UInt64 = 0
  public var firstSequence: UInt64?
  public var lastSequence: UInt64?
  /// RFC 3339.
  public var firstInstant: String?
  public var lastInstant: String?

  enum CodingKeys: String, CodingKey {
    case damages, notes, records
    case segmentFiles = "segment_files"
    case keptSegments = "kept_segments"
    case usedBytes = "used_bytes"
    case firstSequence = "first_sequence"
    case lastSequence = "last_sequence"
    case firstInstant = "first_instant"
    case lastInstant = "last_instant"
  }
}

extension JournalFolder {
  /// Checks everything that recovery relies on, and names each damage. All sums have been checked
  /// when the folder was read; this judges what did not verify.
  ///
  /// Records that are void are no damage: those that a fork or a crash cut off, because a later
  /// epoch begins at their numbers.
  public func verify() throws(JournalToolsError) -> JournalReport {
    var report = JournalReport()
    report.segmentFiles = segments.count
    count(into: &report)
    if let problem = stateReading.problem {
      let remedy: JournalDamage.Remedy = isOfNewerVersion ? .startNewerVersion : .restoreState
      report.damages.append(JournalDamage(file: Self.stateName, what: problem, remedy: remedy))
    }
    for segment in segments {
      try judgeHeader(of: segment, &report)
      guard segment.isKept || segment.verdict == nil else { continue }
      judgeContents(of: segment, &report)
    }
    try judgeOrder(&report)
    try judgeSidecars(&report)
    if let lastSequence, lastSequence < durableKnown {
      report.damages.append(
        JournalDamage(
          file: Self.stateName,
          what: "records up to \(durableKnown.rawValue) were durable, but whole records end at"
            + " \(lastSequence.rawValue)",
          records: lastSequence.rawValue + 1...durableKnown.rawValue, isDurable: true))
    }
    return report
  }

  private func count(into report: inout JournalReport) {
    let kept = keptSegments
    report.keptSegments = kept.count
    for segment in kept {
      report.records += segment.countedRecords
      report.usedBytes += UInt64(segment.end)
      guard let header = segment.header, segment.countedRecords > 0 else { continue }
      if report.firstSequence == nil {
        report.firstSequence = header.firstSequence.rawValue
        report.firstInstant = header.firstTimestamp.description
      }
      let last = header.firstSequence.advanced(by: segment.countedRecords - 1)
      report.lastSequence = last.rawValue
      report.lastInstant = segment.lastTimestamp?.description
    }
  }

  private func judgeHeader(
    of segment: SegmentFile, _ report: inout JournalReport
  ) throws(JournalToolsError) {
    switch segment.reading {
    case .whole, .blank, .later: break
    case .otherVersion(let version):
      report.damages.append(
        JournalDamage(
          file: segment.name, position: 0,
          what: "it \(FormatVersion.advice(version, own: SegmentHeader.version))",
          remedy: .startNewerVersion))
    case .foreign(let header):
      // What an interrupted full copy left is void.
      guard let state, !state.needsBaseline else { return }
      report.damages.append(
        JournalDamage(
          file: segment.name, position: 0,
          what: "it is segment \(header.number) of another group (\(header.identity.group)); no"
            + " site starts with it, because it would be written over",
          remedy: .moveAway))
    case .unreadable where segment.failure != nil:
      report.damages.append(
        JournalDamage(
          file: segment.name, position: 0,
          what: "the header cannot be read: \(segment.failure?.description ?? "")"))
    case .unreadable where segment.byteCount < UInt64(SegmentHeader.byteCount):
      report.damages.append(
        JournalDamage(
          file: segment.name,
          what: "the file has \(segment.byteCount) bytes, fewer than a header"))
    case .unreadable:
      if let identity = try identityByFirstRecord(of: segment) {
        report.damages.append(
          JournalDamage(
            file: segment.name, position: 0,
            what: "the header does not verify, and records of segment \(identity.number), epoch"
              + " \(identity.epoch), follow it"))
      } else {
        report.notes.append(
          "\(segment.name) has a header that does not verify and no record behind it: torn while"
            + " it was opened, and not used")
      }
    }
  }

  private func judgeContents(of segment: SegmentFile, _ report: inout JournalReport) {
    guard let header = segment.header else { return }
    if let failure = segment.failure {
      report.damages.append(
        JournalDamage(
          file: segment.name, position: segment.end,
          what: "what follows cannot be read: \(failure)"))
    }
    if segment.byteCount < UInt64(header.segmentByteCount) {
      report.damages.append(
        JournalDamage(
          file: segment.name, position: Int(clamping: segment.byteCount),
          what: "the file ends here, \(UInt64(header.segmentByteCount) - segment.byteCount) bytes"
            + " too early"))
    }
    for record in segment.misplaced {
      report.damages.append(
        JournalDamage(
          file: segment.name, position: record.position,
          what: "record \(record.sequence.rawValue) lies outside of its disk: \(record.reason)",
          records: record.sequence.rawValue...record.sequence.rawValue))
    }
  }
}
