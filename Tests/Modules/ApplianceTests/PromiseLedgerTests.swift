import BlockModel
import Journal
import Testing

@testable import Appliance

/// Proves what must be durable before an instant is opened, and what a following group believes of
/// its owner's promises.
@Suite struct PromiseLedgerTests {
  private static func time(_ rawValue: UInt64) -> Timestamp { Timestamp(rawValue: rawValue) }
  private static func record(_ rawValue: UInt64) -> SequenceNumber { SequenceNumber(rawValue) }
  private static let second: UInt64 = 1_000_000_000

  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let instant: UInt64
    var duty = Duty.owning
    var promised: UInt64 = 50
    var durable: UInt64 = 40
    var isDurable = true
    let first: PromiseLedger.Securing
  }

  @Test(arguments: [
    Case(testDescription: "before a durable record", instant: 40, isDurable: false, first: .done),
    Case(testDescription: "promised, and all is durable", instant: 50, first: .done),
    Case(
      testDescription: "promised, with records under way", instant: 50, isDurable: false,
      first: .sync),
    Case(testDescription: "not promised", instant: 51, first: .reservation),
    Case(
      testDescription: "not promised by the owner, as far as is noted", instant: 51,
      duty: .following, first: .note),
  ])
  func `what comes before an instant is opened`(given: Case) {
    let ledger = PromiseLedger(known: .zero, boot: 1)
    let first = ledger.securing(
      Self.time(given.instant), at: given.duty, promised: Self.time(given.promised),
      durableTimestamp: Self.time(given.durable), isDurable: given.isDurable)
    #expect(first == given.first)
  }

  @Test func `a promise counts when the records before it are durable`() {
    var ledger = PromiseLedger(known: Self.time(10), boot: 1)
    ledger.heard(Self.time(20), after: Self.record(5), durable: Self.record(4))
    #expect(ledger.known == Self.time(10))
    // Under load there is always a next: the first is not put off by it.
    ledger.heard(Self.time(30), after: Self.record(9), durable: Self.record(5))
    #expect(ledger.known == Self.time(20))
    ledger.heard(Self.time(30), after: Self.record(9), durable: Self.record(9))
    #expect(ledger.known == Self.time(30))
  }

  @Test func `a journal that starts over forgets what it was told`() {
    var ledger = PromiseLedger(known: Self.time(10), boot: 1)
    ledger.heard(Self.time(20), after: Self.record(5), durable: Self.record(4))
    ledger.restart(Self.time(3))
    ledger.settle(durable: Self.record(9))
    #expect(ledger.known == Self.time(3))
  }

  @Test func `an owner's reservation is renewed before it is used up`() {
    var ledger = PromiseLedger(known: .zero, boot: 1)
    let present = Self.time(100 * Self.second)
    func mustReserve(left: UInt64, lag: UInt64) -> Bool {
      ledger.mustReserve(
        Promise(given: Self.time(present.rawValue + left)),
        given: Self.time(present.rawValue - lag), present: present, now: 50 * Self.second)
    }
    #expect(!mustReserve(left: 5 * Self.second, lag: Self.second))
    #expect(mustReserve(left: 5 * Self.second - 1, lag: 0))
    #expect(mustReserve(left: 30 * Self.second, lag: Self.second + 1))
    ledger.changes(now: 50 * Self.second - Self.second + 1)
    #expect(!mustReserve(left: 0, lag: 0))
  }

  @Test func `a follower's file is at rest, and quicker when somebody asks`() {
    var ledger = PromiseLedger(known: Self.time(60 * Self.second), boot: 1)
    let noted = Promise(given: Self.time(55 * Self.second))
    #expect(ledger.mustNote(noted, now: 25 * Self.second))
    ledger.changes(now: Self.second)
    #expect(!ledger.mustNote(noted, now: 25 * Self.second))
    #expect(!ledger.mustNoteWhenAsked(noted))
    #expect(ledger.mustNoteWhenAsked(Promise(given: Self.time(54 * Self.second))))
  }

  @Test func `who waits goes on with durable records, or gives up when there will be none`() {
    var ledger = PromiseLedger(known: .zero, boot: 1)
    var called: [Int] = []
    for (index, sequence) in [UInt64(5), 7].enumerated() {
      ledger.wait(through: Self.record(sequence)) { called.append(index) }
    }
    for action in ledger.takeReady(durable: Self.record(6), isOver: false) { action() }
    #expect(called == [0] && ledger.hasWaits)
    for action in ledger.takeReady(durable: Self.record(6), isOver: true) { action() }
    #expect(called == [0, 1] && !ledger.hasWaits)
  }
}
