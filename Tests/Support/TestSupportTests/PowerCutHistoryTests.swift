import TestSupport
import Testing

/// Proves that the yardstick for power cuts demands what was made durable and the order of the
/// rest, and nothing else.
@Suite struct PowerCutHistoryTests {
  private let history = WriteHistory(sectors: 4)

  private func write(_ sector: Int, isDurable: Bool = false) -> UInt64 {
    let tag = history.begin(first: sector, count: 1)
    history.acknowledge(tag, isDurable: isDurable)
    // Two events in the same nanosecond have no order.
    _ = quietInstant(margin: .microseconds(10))
    return tag
  }

  private func image(_ tags: UInt64...) -> [UInt8] {
    tags.enumerated().flatMap { sector, tag in
      tag == 0
        ? [UInt8](repeating: 0, count: TaggedSectors.size)
        : TaggedSectors.make(tag: tag, first: sector, count: 1)
    }
  }

  @Test func `what was neither flushed nor had FUA may be lost`() {
    let tag = write(0)
    #expect(history.powerCutViolations(in: image(0, 0, 0, 0)) == [])
    #expect(history.powerCutViolations(in: image(tag, 0, 0, 0)) == [])
  }

  @Test func `a write with FUA must be there`() {
    _ = write(0, isDurable: true)
    #expect(
      history.powerCutViolations(in: image(0, 0, 0, 0)) == ["sector 0 holds write 0, lost 1"])
  }

  @Test func `what was acknowledged before a flush must be there once it is answered`() {
    let before = write(0)
    let flush = history.beginFlush()
    _ = quietInstant(margin: .microseconds(10))
    _ = write(1)
    #expect(history.powerCutViolations(in: image(0, 0, 0, 0)) == [])
    history.finish(flush)
    #expect(
      history.powerCutViolations(in: image(0, 0, 0, 0)) == ["sector 0 holds write 0, lost 1"])
    #expect(history.powerCutViolations(in: image(before, 0, 0, 0)) == [])
  }

  @Test func `nothing is there without what came before it`() {
    let first = write(0)
    let second = write(1)
    #expect(history.powerCutViolations(in: image(first, 0, 0, 0)) == [])
    #expect(
      history.powerCutViolations(in: image(0, second, 0, 0)) == ["sector 0 holds write 0, lost 1"])
  }

  @Test func `what survived a cut is durable, and what was lost does not come back`() {
    let kept = write(0)
    let lost = write(1)
    history.settleAfterPowerCut(with: image(kept, 0, 0, 0))
    #expect(history.powerCutViolations(in: image(kept, 0, 0, 0)) == [])
    #expect(history.powerCutViolations(in: image(0, 0, 0, 0)).count == 1)
    #expect(history.powerCutViolations(in: image(kept, lost, 0, 0)).count == 1)
  }

  @Test func `what was overwritten before the cut remains an earlier instant's`() {
    let old = write(0)
    let instant = quietInstant()
    let new = write(0)
    history.settleAfterPowerCut(with: image(new, 0, 0, 0))
    let slack = Duration.milliseconds(1)
    #expect(history.violations(in: image(old, 0, 0, 0), at: instant, slack: slack) == [])
    #expect(history.violations(in: image(new, 0, 0, 0), at: instant, slack: slack).count == 1)
  }

  @Test func `what is forgotten was overwritten`() {
    let old = write(0)
    let current = write(0)
    let other = write(1)
    let instant = quietInstant()
    history.forget(before: instant)
    let later = write(2)
    #expect(history.violations(in: image(current, other, later, 0)) == [])
    #expect(history.violations(in: image(old, other, later, 0)).count == 1)
    #expect(history.violations(in: image(current, other, 0, 0)).count == 1)
  }
}
