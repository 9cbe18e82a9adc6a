import BlockModel
import Journal
import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves that an ownership that is taken back leaves the group as it was, also when what was
/// written meanwhile is dropped, and wherever a crash comes.
@Suite(.scratch) struct OwnershipExchangeTests {
  /// It is taken over after that record, and written to.
  private func takenOver(after last: Int, writing count: Int) throws -> WrittenGroup {
    let group = try WrittenGroup()
    let (instant, now) = (group.instant(last), group.promised)
    let tail = try group.exchange {
      try $0.failOver(from: "east", at: instant, parking: "old", commits: nil, now: now)
    }
    #expect(tail.name == "old" && tail.recordCount == UInt64(group.images.count - 1 - last))
    try group.serve { host in
      let image = try group.write(count, by: host, over: group.images[last])
      let shown = try host.image(at: .latest)
      #expect(shown == image)
      try group.checkTail(of: host, "old", from: last)
    }
    return group
  }

  private func expectAsBefore(_ group: WrittenGroup, from last: Int, _ when: Comment) throws {
    try group.serve { host in
      // Also of the time before: a second try is often an earlier instant.
      for index in stride(from: 0, to: group.images.count, by: 3) {
        let shown = try host.image(at: .at(group.instant(index)))
        #expect(shown == group.images[index], when)
      }
      let shown = try host.image(at: .latest)
      #expect(shown == group.lastImage, when)
      #expect(host.group?.branches.named("old") == nil, when)
    }
    let state = try group.state()
    #expect(state.fork == nil && state.ownership.duty == .following, when)
    #expect(state.ownership.highestTerm > state.ownership.term, when)
  }

  /// What was written is durable: whoever discards it gives up that, too.
  @Test func `what was written is dropped`() throws {
    let group = try takenOver(after: 20, writing: 30)
    let dropped = try group.exchange { try $0.giveBack(parking: nil) }
    #expect(dropped.name.isEmpty && dropped.recordCount >= 30)
    try expectAsBefore(group, from: 20, "in the end")
  }

  /// The owner's records go before the first of the others come back, and are not looked for after
  /// that: it would be those that are found.
  @Test(arguments: [0, 20], [0, 30])
  func `a rollback that drops goes on after a crash at any step`(last: Int, count: Int) throws {
    var (steps, isOver) = (0, false)
    while !isOver {
      let group = try takenOver(after: last, writing: count)
      isOver = try group.dropAndRestore("old", after: last, upTo: steps)
      try expectAsBefore(group, from: last, "step \(steps)")
      steps += 1
    }
    #expect(steps > 6)
  }
}
