import BlockModel
import Journal
import SystemIO

/// What `tapline journal export` is asked for.
public struct ExportRequest: Equatable, Sendable {
  public var disk: String
  public var target: String
  public var instant: InstantExpression
  /// A copy of the disk to start from; nil for zeros.
  public var base: String?
  /// Replace a file that is there already.
  public var replacesTarget: Bool

  public init(
    disk: String, target: String, instant: InstantExpression = .latest, base: String? = nil,
    replacesTarget: Bool = false
  ) {
    self.disk = disk
    self.target = target
    self.instant = instant
    self.base = base
    self.replacesTarget = replacesTarget
  }
}

/// What an export wrote.
public struct ExportOutcome: Codable, Equatable, Sendable {
  public var disk: String
  public var sizeBytes: UInt64
  /// Records of the disk that were written, and bytes of their data.
  public var records: UInt64
  public var writtenBytes: UInt64
  /// Of the group's records that were considered; absent when there were none.
  public var firstSequence: UInt64?
  public var lastSequence: UInt64?
  /// RFC 3339.
  public var firstInstant: String?
  public var lastInstant: String?
  /// What limits the use of the result; sentences without a full stop.
  public var notes: [String]
  /// Only of a salvage.
  public var salvage: SalvageReport?

  enum CodingKeys: String, CodingKey {
    case disk, records, notes, salvage
    case sizeBytes = "size_bytes"
    case writtenBytes = "written_bytes"
    case firstSequence = "first_sequence"
    case lastSequence = "last_sequence"
    case firstInstant = "first_instant"
    case lastInstant = "last_instant"
  }
}

extension JournalFolder {
  /// Writes a disk's records up to an instant onto a copy of `base`, or onto zeros. The target
  /// appears under its name, durable, only when all of it is written. Blocks.
  ///
  /// Records are taken in order from the oldest in the journal: what is exported is a state that
  /// the disk had, provided that the base is not older than the first record and not newer than
  /// the instant. When records up to the instant are missing or damaged, it is refused: see
  /// `salvage`.
  public func export(
    _ request: ExportRequest, now: Timestamp
  ) throws(JournalToolsError) -> ExportOutcome {
    guard let state else {
      throw .refused(
        "the state file, which tells the disk's size, is not usable: `tapline journal verify` says"
          + " why, and --salvage does without it")
    }
    let (wanted, name, byteCount) = try disk(named: request.disk, in: state)
    let instant = try resolve(request, now: now, state: state)
    if let noted = state.disks[wanted], !noted.isShown(at: instant) {
      throw .refused(
        "disk \(name) was not in the group at the instant, or not all of it was in the history yet")
    }
    let target = try ExportTarget(request, sizeBytes: byteCount)
    do throws(JournalToolsError) {
      if let base = request.base { try target.copy(base) }
      var outcome = ExportOutcome(
        disk: name, sizeBytes: byteCount, records: 0, writtenBytes: 0, notes: [])
      var isReached = false
      for segment in keptSegments where !isReached {
        isReached = try write(segment, of: wanted, upTo: instant, to: target, &outcome)
      }
      if !isReached, isIncomplete { throw Self.incomplete(outcome) }
      outcome.notes = notes(request, state, instant)
      try target.finish()
      return outcome
    } catch {
      target.discard()
      throw error
    }
  }

  func disk(
    named name: String, in state: JournalState
  ) throws(JournalToolsError) -> (DiskNumber, name: String, size: UInt64) {
    guard let disk = state.disks[named: name] else {
      let names = state.disks.map(\.name).joined(separator: ", ")
      throw .refused("there is no disk \(name.quotedForMessage); the group has \(names)")
    }
    return (disk.number, name, disk.byteCount)
  }

  private static func incomplete(_ outcome: ExportOutcome) -> JournalToolsError {
    let last = outcome.lastSequence.map { sequence in
      "record \(sequence) of \(outcome.lastInstant ?? "")"
    }
    return .refused(
      "the journal is damaged after \(last ?? "its beginning"), before the instant: `tapline"
        + " journal verify` names the damage; choose an instant before it, or export with"
        + " --salvage")
  }

