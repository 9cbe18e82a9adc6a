import BlockModel
import Testing

@testable import Appliance

/// Proves that a condition begins once and ends once, however often it comes and goes in between,
/// and that the worst is told first.
@Suite struct ConditionLedgerTests {
  private var ledger = ConditionLedger()
  private let link = Condition(.linkDown, "west is away")
  private let apply = Condition(.applyStopped, "the disk is gone")

  /// At so many milliseconds.
  private mutating func note(
    _ present: [Condition], at milliseconds: UInt64
  ) -> [ConditionLedger.Change] {
    ledger.note(
      present, now: 1_000_000 * milliseconds, instant: Timestamp(rawValue: milliseconds))
  }

  @Test mutating func `a condition begins at once, and once`() {
    #expect(note([link], at: 0) == [.began(link)])
    #expect(note([link], at: 200) == [])
    #expect(ledger.entries.map(\.since) == [Timestamp(rawValue: 0)])
  }

  @Test mutating func `what comes and goes is one condition, and its last words are told`() {
    _ = note([link], at: 0)
    for milliseconds in stride(from: 1_000, through: 60_000, by: 2_000) {
      #expect(note([], at: UInt64(milliseconds)) == [])
      #expect(ledger.entries.count == 1)
      let again = Condition(.linkDown, "west is away for \(milliseconds) ms")
      #expect(note([again], at: UInt64(milliseconds) + 1_000) == [])
      #expect(ledger.entries.first?.condition == again)
    }
  }

  @Test mutating func `it ends when it was not there for a while, and says how long it was`() {
    _ = note([link], at: 0)
    _ = note([link], at: 5_000)
    #expect(note([], at: 7_999) == [])
    #expect(note([], at: 8_000) == [.ended(link, afterNanoseconds: 5_000_000_000)])
    #expect(ledger.entries.isEmpty)
    #expect(note([link], at: 9_000) == [.began(link)])
  }

  @Test mutating func `the worst comes first, and the cause before its effect`() {
    let waits = Condition(.writesWait, "the journal is full")
    let failed = Condition(.groupFailed, "the journal cannot be written")
    _ = note([link, waits, apply, failed], at: 0)
    #expect(ledger.entries.map(\.condition) == [failed, apply, waits, link])
  }

  @Test mutating func `conditions of two disks are two`() {
    let one = Condition(.diskTooSmall, disk: "a", "a is too small")
    let other = Condition(.diskTooSmall, disk: "b", "b is too small")
    #expect(note([one, other], at: 0) == [.began(one), .began(other)])
    #expect(note([other], at: 3_000) == [.ended(one, afterNanoseconds: 0)])
  }

  @Test func `health is what the worst says that is more than good to know`() {
    func status(_ conditions: [Condition]) -> [ConditionStatus] {
      conditions.map { ConditionStatus($0, since: .zero) }
    }
    let copying = Condition(.copying, "a full copy is under way")
    #expect(status([]).health == "ok")
    #expect(status([copying]).health == "ok")
    #expect(status([apply, link, copying]).health == "the disk is gone")
  }
}
