import BlockModel
import JournalTestSupport
import Testing

@testable import Journal

/// Every row of the recovery table, the walk over a chain, and cuts.
@Suite struct RecoveryDecisionTests {
  static let group = GroupIdentifier(high: 1, low: 2)

  /// Shorthand for a scanned file: `[number: epoch, first ..< next]`.
  struct File: Sendable {
    let number: UInt32
    let epoch: UInt64
    let records: Range<UInt64>
    init(_ number: UInt32, epoch: UInt64 = 1, _ records: Range<UInt64>) {
      self.number = number
      self.epoch = epoch
      self.records = records
    }

    func facts(slot: Int) -> SegmentFacts {
      SegmentFacts(
        slot: slot,
        header: SegmentHeader(
          identity: SegmentIdentity(group: group, incarnation: .numbered(epoch), number: number),
          segmentByteCount: 1 << 20, firstSequence: SequenceNumber(records.lowerBound),
          firstTimestamp: Timestamp(rawValue: records.lowerBound)),
        recordCount: UInt64(records.count), end: 4096 + 28 * records.count,
        lastTimestamp: Timestamp(rawValue: records.upperBound - 1))
    }
  }

  static func blank(slot: Int) -> SegmentFacts {
    SegmentFacts(slot: slot, header: nil, recordCount: 0, end: 0, lastTimestamp: .zero)
  }

  // MARK: Rows

  struct RowCase: Sendable, CustomTestStringConvertible {
    let what: String
    let next: File
    let row: RecoveryDecision.Row
    var testDescription: String { what }
  }

  /// After segment 5 of epoch 4 with records 50 to 59.
  @Test(arguments: [
    RowCase(what: "continues", next: File(6, epoch: 4, 60..<70), row: .keep),
    RowCase(what: "continues, empty", next: File(6, epoch: 4, 60..<60), row: .keep),
    RowCase(what: "continues in a newer epoch", next: File(6, epoch: 9, 60..<61), row: .keep),
    RowCase(what: "overlaps, newer", next: File(6, epoch: 5, 59..<70), row: .keepAndCutPrevious),
    RowCase(what: "overlaps all", next: File(6, epoch: 5, 50..<51), row: .keepAndCutPrevious),
    RowCase(what: "overlaps, same epoch", next: File(6, epoch: 4, 59..<70), row: .doubleNumber),
    RowCase(what: "hole", next: File(6, epoch: 4, 61..<70), row: .lostTail),
    RowCase(what: "hole, newer", next: File(6, epoch: 5, 61..<70), row: .lostTail),
    RowCase(what: "not next", next: File(7, epoch: 4, 60..<70), row: .lostSegment),
    RowCase(what: "not next, newer", next: File(7, epoch: 5, 60..<70), row: .lostSegment),
    RowCase(what: "not next, older", next: File(7, epoch: 3, 60..<70), row: .lostSegment),
    RowCase(what: "older, continues", next: File(6, epoch: 3, 60..<70), row: .olderEpoch),
    RowCase(what: "older, overlaps", next: File(6, epoch: 3, 59..<70), row: .olderEpoch),
    RowCase(what: "older, hole", next: File(6, epoch: 3, 61..<70), row: .olderEpoch),
  ])
  func rowsAreThoseOfTheTable(row: RowCase) {
    let last = RecoveryDecision.Kept(
      facts: File(5, epoch: 4, 50..<60).facts(slot: 0), recordCount: 10)
    let found = RecoveryDecision.row(
      number: row.next.number, first: SequenceNumber(row.next.records.lowerBound),
      incarnation: .numbered(row.next.epoch), after: last)
    #expect(found == row.row)
  }

