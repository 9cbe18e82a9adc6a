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

  /// Those who were told of it saw the other history.
  @Test func `the last instant that was told is in the gap, whoever's clock is behind`() {
    let told = Timestamp(rawValue: 5000)
    let end = Timestamp(rawValue: 5001)
    var taken = Self.follower
    taken.promise = Promise(given: told)
    taken.parks(at: Self.fork)
    taken.takesOver(from: "east")
    #expect(taken.gaps.last == .init(from: Self.fork.instant, to: end))

    var former = Self.pending()
    former.commits()
    former.becomesFollower(
      after: Self.mark(12), lacking: 7, toldThrough: told, isParting: true)
    #expect(former.gaps.last == .init(from: Self.mark(12).timestamp, to: end))
    // A clock that was wrong leaves nobody without history.
    var wrong = former
    wrong.gaps = [.init(from: .zero, to: Timestamp(rawValue: 6_000_000_000))]
    wrong.completeReconciling(at: Self.mark(40))
    #expect(wrong.historyStart == Self.mark(40).timestamp)
    #expect(wrong.gaps == [.init(from: .zero, to: Self.mark(40).timestamp)])
    // By the clock of the next owner that is later.
    former.completeReconciling(at: Self.mark(40))
    #expect(former.historyStart == end && former.lack == .none)
    #expect(former.gaps.last == .init(from: Self.mark(12).timestamp, to: end))
  }

  @Test func `an owner stops for each site, and of each for the last that it has heard`() {
    let west = Fence(term: 2, site: "west", isPending: true)
    let south = Fence(term: 3, site: "south", isPending: true)
    var fences: [Fence] = []
    fences.note(west)
    fences.note(south)
    #expect(fences == [west, south] && fences.strongest == south)
    let committed = Fence(term: 2, site: "west", isPending: false)
    fences.note(committed)
    #expect(fences == [committed, south] && fences.strongest == committed)
    // It comes late.
    fences.note(Fence(term: 1, site: "west", isPending: true))
    #expect(fences == [committed, south])
    fences.lift("south")
    #expect(fences == [committed])
    fences.lift("west")
    #expect(fences.isEmpty && fences.strongest == nil)
  }

  /// Its disks are brought in step with the next owner, and that one is lost.
  @Test func `going back restores what was parked, and knows each term that was heard of`() {
    var state = Self.follower
    state.applied = Self.mark(12)
    let parked = state.parked(
      after: Self.mark(12), as: "g@before-gap-g", from: Self.mark(12).timestamp, firstNumber: 4,
      promised: Timestamp(rawValue: 205))
    let fork = Fork(
      at: .init(last: Self.mark(12), tail: nil, end: Self.mark(20), byteCount: 0),
      instant: Self.mark(12).timestamp, began: Timestamp(rawValue: 900), parked: "before-gap-g",
      epoch: 2, identity: GroupIdentifier(high: 3, low: 4))
    state.jumps(at: fork)
    var disks = state.disks
    disks[0].byteCount = 8192
    let owner = Lineage([.numbered(1), .numbered(2, after: 15, at: 150), .numbered(9)])
    state.hasJumped(
      to: LackingList(
        number: 77, group: state.group, behind: Self.mark(40), of: owner, disks: disks,
        nextDisk: 3, extents: DiskExtents()),
      toldThrough: Timestamp(rawValue: 205))
    #expect(state.baseline == .reconciling && state.lack.before == "before-gap-g")
    #expect(state.gaps.count == 1)
    state.ownership.hear(of: 6, isTaken: true)
    // A second jump, and a cut, keep in mind where it was parked.
    state.cut(
      after: Self.mark(40).sequence, keeping: owner, ownerDurable: .unknown, isDiscarded: false)
    #expect(state.lack.before == "before-gap-g")
    var described = parked
    described.disks[0].name += "@before-gap-g"
    let before = state.before(described, in: "before-gap-g")
    state.reverts(at: fork)
    #expect(state.fork?.stage == .reverting)
    guard let before else { return #expect(Bool(false), "its disk is there") }
    state.hasReverted(to: before)
    var expected = Self.follower
    (expected.applied, expected.applyTarget) = (Self.mark(12), Self.mark(12))
    expected.oldestSegment = 4
    expected.historyStart = Self.mark(12).timestamp
    expected.promise = Promise(given: Timestamp(rawValue: 205))
    expected.disks[0].byteCount = 8192
    expected.nextDisk = 3
    expected.ownership = Ownership(
      duty: .following, term: 1, configured: .following, highestTerm: 6)
    #expect(state == expected)
    // A disk of then that has left cannot be shown.
    state.disks[0].name = "other"
    #expect(state.before(described, in: "before-gap-g") == nil)
  }

  @Test func `what is committed stays, and apply is free`() {
    var state = Self.pending()
    state.commits()
    #expect(state.fork == nil && state.applyLimit == nil && state.ownership.term == 2)
  }
}
