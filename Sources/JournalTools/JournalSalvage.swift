import BlockModel
import Journal
import SystemIO

/// How far a salvage goes.
public enum SalvageExtent: String, Sendable {
  /// Up to the first record that is lost: a state that the disk had.
  case upToDamage
  /// All whole records. What the lost ones wrote is missing in between, so the file is no state
  /// that the disk ever had; a file system in it needs a check.
  case pastDamage
}

extension JournalFolder {
  /// Writes what can be read of a disk from a damaged journal onto a copy of `base`, or onto zeros,
  /// and says exactly what is not in it. Reads the folder only. Blocks.
  ///
  /// `base` is the disk's backing store, or a copy made of it since its last apply: what it holds
  /// by the state file is neither read nor missed in the journal, unless the instant is before it.
  ///
  /// The state file may be missing, too: then the disk is named by its number (`#0`), its size is
  /// that of the base or the end of its last record, and the base must be the disk as it was just
  /// before the first record, or at any instant since.
  public func salvage(
    _ request: ExportRequest, _ extent: SalvageExtent, now: Timestamp
  ) throws(JournalToolsError) -> ExportOutcome {
    guard !isInUse else {
      throw .refused("a site is using the journal: stop it first, or export without --salvage")
    }
    var walk = try SalvageWalk(self)
    guard !walk.parts.isEmpty || state != nil else {
      throw .refused("no segment has a readable header or record, and there is no state file")
    }
    let instant = try resolveForSalvage(request, now: now, walk)
    let (number, name, size) = try diskForSalvage(request, walk)
    let target = try ExportTarget(request, sizeBytes: size)
    do throws(JournalToolsError) {
      if let base = request.base { try target.copy(base) }
      var outcome = ExportOutcome(
        disk: name, sizeBytes: size, records: 0, writtenBytes: 0, notes: [])
      var ledger = SalvageLedger(disk: number, sizeBytes: size)
      let held = heldByBase(request, instant)
      try walk.run { (event) throws(JournalToolsError) in
        switch event {
        case .lost(var lost):
          if lost.last <= held, !lost.isUncertain { return true }
          lost.drop(through: held)
          if let after = lost.after, after >= instant { return false }
          if let first = lost.headers.first, first.timestamp > instant { return false }
          ledger.add(lost)
        case .whole(let record):
          guard record.header.timestamp <= instant else { return false }
          if record.sequence <= held { return true }
          if extent == .upToDamage, ledger.hasLoss {
            ledger.addBehind(record)
          } else {
            try write(record, of: number, size, to: target, &ledger, &outcome)
          }
        }
        return true
      }
      if extent == .pastDamage, ledger.hasLoss || state == nil { ledger.setInconsistent() }
      if !isBaseCertain(request, outcome) { ledger.setInconsistent() }
      outcome.notes = salvageNotes(request, instant, outcome)
      outcome.salvage = ledger.finish()
      try target.finish()
      return outcome
    } catch {
      target.discard()
      throw error
    }
  }

  /// The last record that the base certainly holds.
  private func heldByBase(_ request: ExportRequest, _ instant: Timestamp) -> SequenceNumber {
    guard request.base != nil, let state, instant >= state.applied.timestamp else { return .none }
    return state.applied.sequence
  }

  /// Whether the records in the file make the base a state that the disk had.
  private func isBaseCertain(_ request: ExportRequest, _ outcome: ExportOutcome) -> Bool {
    guard let state else { return outcome.firstSequence == 1 }
    // An apply step may have written some of the records up to its target.
    let last = max(outcome.lastSequence ?? 0, state.applied.sequence.rawValue)
    let isBehindBase = request.base != nil && last < state.applyTarget.sequence.rawValue
    return !isBehindBase && state.baseline == .complete
  }

  private func write(
    _ record: SalvageWalk.Whole, of disk: DiskNumber, _ size: UInt64, to target: ExportTarget,
    _ ledger: inout SalvageLedger, _ outcome: inout ExportOutcome
  ) throws(JournalToolsError) {
    let header = record.header
    let isOwn = !header.kind.isMarker && header.disk == disk
    if isOwn, header.range.end > size { return ledger.addMisplaced(record) }
    if outcome.firstSequence == nil {
      outcome.firstSequence = record.sequence.rawValue
      outcome.firstInstant = header.timestamp.description
    }
    outcome.lastSequence = record.sequence.rawValue
    outcome.lastInstant = header.timestamp.description
    guard isOwn else { return }
    try unsafe target.apply(header, payload: record.payload)
    ledger.makeUp(record)
    outcome.records += 1
    if header.kind == .write { outcome.writtenBytes += UInt64(header.length) }
  }

  private func diskForSalvage(
    _ request: ExportRequest, _ walk: SalvageWalk
  ) throws(JournalToolsError) -> (DiskNumber, name: String, size: UInt64) {
    if let state { return try disk(named: request.disk, in: state) }
    guard request.disk.hasPrefix("#"), let number = UInt16(request.disk.dropFirst()) else {
      throw .refused(
        "the state file, which tells the disks' names, cannot be read: name the disk by its"
          + " number, --disk '#0' for the group's first")
    }
    if let base = request.base {
      return (DiskNumber(number), request.disk, try ExportTarget.size(of: base))
    }
    var end: UInt64 = 0
    var records = walk
    try records.run { event in
      if case .whole(let record) = event, !record.header.kind.isMarker,
        record.header.disk == DiskNumber(number)
      {
        end = max(end, record.header.range.end)
      }
      return true
    }
    guard end > 0 else { throw .refused("no record of disk \(request.disk) can be read") }
    return (DiskNumber(number), request.disk, end)
  }

  private func resolveForSalvage(
    _ request: ExportRequest, now: Timestamp, _ walk: SalvageWalk
  ) throws(JournalToolsError) -> Timestamp {
    switch request.instant {
    case .latest: return .distantFuture
    case .at(let timestamp): return timestamp
    case .ago(let nanoseconds):
      return Timestamp(rawValue: now.rawValue - min(nanoseconds, now.rawValue))
    case .checkpoint(let tag):
      var found: Timestamp?
      var records = walk
      try records.run { event in
        if case .whole(let record) = event, record.header.kind == .checkpoint,
          unsafe String(decoding: record.payload, as: UTF8.self) == tag
        {
          found = record.header.timestamp
        }
        return true
      }
      guard let found else {
        throw .refused("no checkpoint \(tag.quotedForMessage) can be read in the journal")
      }
      return found
    }
  }

  private func salvageNotes(
    _ request: ExportRequest, _ instant: Timestamp, _ outcome: ExportOutcome
  ) -> [String] {
    guard let state else {
      let first = outcome.firstSequence ?? 1
      return [
        "without the state file it is not known what the backing store holds: the file is right"
          + " only if the base held all records before \(first) and none that the file lacks"
      ]
    }
    var notes = notes(request, state, instant, isDamageKnown: true)
    let target = state.applyTarget.sequence.rawValue
    if !isBaseCertain(request, outcome), state.baseline == .complete {
      notes.append(
        "the backing store may hold some of the records up to \(target), which the file lacks: a"
          + " base copied from it is newer there")
    }
    return notes
  }
}
