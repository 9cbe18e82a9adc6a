import BlockModel
import Journal

/// Whether the records of a journal follow each other without a hole, and what is in the holes.
extension JournalFolder {
  func judgeOrder(_ report: inout JournalReport) throws(JournalToolsError) {
    let chain = segments.filter { $0.isKept || isLeftOut($0) }
    if let first = chain.first?.header, let state,
      first.firstSequence > state.applied.sequence.advanced(by: 1)
    {
      report.damages.append(
        JournalDamage(
          file: chain[0].name,
          what: "records \(state.applied.sequence.rawValue + 1) to"
            + " \(first.firstSequence.rawValue - 1), which come before it, are missing",
          records: state.applied.sequence.rawValue + 1...first.firstSequence.rawValue - 1,
          isDurable: state.applied.sequence < durableKnown))
    }
    for (position, segment) in chain.enumerated() {
      guard let header = segment.header else { continue }
      guard position + 1 < chain.count, let next = chain[position + 1].header else {
        // A site that is writing now has an end that is growing.
        if !isInUse { try judgeEnd(of: segment, header, before: nil, &report) }
        continue
      }
      if segment.nextSequence >= next.firstSequence { continue }
      let before = report.damages.count
      try judgeEnd(of: segment, header, before: next.firstSequence, &report)
      if header.number + 1 < next.number {
        report.damages.append(
          JournalDamage(
            file: chain[position + 1].name,
            what: "segment \(next.number) follows segment \(header.number): what lay between"
              + " them is missing",
            records: segment.nextSequence.rawValue...next.firstSequence.rawValue - 1,
            isDurable: segment.nextSequence <= durableKnown))
      } else if report.damages.count == before {
        report.damages.append(
          JournalDamage(
            file: segment.name, position: segment.end,
            what: "records \(segment.nextSequence.rawValue) to"
              + " \(next.firstSequence.rawValue - 1) are missing",
            records: segment.nextSequence.rawValue...next.firstSequence.rawValue - 1,
            isDurable: segment.nextSequence <= durableKnown))
      }
    }
  }

  /// Records are known to be missing behind the last one that can be reached.
  public var isIncomplete: Bool {
    guard let lastSequence else { return false }
    return lastSequence < durableKnown || segments.contains(where: isLeftOut)
  }

  /// Not part of the journal only because something before it is missing. Without a state file,
  /// everything with records is looked at.
  func isLeftOut(_ segment: SegmentFile) -> Bool {
    guard let header = segment.header, !segment.isKept else { return false }
    guard let state, let lastSequence else { return segment.recordCount > 0 }
    if segment.recordCount == 0 {
      // Its first record is damaged, or it never had one.
      let first = header.firstSequence
      return first > lastSequence && first > state.applied.sequence
        && !isVoid(first, epoch: header.epoch)
        && (first <= durableKnown
          || segments.contains { $0.header.map { $0.firstSequence > first } ?? false })
    }
    let last = segment.nextSequence.rawValue - 1
    return SequenceNumber(last) > lastSequence
      && SequenceNumber(last) > state.applied.sequence
      && !isVoid(header.firstSequence, epoch: header.epoch)
  }

  /// Whether a record lost its place to a later epoch.
  private func isVoid(_ sequence: SequenceNumber, epoch: UInt64) -> Bool {
    guard let state else { return false }
    return state.lineage.incarnations.contains {
      $0.epoch > epoch && $0.after.sequence < sequence
    }
  }

  /// Says what lies behind the last record that the scan reached. `next` is the number with which
  /// the following segment begins; nil for the newest.
  private func judgeEnd(
    of segment: SegmentFile, _ header: SegmentHeader, before next: SequenceNumber?,
    _ report: inout JournalReport
  ) throws(JournalToolsError) {
    let image = try SegmentImage(segment, folder: path)
    let seed = header.identity.checksumSeed
    var position = segment.end
    var index = segment.recordCount
    var earlier = segment.lastTimestamp ?? Timestamp(rawValue: header.firstTimestamp.rawValue &- 1)
    while let found = image.nextRecord(
      behind: position, index: index, seed: seed, after: earlier)
    {
      let lost = header.firstSequence.advanced(by: index)
      if isVoid(lost, epoch: header.epoch) { return }
      report.damages.append(
        JournalDamage(
          file: segment.name, position: position,
          what: Self.name(lost, count: found.index - index)
            + " not verify, and record"
            + " \(header.firstSequence.advanced(by: found.index).rawValue) at"
            + " \(found.position) does: bytes changed"
            + (lost <= durableKnown
              ? "" : ", or a power cut lost them before they were durable"),
          records: lost.rawValue...lost.rawValue + (found.index - index) - 1,
          isDurable: lost <= durableKnown))
      let last = image.lastRecord(of: found, seed: seed)
      position = last.end
      index = last.index + 1
      earlier = last.header.timestamp
    }
    let missing = header.firstSequence.advanced(by: index)
    if let next, missing >= next { return }
    let isPlausible = image.plausibleHeader(at: position, after: earlier) != nil
    judgeLast(isPlausible, segment, position, missing, header.epoch, &report)
  }

  private func judgeLast(
    _ isPlausible: Bool, _ segment: SegmentFile, _ position: Int, _ sequence: SequenceNumber,
    _ epoch: UInt64, _ report: inout JournalReport
  ) {
    if isVoid(sequence, epoch: epoch) { return }
    if sequence <= durableKnown {
      report.damages.append(
        JournalDamage(
          file: segment.name, position: position,
          what: "record \(sequence.rawValue) was durable and does not verify",
          records: sequence.rawValue...sequence.rawValue, isDurable: true))
    } else if isPlausible {
      report.notes.append(
        "\(segment.name) ends at \(position) with the beginning of record \(sequence.rawValue):"
          + " never acknowledged as durable, and dropped at the next start")
    }
  }

  private static func name(_ first: SequenceNumber, count: UInt64) -> String {
    count == 1
      ? "record \(first.rawValue) does"
      : "records \(first.rawValue) to \(first.rawValue + count - 1) do"
  }
}
