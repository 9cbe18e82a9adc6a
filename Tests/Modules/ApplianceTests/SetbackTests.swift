import BlockModel
import Testing

@testable import Appliance

/// Proves that people hear for some time of a group that had to fail, though it is open again.
@Suite struct SetbackTests {
  private static let second: UInt64 = 1_000_000_000
  private static let instant = Timestamp(nanoseconds: 1_700_000_000 * second)

  private func failed(_ reason: String, at seconds: UInt64, after: Setback? = nil) -> Setback {
    Setback(reason, at: Self.instant, now: seconds * Self.second, after: after)
  }

  @Test func `a record that came later and is durable ends it`() {
    var setback = failed("no space", at: 10)
    setback.opened(now: 20 * Self.second, end: SequenceNumber(7))
    let now = 30 * Self.second
    #expect(setback.condition(now: now, durable: SequenceNumber(7)) != nil)
    #expect(setback.condition(now: now, durable: SequenceNumber(8)) == nil)
  }

  @Test func `it is told while the group is closed, and five minutes after it is open`() {
    var setback = failed("no space", at: 10)
    #expect(!setback.isOver(now: 10_000 * Self.second))
    setback.opened(now: 10_000 * Self.second, end: .none)
    let text = setback.condition(now: 10_120 * Self.second, durable: .none)?.text
    #expect(text == "open again; it had failed at \(Self.instant): no space")
    #expect(setback.condition(now: 10_300 * Self.second - 1, durable: .none) != nil)
    #expect(setback.condition(now: 10_300 * Self.second, durable: .none) == nil)
    // Opened once.
    setback.opened(now: 10_200 * Self.second, end: .none)
    #expect(setback.condition(now: 10_300 * Self.second, durable: .none) == nil)
  }

  @Test func `the next failure begins the time anew, and says that it is not the first`() {
    var first = failed("no space", at: 0)
    first.opened(now: Self.second, end: .none)
    var second = failed("read-only", at: 200, after: first)
    second.opened(now: 201 * Self.second, end: .none)
    let text = second.condition(now: 500 * Self.second, durable: .none)?.text ?? ""
    #expect(second.count == 2 && text.contains("read-only") && text.contains("2 times"), "\(text)")
    #expect(second.condition(now: 501 * Self.second, durable: .none) == nil)
    // What is over counts no more.
    #expect(failed("no space", at: 502, after: second).count == 1)
  }

  @Test func `of a group that fails again and again it is told for the whole time`() {
    var first = failed("no space", at: 0)
    first.opened(now: Self.second, end: SequenceNumber(7))
    var second = failed("no space", at: 60, after: first)
    second.opened(now: 61 * Self.second, end: SequenceNumber(8))
    #expect(second.condition(now: 62 * Self.second, durable: SequenceNumber(9)) != nil)
    #expect(second.condition(now: 361 * Self.second, durable: SequenceNumber(9)) == nil)
  }

  @Test func `a record that takes the place of one that was cut off ends it, too`() {
    var setback = failed("no space", at: 0)
    setback.opened(now: Self.second, end: SequenceNumber(7))
    setback.cut(to: SequenceNumber(3))
    #expect(setback.condition(now: 2 * Self.second, durable: SequenceNumber(3)) != nil)
    #expect(setback.condition(now: 2 * Self.second, durable: SequenceNumber(4)) == nil)
  }

  @Test func `it is a warning`() {
    let condition = failed("no space", at: 0).condition(now: 0, durable: .none)
    #expect(condition?.code == .groupReopened && condition?.code.severity == .warning)
  }
}
