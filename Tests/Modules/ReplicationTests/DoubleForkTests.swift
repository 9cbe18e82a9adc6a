import BlockModel
import Journal
import JournalTestSupport
import Testing

@testable import Replication

/// A second power cut may take more than the first left: then a later epoch begins before an
/// earlier one did, and the receiver must go back to the lower fork.
@Suite struct DoubleForkTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let epoch: UInt64
    let sequence: UInt64
    var applied: UInt64 = 0
    let expected: ResumeDecision

    init(
      _ description: String, epoch: UInt64, has sequence: UInt64, applied: UInt64 = 0,
      _ expected: ResumeDecision
    ) {
      testDescription = description
      self.epoch = epoch
      self.sequence = sequence
      self.applied = applied
      self.expected = expected
    }
  }

  static let fork = ResumeDecision.cut(after: SequenceNumber(90))

  /// Epoch 2 began with record 101, epoch 3 with record 91.
  @Test(arguments: [
    Case("at the first fork", epoch: 1, has: 100, fork),
    Case("beyond the first fork", epoch: 1, has: 120, fork),
    Case("between the forks", epoch: 1, has: 91, fork),
    Case("at the lower fork", epoch: 1, has: 90, .resume),
    Case("in the epoch that was lost", epoch: 2, has: 105, fork),
    Case("at the beginning of the epoch that was lost", epoch: 2, has: 100, fork),
    Case("applied beyond the lower fork", epoch: 1, has: 100, applied: 91, .jump(.everything)),
    Case("in the newest epoch", epoch: 3, has: 95, .resume),
    Case("at the end of the newest epoch", epoch: 3, has: 150, .resume),
  ])
  func `the receiver goes back to the lower fork`(given: Case) {
    let lineage = Lineage([
      .numbered(1), .numbered(2, after: 100), .numbered(3, after: 90),
    ])
    let welcome = LinkWelcome(
      site: "west", needsBaseline: false,
      lineage: Lineage(lineage.incarnations.filter { $0.epoch <= given.epoch }),
      last: LastRecord(SequenceNumber(given.sequence), .zero),
      position: StreamPosition(segment: 1, offset: 4096), segmentIncarnation: .none,
      ownerDurable: .unknown, applied: SequenceNumber(given.applied))
    let decision = ResumeDecision.decide(
      welcome, owner: SiteHistory(lineage, last: .init(SequenceNumber(150), .zero)),
      oldest: SequenceNumber(1))
    #expect(decision == given.expected)
  }
}
