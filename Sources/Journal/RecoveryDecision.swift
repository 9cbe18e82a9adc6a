import BlockModel

#if MUTANTS
  import SystemIO
#endif

/// What a scan found in one segment file.
struct SegmentFacts: Equatable {
  var slot: Int
  /// Nil: blank, torn, or of another group.
  var header: SegmentHeader?
  var recordCount: UInt64
  /// End of the last whole record.
  var end: Int
  var lastTimestamp: Timestamp

  var firstSequence: SequenceNumber { header?.firstSequence ?? .none }
  /// The number after the last record.
  var nextSequence: SequenceNumber { firstSequence.advanced(by: recordCount) }
}

/// Restart recovery as a decision table.
///
/// The segments with readable headers are taken in ascending number (of two with one number, the
/// one of the higher epoch, or else with more records; the other is free). One of an older epoch
/// than a segment before it is left over from before a fork and free. Walking from the one that
/// holds `applied + 1`, each is met with five predicates, and the first row that matches gives the
/// verdict:
///
/// | row | successor | continues | overlaps | newer epoch | verdict |
/// |---|---|---|---|---|---|
/// | 1 | yes | yes | – | any (not older) | keep |
/// | 2 | yes | no | yes | yes | keep, and cut the one before: its tail lost to a fork |
/// | 3 | yes | no | yes | no | stop: the same epoch cannot number a record twice |
/// | 4 | yes | no | no | any | stop: the one before lost its unsynced tail at a power cut |
/// | 5 | no | – | – | any | stop: a whole segment was lost at a power cut |
/// | 6 | yes | any | any | older | stop: left over from before a fork (dropped before the walk) |
/// | 7 | yes | any | any | equal, of another incarnation | stop: of another timeline |
///
/// *successor*: its number is the last kept one's plus 1. *continues*: its first sequence is the
/// last kept record's plus 1. *overlaps*: its first sequence is lower than that. After a stop
/// nothing later is kept: what lies behind a hole was never acknowledged as durable, because a
/// sync covers all that came before. The caller checks that against what the state file knows.
struct RecoveryDecision: Equatable {
  enum Row: Int, CaseIterable {
    case keep = 1
    case keepAndCutPrevious, doubleNumber, lostTail, lostSegment, olderEpoch, otherTimeline
  }

  /// A segment of the chain, oldest first, with the records that count.
  struct Kept: Equatable {
    var facts: SegmentFacts
    var recordCount: UInt64
    /// Its records end before what was scanned: the tail is void.
    var isCut: Bool { recordCount < facts.recordCount }
  }

  var chain: [Kept] = []
  /// Of segments at the end of the walk all of whose records are lost: these are not kept, and
  /// still tell where an epoch began.
  var emptied: [SegmentHeader] = []
  /// Slots that may be used again.
  var freeSlots: [Int] = []
  /// Rows 3 to 7, when one ended the walk before the last segment.
  var stop: Row?

  /// The last record's number, or `applied` when the journal holds nothing after it.
  func lastSequence(applied: SequenceNumber) -> SequenceNumber {
    guard let last = chain.last else { return applied }
    let end = last.facts.firstSequence.advanced(by: last.recordCount)
    return max(applied, SequenceNumber(end.rawValue - 1))
  }

  static func row(
    number: UInt32, first: SequenceNumber, incarnation: Incarnation, after last: Kept
  ) -> Row {
    let epoch = incarnation.epoch
    guard let previous = last.facts.header else { preconditionFailure("kept without a header") }
    let next = last.facts.firstSequence.advanced(by: last.recordCount)
    #if MUTANTS
      if Mutant.acceptStaleSegment.isOn { return .keep }
    #endif
    if number != previous.number + 1 { return .lostSegment }
    if epoch < previous.epoch { return .olderEpoch }
    // Each timeline counts its epochs for itself.
    if epoch == previous.epoch, incarnation != previous.incarnation { return .otherTimeline }
    if first == next { return .keep }
    if first > next { return .lostTail }
    return epoch > previous.epoch ? .keepAndCutPrevious : .doubleNumber
  }

