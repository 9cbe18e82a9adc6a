/// The last `seconds` of a disk as a ring of equal slots.
///
/// The newest slot is the one being filled, so the window reaches back between 95 % and 100 % of
/// its length and never further. A slot keeps what had been counted when it began, so that the
/// window's count is one difference. Pure value.
struct SlidingWindow: Sendable {
  static let slotCount = 20

  let seconds: Int
  let slotNanoseconds: UInt64
  private var countsAtBegin: [WriteCounters]
  /// Number of the newest slot, counted from the epoch.
  private var newestSlot: UInt64 = 0

  init(seconds: Int) {
    self.seconds = seconds
    slotNanoseconds = UInt64(seconds) * 1_000_000_000 / UInt64(Self.slotCount)
    countsAtBegin = Array(repeating: WriteCounters(), count: Self.slotCount)
  }

  /// Slides to the slot of an instant, forgetting what falls out. Earlier instants change nothing.
  ///
  /// - Parameter total: what has been counted before that instant.
  mutating func slide(toNanoseconds instant: UInt64, total: WriteCounters) {
    let target = instant / slotNanoseconds
    guard target > newestSlot else { return }
    let steps = min(target - newestSlot, UInt64(Self.slotCount))
    for step in 0..<steps { countsAtBegin[index(of: target - step)] = total }
    newestSlot = target
  }

  /// What has been counted when the window's oldest slot began.
  var countsBefore: WriteCounters { countsAtBegin[index(of: newestSlot &+ 1)] }

  /// Where the window begins: the start of its oldest slot.
  var beginNanoseconds: UInt64 {
    let older = UInt64(Self.slotCount - 1)
    return newestSlot > older ? (newestSlot - older) * slotNanoseconds : 0
  }

  private func index(of slot: UInt64) -> Int {
    Int(truncatingIfNeeded: slot % UInt64(Self.slotCount))
  }
}
