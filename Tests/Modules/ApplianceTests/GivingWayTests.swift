import BlockModel
import Journal
import Replication
import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves that a site gives its order up for another owner's whatever branches it has, and that
/// none of them shows that owner's records, whose times are those that were told here.
@Suite(.scratch) struct GivingWayTests {
  private let group: WrittenGroup
  private let last: Int
  /// Between the last record and the next.
  private let instant: Timestamp
  private let lineage: Lineage

  init() throws {
    // What is stamped here comes right behind what there is.
    group = try WrittenGroup(isAhead: true)
    last = group.firsts[2] + 2
    instant = Timestamp(rawValue: group.instant(last).rawValue + 500_000_000)
    lineage = try group.state().lineage
  }

  /// For good.
  private func failOver() throws {
    let tail = try group.exchange {
      try $0.failOver(
        from: "west", at: instant, parking: "old", commits: nil, forGood: true, now: group.promised)
    }
    #expect(tail.name == "old" && tail.recordCount == UInt64(group.images.count - 1 - last))
  }

  /// For a site that has taken the group over after that record.
  private func giveWay(after common: Int) throws {
    let mark = group.mark(common)
    let history = SiteHistory(lineage.holding(through: mark.sequence), last: mark)
    try group.exchange {
      try $0.giveWay(
        to: Rival(site: "south", claim: Claim(term: 9, isTaken: true), history: history),
        now: group.promised)
    }
    #expect(try group.state().ownership.duty == .following)
  }

  /// What the next owner stamps comes before the instant.
  private func overtake(after common: Int, _ image: [UInt8]) throws {
    try group.own(after: common)
    try group.serve { host in
      _ = try group.write(20, by: host, over: image)
      #expect(try #require(host.group?.journal).newestTimestamp < instant)
      try expectOld(host)
    }
    try group.serve { try expectOld($0) }
  }

  private func expectOld(_ host: GroupHost) throws {
    let old = try host.branchGroup("old")
    #expect(try old.image(at: .at(instant)) == group.images[last])
    for index in last + 1..<group.images.count {
      #expect(try old.image(at: .at(group.instant(index))) == group.images[index], "\(index)")
    }
  }

  @Test func `what is parked as of an instant between two records is built on the earlier one`()
    throws
  {
    try failOver()
    try giveWay(after: last)
    try overtake(after: last, group.images[last])
  }

  @Test func `records of a failover at an earlier instant are parked beside what it parked`() throws
  {
    try failOver()
    var own: [UInt8] = []
    try group.serve { host in own = try group.write(20, by: host, over: group.images[last]) }
    try giveWay(after: last)
    let expectOwn = { (host: GroupHost) in
      let shown = try host.branchGroup("parked-g-9").image(at: .latest)
      #expect(shown == own)
    }
    try group.serve(expectOwn)
    try overtake(after: last, group.images[last])
    try group.serve(expectOwn)
  }

  /// Apply has passed it, and saved for it, before another owner went on from an earlier record.
  @Test func `what is built on records that are applied and leave the order goes on apart`() throws
  {
    try failOver()
    var own: [UInt8] = []
    try group.serve { host in
      own = try group.overrun(host, group.images[last])
      try expectOld(host)
    }
    let common = last - 10
    #expect(try group.state().applied.sequence > group.mark(last).sequence)
    try giveWay(after: common)
    #expect(try group.record("old")?.isApart == true)
    _ = try group.state {
      #expect($0.baseline == .reconciling && $0.applied == group.mark(common))
      $0.baseline = .complete
      $0.lack = .none
      $0.historyStart = group.instant(common)
    }
    try overtake(after: common, own)
  }

  @Test func `a test of an instant at which the next owner may write ends`() throws {
    let end = group.images.count - 1
    let kept = try group.makeTest("kept", at: end)
    _ = try group.makeTest("told", at: end + 1)
    try giveWay(after: end)
    #expect(try group.record("kept") == kept)
    #expect(try group.record("told")?.ending?.contains("another site owns the group") == true)
  }
}