  static func decide(
    _ facts: [SegmentFacts], applied: SequenceNumber, cut: SequenceNumber?
  ) -> RecoveryDecision {
    var decision = RecoveryDecision()
    var byNumber: [UInt32: SegmentFacts] = [:]
    for fact in facts {
      guard let header = fact.header else {
        decision.freeSlots.append(fact.slot)
        continue
      }
      if let rival = byNumber[header.number], let other = rival.header {
        let isNewer = (header.epoch, fact.recordCount) > (other.epoch, rival.recordCount)
        let loser = isNewer ? rival : fact
        decision.freeSlots.append(loser.slot)
        if loser == fact { continue }
      }
      byNumber[header.number] = fact
    }
    let sorted = decision.droppingForked(
      byNumber.values.sorted { ($0.header?.number ?? 0) < ($1.header?.number ?? 0) })
    // The start: the last segment that begins at or before the first record still needed.
    let needed = applied.advanced(by: 1)
    let start = sorted.lastIndex { $0.firstSequence <= needed } ?? sorted.endIndex
    if start < sorted.endIndex {
      decision.walk(forwardFrom: start, in: sorted)
      decision.extendBack(before: start, in: sorted)
    } else {
      decision.freeSlots += sorted.map(\.slot)
    }
    if let cut { decision.apply(cut: cut) }
    decision.dropEmptyTail()
    decision.freeSlots.sort()
    return decision
  }

  /// Frees segments with an older epoch than one of a lower number: where an epoch begins, all
  /// that came later in the epochs before it is void. They must go before the start is looked for,
  /// because they may begin at or before it.
  private mutating func droppingForked(_ sorted: [SegmentFacts]) -> [SegmentFacts] {
    #if MUTANTS
      if Mutant.acceptStaleSegment.isOn { return sorted }
    #endif
    var newest: UInt64 = 0
    return sorted.filter { fact in
      let epoch = fact.header?.epoch ?? 0
      if epoch < newest {
        freeSlots.append(fact.slot)
        return false
      }
      newest = epoch
      return true
    }
  }

  private mutating func walk(forwardFrom start: Int, in sorted: [SegmentFacts]) {
    chain = [Kept(facts: sorted[start], recordCount: sorted[start].recordCount)]
    for index in sorted.indices where index > start {
      let fact = sorted[index]
      guard stop == nil, let header = fact.header else {
        freeSlots.append(fact.slot)
        continue
      }
      let row = Self.row(
        number: header.number, first: header.firstSequence,
        incarnation: header.incarnation, after: chain[chain.count - 1])
      switch row {
      case .keepAndCutPrevious:
        while let last = chain.last, last.facts.firstSequence >= header.firstSequence {
          freeSlots.append(last.facts.slot)
          chain.removeLast()
        }
        if let last = chain.indices.last {
          chain[last].recordCount = header.firstSequence.distance(
            from: chain[last].facts.firstSequence)
        }
        chain.append(Kept(facts: fact, recordCount: fact.recordCount))
      case .keep:
        chain.append(Kept(facts: fact, recordCount: fact.recordCount))
      case .doubleNumber, .lostTail, .lostSegment, .olderEpoch, .otherTimeline:
        stop = row
        freeSlots.append(fact.slot)
      }
    }
  }

  /// Applied segments right before the chain are kept too: the peer may still need them.
  private mutating func extendBack(before start: Int, in sorted: [SegmentFacts]) {
    var contiguous = true
    for index in sorted.indices.reversed() where index < start {
      let fact = sorted[index]
      let first = chain[0].facts
      // A tail that was lost to a fork is still there, as in row 2.
      let isForked =
        fact.nextSequence > first.firstSequence
        && fact.header.map(\.epoch) ?? 0 < first.header.map(\.epoch) ?? 0
      contiguous =
        contiguous && (fact.nextSequence == first.firstSequence || isForked)
        && fact.firstSequence <= first.firstSequence
        && fact.header.map { $0.number + 1 } == first.header?.number
      if contiguous {
        let count = first.firstSequence.distance(from: fact.firstSequence)
        chain.insert(Kept(facts: fact, recordCount: min(fact.recordCount, count)), at: 0)
      } else {
        freeSlots.append(fact.slot)
      }
    }
  }

  /// A segment at the end of which only the header is left: the peer, which may never have heard of
  /// it, must get its number for what comes next.
  private mutating func dropEmptyTail() {
    while chain.count > 1, let last = chain.last, last.recordCount == 0 {
      freeSlots.append(last.facts.slot)
      if let header = last.facts.header { emptied.append(header) }
      chain.removeLast()
    }
  }

  private mutating func apply(cut: SequenceNumber) {
    while let last = chain.last, last.facts.firstSequence > cut {
      freeSlots.append(last.facts.slot)
      chain.removeLast()
    }
    guard let last = chain.indices.last else { return }
    let allowed = cut.advanced(by: 1).distance(from: chain[last].facts.firstSequence)
    chain[last].recordCount = min(chain[last].recordCount, allowed)
  }
}
