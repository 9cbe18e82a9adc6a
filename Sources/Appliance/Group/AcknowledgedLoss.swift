import BlockModel
import Journal
import NBDProtocol
import SystemIO

/// Records whose writes clients were told of, though not that they are durable, and that a group
/// lacks since its journal failed and it opened again. Confined to the group's loop once it serves.
struct AcknowledgedLoss: Equatable, Sendable, CustomStringConvertible {
  /// The first and the last of them.
  private(set) var first: SequenceNumber
  private(set) var last: SequenceNumber
  /// By disk: whether a client was told. Which disks the records were for is not known any more.
  private(set) var isTold: [Bool]

  /// - Parameter earlier: a loss of before. Where somebody has not heard of that yet, the two are
  ///   one.
  init(
    after kept: SequenceNumber, through last: SequenceNumber, diskCount: Int,
    and earlier: AcknowledgedLoss? = nil
  ) {
    first = SequenceNumber(kept.rawValue + 1)
    self.last = last
    isTold = Array(repeating: false, count: diskCount)
    guard let earlier, earlier.isTold.contains(false) else { return }
    first = min(first, earlier.first)
    self.last = max(last, earlier.last)
  }

  init(first: SequenceNumber, last: SequenceNumber, isTold: [Bool]) {
    self.first = first
    self.last = last
    self.isTold = isTold
  }

  /// The same for a group of so many disks. Another process may have said how many there were: when
  /// it is wrong about that, who was told is not known, and everybody is told.
  func spread(over diskCount: Int) -> AcknowledgedLoss {
    if isTold.count == diskCount { return self }
    return AcknowledgedLoss(
      first: first, last: last, isTold: Array(repeating: false, count: diskCount))
  }

  /// Whether the client that asks must be told: once for each disk.
  mutating func tell(_ disk: DiskNumber) -> Bool {
    // A disk that came since lost nothing.
    if disk.index >= isTold.count || isTold[disk.index] { return false }
    isTold[disk.index] = true
    return true
  }

  var description: String {
    "records \(first.rawValue) to \(last.rawValue) were lost with the failed journal: clients had "
      + "been told of them, though not that they are durable. Restart the guests of these disks"
  }
}
