import BlockModel

/// What restart recovery would keep of segment files that were scanned before: recovery's decision
/// table for tools that look at a journal and change nothing.
public struct RecoveryPreview: Equatable, Sendable {
  /// What a scan found in one segment file.
  public struct Scan: Equatable, Sendable {
    /// Nil when it is blank, does not verify or is of another group.
    public var header: SegmentHeader?
    /// Whole records from the start.
    public var recordCount: UInt64
    /// Position of the end of the last whole record.
    public var end: Int
    /// Of the last whole record; `.zero` when there is none.
    public var lastTimestamp: Timestamp

    public init(
      header: SegmentHeader?, recordCount: UInt64, end: Int, lastTimestamp: Timestamp
    ) {
      self.header = header
      self.recordCount = recordCount
      self.end = end
      self.lastTimestamp = lastTimestamp
    }
  }

  public enum Verdict: Equatable, Sendable {
    /// The file will be used again.
    case free
    /// Part of the journal with this many records; fewer than scanned when its tail is void.
    case kept(recordCount: UInt64)
  }

  /// In the order of the scans.
  public let verdicts: [Verdict]
  /// The last record's number; what is applied when the journal holds nothing after it.
  public let lastSequence: SequenceNumber

  /// - Parameter applied: the bases hold everything up to here.
  public init(of scans: [Scan], applied: SequenceNumber) {
    let facts = scans.enumerated().map { slot, scan in
      SegmentFacts(
        slot: slot, header: scan.header, recordCount: scan.recordCount, end: scan.end,
        lastTimestamp: scan.lastTimestamp)
    }
    let decision = RecoveryDecision.decide(facts, applied: applied, cut: nil)
    var verdicts = [Verdict](repeating: .free, count: scans.count)
    for kept in decision.chain {
      verdicts[kept.facts.slot] = .kept(recordCount: kept.recordCount)
    }
    self.verdicts = verdicts
    lastSequence = decision.lastSequence(applied: applied)
  }
}
