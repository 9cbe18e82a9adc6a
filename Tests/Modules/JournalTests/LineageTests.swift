import BlockModel
import JournalTestSupport
import Testing

@testable import Journal

/// A lineage says which record is whose, and nobody can be taken for somebody else in it.
@Suite struct LineageTests {
  static func mark(_ sequence: UInt64) -> JournalState.Mark {
    .init(SequenceNumber(sequence), Timestamp(rawValue: sequence * 10))
  }

  /// The third began before the second: a power cut took all of that.
  static let lineage = Lineage([
    .numbered(1), .numbered(2, after: 100), .numbered(3, after: 90), .numbered(7, after: 120),
  ])

  @Test func `an incarnation ends where a later one begins`() {
    let last = Self.mark(150)
    let ends = Self.lineage.incarnations.map {
      Self.lineage.end(of: $0.identifier, last: last)?.sequence.rawValue
    }
    #expect(ends == [90, 90, 120, 150])
    #expect(Self.lineage.end(of: .numbered(4), last: last) == nil)
  }

  @Test(arguments: [(1, 1), (90, 1), (91, 3), (120, 3), (121, 7)] as [(UInt64, UInt64)])
  func `a record is of the last one that began before it`(sequence: UInt64, epoch: UInt64) {
    #expect(Self.lineage.holder(of: SequenceNumber(sequence))?.epoch == epoch)
  }

  @Test(arguments: [(0, []), (90, [1]), (91, [1, 3]), (121, [1, 3, 7])] as [(UInt64, [UInt64])])
  func `those that hold records up to one`(sequence: UInt64, epochs: [UInt64]) {
    let held = Self.lineage.holding(through: SequenceNumber(sequence))
    #expect(held.incarnations.map(\.epoch) == epochs)
  }

  @Test func `each start has an identity of its own and names its parent`() {
    var one = Lineage()
    one.begin(after: .origin, term: 1, replacingNewest: false)
    var other = one
    one.begin(after: Self.mark(5), term: 1, replacingNewest: false)
    other.begin(after: Self.mark(5), term: 1, replacingNewest: false)
    #expect(one.newest?.identifier != other.newest?.identifier)
    #expect(one.newest?.epoch == other.newest?.epoch)
    #expect(one.newest?.parent == one.incarnations[0].identifier)
  }

  @Test func `starts in which nothing was stamped leave no trace when they ended cleanly`() {
    var state = JournalState(
      groupName: "g", group: GroupIdentifier(high: 1, low: 1), disks: [], baseline: .complete)
    for _ in 0..<1000 { state.beginIncarnation(after: .origin) }
    #expect(state.lineage.incarnations.count == 1)
    #expect(state.lineage.newest?.parent == IncarnationIdentifier.none)
    #expect(state.epoch == 1001)
    // After a crash nobody knows what the peer was sent.
    state.isClean = false
    state.beginIncarnation(after: .origin)
    #expect(state.lineage.incarnations.count == 2)
  }

  @Test func `of many starts those without a record are forgotten first`() {
    var lineage = Lineage()
    for number in UInt64(0)..<200 {
      lineage.begin(after: Self.mark(number), term: 1, replacingNewest: false)
    }
    for _ in 0..<300 { lineage.begin(after: Self.mark(200), term: 1, replacingNewest: false) }
    #expect(lineage.incarnations.count == Lineage.limit)
    #expect(lineage.incarnations.prefix(200).map(\.after.sequence.rawValue) == Array(0..<200))
  }

  @Test func `what is noted takes the place of what it did not take over`() {
    var lineage = Self.lineage
    lineage.note(.numbered(3, after: 90))
    #expect(lineage == Self.lineage)
    lineage.note(.numbered(5, after: 110))
    #expect(lineage.incarnations.map(\.epoch) == [1, 2, 3, 5])
  }
}