  /// Another timeline counts its epochs alike.
  @Test(arguments: [60, 59] as [UInt64])
  func `a segment of another incarnation with the same epoch ends the walk`(first: UInt64) {
    let last = RecoveryDecision.Kept(
      facts: File(5, epoch: 4, 50..<60).facts(slot: 0), recordCount: 10)
    let other = Incarnation(identifier: .numbered(99), epoch: 4, after: .origin)
    let found = RecoveryDecision.row(
      number: 6, first: SequenceNumber(first), incarnation: other, after: last)
    #expect(found == .otherTimeline)
  }

  @Test func theTableHasNoOtherRows() {
    #expect(RecoveryDecision.Row.allCases.map(\.rawValue) == [1, 2, 3, 4, 5, 6, 7])
  }

  // MARK: Chains

  struct ChainCase: Sendable, CustomTestStringConvertible {
    let what: String
    /// In the order of their slots; nil is a blank file.
    let files: [File?]
    var applied: UInt64 = 0
    var cut: UInt64?
    /// Slots of the chain, in order, with the number of records that count.
    let chain: [[UInt64]]
    var stop: RecoveryDecision.Row?
    let last: UInt64
    var testDescription: String { what }
  }

  @Test(arguments: [
    ChainCase(what: "nothing", files: [], chain: [], last: 0),
    ChainCase(what: "blank files", files: [nil, nil], applied: 7, chain: [], last: 7),
    ChainCase(
      what: "in the order of numbers, not of slots",
      files: [File(2, 11..<21), nil, File(1, 1..<11), File(3, 21..<23)],
      chain: [[2, 10], [0, 10], [3, 2]], last: 22),
    ChainCase(
      what: "row 2 cuts the one before",
      files: [File(1, 1..<11), File(2, epoch: 2, 8..<12)], chain: [[0, 7], [1, 4]], last: 11),
    ChainCase(
      what: "row 2 takes back a whole segment",
      files: [File(1, 1..<11), File(2, 11..<21), File(3, epoch: 2, 11..<12)],
      chain: [[0, 10], [2, 1]], last: 11),
    ChainCase(
      what: "row 3", files: [File(1, 1..<11), File(2, 10..<21)], chain: [[0, 10]],
      stop: .doubleNumber, last: 10),
    ChainCase(
      what: "row 4", files: [File(1, 1..<9), File(2, 11..<21), File(3, 21..<31)],
      chain: [[0, 8]], stop: .lostTail, last: 8),
    ChainCase(
      what: "row 5", files: [File(1, 1..<11), nil, File(3, 21..<31)], chain: [[0, 10]],
      stop: .lostSegment, last: 10),
    ChainCase(
      what: "of two with one number the newer epoch counts",
      files: [File(1, 1..<11), File(2, 11..<21), File(2, epoch: 2, 6..<8)],
      chain: [[0, 5], [2, 2]], last: 7),
    ChainCase(
      what: "of two with one number the newer epoch counts, other slots",
      files: [File(2, epoch: 2, 6..<8), File(2, 11..<21), File(1, 1..<11)],
      chain: [[2, 5], [0, 2]], last: 7),
    ChainCase(
      what: "of two alike the one with more records counts",
      files: [File(1, 1..<11), File(2, 11..<13), File(2, 11..<21), File(3, 21..<22)],
      chain: [[0, 10], [2, 10], [3, 1]], last: 21),
    ChainCase(
      what: "applied segments before the chain stay",
      files: [File(4, 1..<11), File(5, 11..<21), File(6, 21..<31)], applied: 22,
      chain: [[0, 10], [1, 10], [2, 10]], last: 30),
    ChainCase(
      what: "applied segments behind a gap do not",
      files: [File(3, 1..<11), File(5, 11..<21), File(6, 21..<31)], applied: 22,
      chain: [[1, 10], [2, 10]], last: 30),
    ChainCase(
      what: "an applied segment that lost records does not",
      files: [File(4, 1..<11), File(5, 11..<15), File(6, 21..<31)], applied: 22,
      chain: [[2, 10]], last: 30),
    ChainCase(
      what: "all applied: the last segment stays", files: [File(4, 1..<11), File(5, 11..<21)],
      applied: 20, chain: [[0, 10], [1, 10]], last: 20),
    ChainCase(
      what: "what is needed first is not there", files: [File(2, 11..<21)], applied: 5,
      chain: [], last: 5),
    ChainCase(
      what: "left over from before a fork: behind it",
      files: [File(1, 1..<6), File(2, epoch: 2, 6..<20), File(3, 16..<30)],
      chain: [[0, 5], [1, 14]], last: 19),
    ChainCase(
      what: "left over from before a fork: not where the chain begins",
      files: [File(1, 1..<6), File(2, epoch: 2, 6..<21), File(3, 16..<19), File(4, 19..<25)],
      applied: 18, chain: [[0, 5], [1, 15]], last: 20),
    ChainCase(
      what: "left over from before a fork: all applied",
      files: [File(3, 11..<19), File(1, 1..<6), File(2, epoch: 2, 6..<21)],
      applied: 20, chain: [[1, 5], [2, 15]], last: 20),
    ChainCase(
      what: "cut inside", files: [File(1, 1..<11), File(2, 11..<21)], cut: 13,
      chain: [[0, 10], [1, 3]], last: 13),
    ChainCase(
      what: "cut at the end of a segment", files: [File(1, 1..<11), File(2, 11..<21)], cut: 10,
      chain: [[0, 10]], last: 10),
    ChainCase(
      what: "cut behind the end", files: [File(1, 1..<11)], cut: 99, chain: [[0, 10]], last: 10),
    ChainCase(
      what: "cut before everything", files: [File(1, 5..<11)], applied: 4, cut: 4, chain: [],
      last: 4),
  ])
  func chains(chain: ChainCase) {
    let facts = chain.files.enumerated().map { slot, file in
      file?.facts(slot: slot) ?? Self.blank(slot: slot)
    }
    let applied = SequenceNumber(chain.applied)
    let decision = RecoveryDecision.decide(
      facts, applied: applied, cut: chain.cut.map { SequenceNumber($0) })
    #expect(decision.chain.map { [UInt64($0.facts.slot), $0.recordCount] } == chain.chain)
    if let stop = chain.stop { #expect(decision.stop == stop) }
    #expect(decision.lastSequence(applied: applied).rawValue == chain.last)
    // Every slot is in the chain or free, once.
    let all = decision.chain.map(\.facts.slot) + decision.freeSlots
    #expect(all.sorted() == Array(chain.files.indices))
    #expect(decision.freeSlots == decision.freeSlots.sorted())
  }

  /// The peer may have heard of it, and of records in it: what comes next must not have its number
  /// or its incarnation's place as if it had never been.
  @Test func `segments of which only the header is left are remembered`() {
    let files = [
      File(1, 1..<11), File(2, epoch: 2, 11..<11), File(3, epoch: 3, 11..<11),
    ]
    let facts = files.enumerated().map { $0.element.facts(slot: $0.offset) }
    let decision = RecoveryDecision.decide(facts, applied: .none, cut: nil)
    #expect(decision.chain.map { $0.facts.header?.number } == [1])
    #expect(decision.emptied.map(\.number).sorted() == [2, 3])
    #expect(decision.freeSlots == [1, 2])
  }

  @Test func aSlotsOrderChangesNothing() {
    let files = [
      File(1, 1..<11), File(2, 11..<18), File(3, epoch: 2, 16..<19), File(4, epoch: 2, 19..<33),
    ]
    for rotation in files.indices {
      let turned = Array(files[rotation...] + files[..<rotation])
      let facts = turned.enumerated().map { $0.element.facts(slot: $0.offset) }
      let decision = RecoveryDecision.decide(facts, applied: SequenceNumber(3), cut: nil)
      #expect(decision.chain.map { $0.facts.header?.number } == [1, 2, 3, 4])
      #expect(decision.chain.map(\.recordCount) == [10, 5, 3, 14])
      #expect(decision.chain.map(\.isCut) == [false, true, false, false])
    }
  }
}
