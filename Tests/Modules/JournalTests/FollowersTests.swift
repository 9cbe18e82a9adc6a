import BlockModel
import JournalTestSupport
import Synchronization
import SystemIO
import Testing

@testable import Journal

/// The registry of those who follow a journal: what is kept for them, and who gives way first.
@Suite struct FollowersTests {
  fileprivate struct One {
    let site: String
    let whenFull: Follower.WhenFull
    let durable: UInt64
    let isDetached: Bool
    init(
      _ site: String, _ whenFull: Follower.WhenFull, _ durable: UInt64, isDetached: Bool = false
    ) {
      self.site = site
      self.whenFull = whenFull
      self.durable = durable
      self.isDetached = isDetached
    }
  }

  private static func followers(_ list: [One]) throws -> Followers {
    let followers = Followers(list.map { (site: $0.site, whenFull: $0.whenFull) })
    for (one, follower) in zip(list, followers.all) {
      let mark = SequenceNumber(one.durable)
      follower.reporter.report(received: mark, durable: mark, applied: .none)
      if one.isDetached { follower.detach() }
    }
    return followers
  }

  private final class Told: Sendable { let count = Atomic(0) }

  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    fileprivate let list: [One]
    let mark: UInt64?
    let throttling: UInt64?
    let behind: String?
    let drop: String?
    fileprivate init(
      _ description: String, _ list: [One], mark: UInt64?, throttling: UInt64? = nil,
      behind: String? = nil, drop: String? = nil
    ) {
      testDescription = description
      self.list = list
      self.mark = mark
      self.throttling = throttling
      self.behind = behind
      self.drop = drop
    }
  }

  /// Records up to 100 are applied.
  static let cases: [Case] = [
    Case("nobody", [], mark: nil),
    Case("one in step", [One("w", .degrade, 120)], mark: 120),
    Case("one that waits", [One("w", .block, 40)], mark: 40, behind: "w"),
    Case("one that gives way", [One("w", .degrade, 40)], mark: 40, behind: "w", drop: "w"),
    Case("one that gave way", [One("w", .degrade, 40, isDetached: true)], mark: nil),
    Case(
      "the furthest behind goes first", [One("w", .degrade, 90), One("s", .degrade, 40)],
      mark: 40, behind: "s", drop: "s"),
    Case(
      "who went counts no more",
      [One("w", .degrade, 50), One("s", .degrade, 40, isDetached: true)],
      mark: 50, behind: "w", drop: "w"),
    Case(
      "who has all of the oldest segment holds nothing", [One("w", .degrade, 90)], mark: 90,
      behind: "w"),
    Case(
      "nobody goes for a segment that another holds as well",
      [One("s", .degrade, 40), One("w", .block, 41)], mark: 40, behind: "s"),
    Case(
      "one goes though another waits further on", [One("w", .block, 90), One("s", .degrade, 40)],
      mark: 40, behind: "s", drop: "s"),
    Case(
      "nobody goes for nothing", [One("w", .throttle, 40), One("s", .degrade, 50)],
      mark: 40, throttling: 40, behind: "w"),
    Case(
      "nor beside one that waits at the same record",
      [One("s", .degrade, 40), One("w", .block, 40)], mark: 40, behind: "s"),
    Case(
      "writes are slowed for those alone that ask for it",
      [One("s", .degrade, 40), One("w", .throttle, 70), One("n", .throttle, 80)],
      mark: 40, throttling: 70, behind: "s", drop: "s"),
    Case(
      "nothing is slowed for one that must be copied",
      [One("w", .throttle, 70, isDetached: true), One("n", .throttle, 110)],
      mark: 110, throttling: 110),
  ]

  @Test(arguments: cases)
  func `what is kept, and who gives way`(given: Case) throws {
    let followers = try Self.followers(given.list)
    let applied = SequenceNumber(100)
    #expect(followers.mark?.rawValue == given.mark)
    #expect(followers.throttlingMark?.rawValue == given.throttling)
    #expect(followers.furthestBehind(applied)?.site == given.behind)
    let drop = followers.firstToDrop(applied, oldestSegmentEndsWith: SequenceNumber(60))
    #expect(drop?.site == given.drop)
  }

  /// It holds nothing that apply does not hold as well.
  @Test func `nobody goes while the oldest segment is not applied`() throws {
    let followers = try Self.followers([One("w", .degrade, 40)])
    let end = SequenceNumber(60)
    #expect(followers.firstToDrop(SequenceNumber(59), oldestSegmentEndsWith: end) == nil)
    #expect(followers.firstToDrop(end, oldestSegmentEndsWith: end)?.site == "w")
  }

  @Test func `a follower begins where it was, and only under its own name`() throws {
    let known: [JournalState.FollowerMark] = [.init(site: "w", durable: SequenceNumber(7))]
    let followers = Followers(
      [(site: "s", whenFull: .block), (site: "w", whenFull: .block)], known: known)
    #expect(followers.all.map(\.durable.rawValue) == [0, 7])
    #expect(followers.mark == SequenceNumber.none)
  }

  @Test func `a full copy keeps nothing until records follow it`() throws {
    let followers = try Self.followers([One("w", .block, 40), One("s", .block, 60)])
    let copied = followers.all[0]
    copied.reporter.copyBegins()
    #expect(followers.mark == SequenceNumber(60) && copied.durable == .none)
    #expect(followers.marks.map(\.site) == ["w", "s"])
    #expect(followers.marks.map(\.isKept) == [false, true])
    #expect(followers.areNoted(in: followers.marks))
    #expect(!followers.areNoted(in: Array(followers.marks.dropLast())))
    copied.reporter.copyFollows(from: SequenceNumber(50))
    #expect(followers.mark == SequenceNumber(50) && !copied.isDetached)
  }

  /// After a start nobody knows whether its copy is whole, and the journal reaches back.
  @Test func `for whom nothing was kept, nothing is kept until it goes on`() throws {
    let known: [JournalState.FollowerMark] = [
      .init(site: "w", durable: .none, isKept: false),
      .init(site: "s", durable: SequenceNumber(60)),
    ]
    let followers = Followers(
      [(site: "w", whenFull: .block), (site: "s", whenFull: .block)], known: known)
    let waiting = followers.all[0]
    #expect(followers.mark == SequenceNumber(60) && waiting.isDetached && !waiting.isGivenUp)
    waiting.reporter.goesOn(after: SequenceNumber(50))
    #expect(!waiting.isDetached)
    waiting.detach()
    waiting.reporter.goesOn(after: SequenceNumber(50))
    #expect(waiting.isGivenUp)
  }

  @Test func `what is detached is told, so that its connection ends`() throws {
    let followers = try Self.followers([One("w", .degrade, 40)])
    let told = Told()
    followers.all[0].setOnDetach { told.count.add(1, ordering: .relaxed) }
    followers.all[0].detach()
    #expect(told.count.load(ordering: .relaxed) == 1)
  }

  /// One that waits is told once, and costs those that are busy nothing.
  @Test func `growth wakes those that wait and no others`() throws {
    let followers = try Self.followers([One("w", .block, 0), One("s", .block, 0)])
    let told = followers.all.map { _ in Told() }
    for (follower, told) in zip(followers.all, told) {
      follower.setOnGrowth { told.count.add(1, ordering: .relaxed) }
    }
    func counts() -> [Int] { told.map { $0.count.load(ordering: .relaxed) } }
    followers.all[1].arm()
    followers.signal.notify()
    #expect(counts() == [0, 1])
    // Only what is armed again is told again.
    followers.signal.notify()
    #expect(counts() == [0, 1])
    for follower in followers.all { follower.arm() }
    followers.signal.notify()
    #expect(counts() == [1, 2])
    // One whose link has ended is armed still.
    for follower in followers.all { follower.arm() }
    followers.all[1].setOnGrowth(nil)
    followers.signal.notify()
    #expect(counts() == [2, 2])
  }
}