  /// Returns whether nothing up to the instant can follow.
  private func write(
    _ segment: SegmentFile, of disk: DiskNumber, upTo instant: Timestamp, to target: ExportTarget,
    _ outcome: inout ExportOutcome
  ) throws(JournalToolsError) -> Bool {
    if let header = segment.header, header.firstTimestamp > instant { return true }
    var next = outcome
    var isReached = false
    try forEachRecord(of: segment, depth: .verified) { (record) throws(JournalToolsError) in
      let header = record.header
      isReached = header.timestamp >= instant
      guard header.timestamp <= instant else { return false }
      if next.firstSequence == nil {
        next.firstSequence = record.sequence.rawValue
        next.firstInstant = header.timestamp.description
      } else if let last = next.lastSequence, record.sequence.rawValue != last + 1 {
        throw .refused("the journal was recycled while it was read; try again")
      }
      next.lastSequence = record.sequence.rawValue
      next.lastInstant = header.timestamp.description
      guard !header.kind.isMarker, header.disk == disk else { return true }
      try unsafe target.apply(header, payload: record.payload)
      next.records += 1
      if header.kind == .write { next.writtenBytes += UInt64(header.length) }
      return true
    }
    outcome = next
    return isReached
  }

  /// The instant that the expression names in this journal.
  private func resolve(
    _ request: ExportRequest, now: Timestamp, state: JournalState
  ) throws(JournalToolsError) -> Timestamp {
    let instant: Timestamp
    switch request.instant {
    case .latest: return .distantFuture
    case .at(let timestamp): instant = timestamp
    case .ago(let nanoseconds):
      instant = Timestamp(rawValue: now.rawValue - min(nanoseconds, now.rawValue))
    case .checkpoint(let tag):
      guard let found = try newestCheckpoint(tag) else {
        throw .refused("the journal holds no checkpoint \(tag.quotedForMessage)")
      }
      return found
    }
    let oldest = keptSegments.first { $0.countedRecords > 0 }?.header?.firstTimestamp
    // A base may be the disk as it was before the first record; zeros never are what it was.
    let start =
      request.base == nil
      ? oldest ?? .distantFuture : min(oldest ?? .distantFuture, state.applied.timestamp)
    guard instant >= start else {
      throw .refused(
        oldest.map { "\(instant) is before the journal, whose first record is of \($0)" }
          ?? "the journal holds no record")
    }
    return instant
  }

  private func newestCheckpoint(_ tag: String) throws(JournalToolsError) -> Timestamp? {
    var found: Timestamp?
    for segment in keptSegments {
      try forEachRecord(of: segment, depth: isInUse ? .verified : .headersOnly) { record in
        if record.header.kind == .checkpoint,
          unsafe String(decoding: record.payload, as: UTF8.self) == tag
        {
          found = record.header.timestamp
        }
        return true
      }
    }
    return found
  }

  func notes(
    _ request: ExportRequest, _ state: JournalState, _ instant: Timestamp,
    isDamageKnown: Bool = false
  ) -> [String] {
    var notes: [String] = []
    let appliedUpTo = max(state.applied.timestamp, state.applyTarget.timestamp)
    if request.base == nil, state.applied.sequence > .none {
      notes.append(
        "records that were applied and recycled are not in the journal: without --base the file"
          + " holds only what was written since")
    } else if request.base != nil, instant < appliedUpTo {
      notes.append(
        "the backing store of the disk may hold records up to \(appliedUpTo): a base copied from"
          + " it is newer than the instant, and the file is then no state that the disk had")
    }
    if state.baseline != .complete {
      notes.append("the initial sync was not complete: the backing store is no whole base")
    }
    if isIncomplete, !isDamageKnown {
      notes.append("the journal is damaged, and what lies behind the range was not reached")
    }
    if isInUse {
      notes.append("a site is using the journal: records written meanwhile may be missing")
    }
    return notes
  }
}
