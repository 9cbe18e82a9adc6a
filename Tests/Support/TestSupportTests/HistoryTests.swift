import TestSupport
import Testing

/// Proves that the yardsticks find each way in which a disk can be wrong, and nothing in a right
/// one.
@Suite struct HistoryTests {
  private let size = TaggedSectors.size

  private func image(_ history: WriteHistory, _ writes: (tag: UInt64, first: Int, count: Int)...)
    -> [UInt8]
  {
    var image = [UInt8](repeating: 0, count: history.sectors * size)
    for (tag, first, count) in writes {
      image.replaceSubrange(
        first * size..<(first + count) * size,
        with: TaggedSectors.make(tag: tag, first: first, count: count))
    }
    return image
  }

  @Test func `an acknowledged write must be there`() {
    let history = WriteHistory(sectors: 8)
    let tag = history.begin(first: 2, count: 2)
    history.acknowledge(tag)
    #expect(history.violations(in: image(history, (tag, 2, 2))) == [])
    #expect(
      history.violations(in: image(history)) == [
        "sector 2 holds write 0, lost 1", "sector 3 holds write 0, lost 1",
      ])
  }

  @Test func `a write without an answer is there as a whole or not at all`() {
    let history = WriteHistory(sectors: 8)
    let tag = history.begin(first: 2, count: 2)
    #expect(history.violations(in: image(history)) == [])
    #expect(history.violations(in: image(history, (tag, 2, 2))) == [])
    #expect(history.violations(in: image(history, (tag, 2, 1))) == ["write 1 is there in part"])
  }

  @Test func `a write without an answer does not come back over a later one`() {
    let history = WriteHistory(sectors: 8)
    let lost = history.begin(first: 0, count: 1)
    let later = history.begin(first: 0, count: 1)
    history.acknowledge(later)
    #expect(history.violations(in: image(history, (later, 0, 1))) == [])
    #expect(
      history.violations(in: image(history, (lost, 0, 1))) == [
        "sector 0 holds write 1, lost 2"
      ])
  }

  @Test func `a verdict on writes without an answer is final`() {
    let history = WriteHistory(sectors: 4)
    let kept = history.begin(first: 0, count: 1)
    let lost = history.begin(first: 1, count: 1)
    history.settle(with: image(history, (kept, 0, 1)))
    #expect(history.violations(in: image(history, (kept, 0, 1))) == [])
    #expect(history.violations(in: image(history)).count == 1)
    #expect(history.violations(in: image(history, (kept, 0, 1), (lost, 1, 1))).count == 1)
  }

  @Test func `torn, foreign and misplaced sectors are found`() {
    let history = WriteHistory(sectors: 4)
    let tag = history.begin(first: 0, count: 2)
    history.acknowledge(tag)
    var torn = image(history, (tag, 0, 2))
    torn[100] ^= 1
    #expect(history.violations(in: torn).contains { $0.contains("sector 0 is torn") })
    var swapped = image(history)
    swapped.replaceSubrange(0..<size, with: TaggedSectors.make(tag: tag, first: 1, count: 1))
    #expect(history.violations(in: swapped).contains { $0.contains("sector 0 is torn") })
    #expect(
      history.violations(in: image(history, (tag, 0, 3))).contains {
        $0.contains("sector 2 holds write 1")
      })
  }

  @Test func `a view holds what was acknowledged before it and nothing from after it`() {
    let history = WriteHistory(sectors: 4)
    let first = history.begin(first: 0, count: 1)
    history.acknowledge(first)
    let instant = quietInstant(margin: .milliseconds(15))
    let second = history.begin(first: 1, count: 1)
    history.acknowledge(second)
    #expect(history.violations(in: image(history, (first, 0, 1)), at: instant) == [])
    #expect(history.violations(in: image(history), at: instant).count == 1)
    let both = image(history, (first, 0, 1), (second, 1, 1))
    #expect(
      history.violations(in: both, at: instant) == [
        "sector 1 holds write 2 of after the instant"
      ])
  }

  @Test func `a cut that shows a write shows all acknowledged before it was submitted`() {
    let history = WriteHistory(sectors: 4)
    let first = history.begin(first: 0, count: 1)
    history.acknowledge(first)
    _ = quietInstant(margin: .milliseconds(15))
    let second = history.begin(first: 1, count: 1)
    history.acknowledge(second)
    #expect(history.cutViolations(in: image(history)) == [])
    #expect(history.cutViolations(in: image(history, (first, 0, 1))) == [])
    #expect(history.cutViolations(in: image(history, (first, 0, 1), (second, 1, 1))) == [])
    #expect(
      history.cutViolations(in: image(history, (second, 1, 1))) == [
        "sector 0 holds write 0, lost 1"
      ])
  }

  @Test func `a plain history gives the image of every instant`() {
    var history = PlainHistory(base: [1, 2, 3, 4])
    let start = quietInstant()
    history.append(.write([9, 9]), at: 1)
    let middle = quietInstant()
    history.append(.zero(3), at: 0)
    #expect(history.image(at: start) == [1, 2, 3, 4])
    #expect(history.image(at: middle) == [1, 9, 9, 4])
    #expect(history.image() == [0, 0, 0, 4])
    #expect(
      difference(history.image(), [0, 0, 1, 4]) == "1 bytes differ, the first at 2: 0 instead of 1")
    #expect(difference([1], [1]) == nil)
  }
}
