import BlockModel
import Testing

@testable import Journal

/// The state of a group whose ownership is taken over and given back: what is kept, and what is not
/// believed any more.
@Suite struct ForkTests {
  private static func mark(_ sequence: UInt64) -> JournalState.Mark {
    .init(SequenceNumber(sequence), Timestamp(rawValue: 10 * sequence))
  }

  /// Of a follower with records to 20, of two incarnations, of which 5 are applied.
  private static let follower: JournalState = {
    var state = JournalState(
      groupName: "g", group: GroupIdentifier(high: 1, low: 2),
      disks: [.init(name: "a", byteCount: 4096)], baseline: .missing)
    state.baseline = .complete
    state.ownership.hear(of: 1)
    state.lineage = Lineage([.numbered(1), .numbered(2, after: 15, at: 150)])
    (state.applied, state.applyTarget) = (mark(5), mark(5))
    state.durable = SequenceNumber(20)
    state.ownerDurable = .init(.numbered(2), SequenceNumber(18))
    state.oldestSegment = 2
    return state
  }()

  private static let fork = Fork(
    at: .init(last: mark(12), tail: 4, end: mark(20), byteCount: 512),
    instant: Timestamp(rawValue: 125), began: Timestamp(rawValue: 900), parked: "parked", epoch: 2,
    identity: GroupIdentifier(high: 3, low: 4))

  private static func pending() -> JournalState {
    var state = follower
    state.parks(at: fork)
    state.takesOver(from: "east")
    return state
  }

  @Test func `taking over forgets what is later than the fork, and nothing earlier`() {
    let state = Self.pending()
    #expect(state.ownership.duty == .owning && state.ownership.term == 2)
    #expect(state.ownership.isTaken && state.fork?.stage == .pending)
    #expect(state.lineage.incarnations.count == 1)
    #expect(state.durable == SequenceNumber(12))
    #expect(state.ownerDurable == .unknown)
    // The segment that record 12 is in stays here.
    #expect(state.followers == [.init(site: "east", durable: SequenceNumber(11))])
    #expect(state.applyLimit == SequenceNumber(12))
  }

  @Test func `what the former owner may have lost is kept for it`() {
    var state = Self.follower
    state.ownerDurable = .init(.numbered(1), SequenceNumber(7))
    state.parks(at: Self.fork)
    state.takesOver(from: "east")
    #expect(state.followers == [.init(site: "east", durable: SequenceNumber(7))])
  }

  @Test func `giving back restores what was, with what was applied meanwhile`() {
    var state = Self.pending()
    state.applied = Self.mark(12)
    state.applyTarget = Self.mark(12)
    // The segment that holds record 12 may be void by now.
    state.oldestSegment = 5
    state.disks[0].byteCount = 8192
    state.returns(parking: "rolled-back")
    let start = max(Self.fork.instant, Self.fork.began, Self.follower.promise.through)
    let told = Timestamp(rawValue: start.rawValue + 5)
    state.goesBack(to: Self.follower, toldThrough: told)
    var expected = Self.follower
    expected.applied = Self.mark(12)
    expected.applyTarget = Self.mark(12)
    expected.oldestSegment = 4
    // The last instant that was told is in it.
    expected.noteGap(.init(from: start, to: Timestamp(rawValue: told.rawValue + 1)))
    expected.disks[0].byteCount = 8192
    expected.ownership = Ownership(
      duty: .following, term: 1, configured: .following, highestTerm: 2)
    #expect(state == expected)
  }

  @Test func `what is committed stays, and apply is free`() {
    var state = Self.pending()
    state.commits()
    #expect(state.fork == nil && state.applyLimit == nil && state.ownership.term == 2)
  }
}
