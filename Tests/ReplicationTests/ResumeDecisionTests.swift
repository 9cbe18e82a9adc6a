import BlockModel
import Journal
import JournalTestSupport
import Replication
import TestSupport
import Testing

/// Proves where the sender goes on with a receiver, from what the receiver says it has: never past
/// a hole, and never on top of records that the protected site does not have.
struct ResumeDecisionTests {
  /// The sender began epoch 1 with record 1, epoch 3 with record 101, epoch 4 with record 201; it
  /// ends with record 250.
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    var needsBaseline = false
    var epoch: UInt64
    var sequence: UInt64
    var applied: UInt64
    /// The first record in the sender's journal; nil when it holds none.
    var oldest: UInt64? = 50
    let expected: ResumeDecision

    init(
      _ description: String, needsBaseline: Bool = false, epoch: UInt64, has sequence: UInt64,
      applied: UInt64 = 0, oldest: UInt64? = 50, _ expected: ResumeDecision
    ) {
      testDescription = description
      self.needsBaseline = needsBaseline
      self.epoch = epoch
      self.sequence = sequence
      self.applied = applied
      self.oldest = oldest
      self.expected = expected
    }
  }

  private static let epochs: [JournalState.EpochStart] = [
    .init(epoch: 1, firstSequence: SequenceNumber(1)),
    .init(epoch: 3, firstSequence: SequenceNumber(101)),
    .init(epoch: 4, firstSequence: SequenceNumber(201)),
  ]
  private static let last = SequenceNumber(250)

  static let cases = [
    Case("in step", epoch: 4, has: 250, .resume),
    Case("in step, the journal is empty", epoch: 4, has: 250, oldest: nil, .resume),
    Case("behind", epoch: 4, has: 230, .resume),
    Case("behind, in the epoch before", epoch: 3, has: 150, .resume),
    Case("at the end of the epoch before", epoch: 3, has: 200, .resume),
    Case("behind, in the oldest epoch", epoch: 1, has: 70, .resume),
    Case("the next record is the journal's oldest", epoch: 1, has: 49, .resume),
    Case("one record behind the journal", epoch: 1, has: 48, .baseline),
    Case("has nothing, the journal begins later", epoch: 1, has: 0, .baseline),
    Case("has nothing, the journal has everything", epoch: 1, has: 0, oldest: 1, .resume),
    Case("behind, the journal is empty", epoch: 4, has: 249, oldest: nil, .baseline),
    Case(
      "ahead in an older epoch", epoch: 3, has: 201, .cut(after: SequenceNumber(200))),
    Case(
      "far ahead in the oldest epoch", epoch: 1, has: 10_000, applied: 99,
      .cut(after: SequenceNumber(100))),
    Case(
      "ahead, applied up to the fork", epoch: 3, has: 240, applied: 200,
      .cut(after: SequenceNumber(200))),
    Case("ahead, applied beyond the fork", epoch: 3, has: 240, applied: 201, .baseline),
    Case("ahead in the newest epoch", epoch: 4, has: 251, .cut(after: SequenceNumber(250))),
    Case(
      "ahead in the newest epoch and applied", epoch: 4, has: 251, applied: 251, .baseline),
    Case("an epoch between two of the sender's", epoch: 2, has: 100, .baseline),
    Case("an epoch that is still to come", epoch: 5, has: 250, .baseline),
    Case("an epoch that is forgotten", epoch: 0, has: 250, .baseline),
    Case("needs a baseline", needsBaseline: true, epoch: 4, has: 250, .baseline),
    Case(
      "needs a baseline and is ahead", needsBaseline: true, epoch: 3, has: 240, .baseline),
  ]

  @Test(arguments: cases) func `the sender decides`(given: Case) {
    let welcome = LinkWelcome(
      site: "west", needsBaseline: given.needsBaseline, epoch: given.epoch,
      sequence: SequenceNumber(given.sequence), position: StreamPosition(segment: 1, offset: 4096),
      applied: SequenceNumber(given.applied))
    let decision = ResumeDecision.decide(
      welcome, epochs: Self.epochs, last: Self.last, oldest: given.oldest.map { SequenceNumber($0) }
    )
    #expect(decision == given.expected)
  }

  @Test(arguments: 1...4 as ClosedRange<UInt64>)
  func `a cut is always below what the receiver has and not below what it applied`(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<1000 {
      let sequence = random.below(4) == 0 ? random.next() : random.next() % 300
      let welcome = LinkWelcome(
        site: "west", needsBaseline: false, epoch: random.next() % 6,
        sequence: SequenceNumber(sequence), position: StreamPosition(argument: random.next()),
        applied: SequenceNumber(random.next() % 300))
      let decision = ResumeDecision.decide(
        welcome, epochs: Self.epochs, last: Self.last, oldest: SequenceNumber(50))
      switch decision {
      case .cut(let end):
        #expect(end < welcome.sequence && end >= welcome.applied)
      case .resume:
        #expect(welcome.sequence <= Self.last && welcome.sequence.rawValue >= 49)
      case .baseline:
        break
      }
    }
  }
}
