import BlockModel

/// Consecutive runs of bytes, each with one status: what a BLOCK_STATUS reply lists.
///
/// Neighbours with one status become one run. Borders lie on multiples of 512 bytes, except at the
/// two ends: in a sector with several statuses one of them wins, so that it never claims too much.
public struct StatusExtents: Equatable, Sendable {
  public struct Run: Equatable, Sendable {
    /// Of the disk; the run begins where the one before ends.
    public var end: UInt64
    public let status: UInt32

    public init(end: UInt64, status: UInt32) {
      self.end = end
      self.status = status
    }
  }

  /// Which of two statuses in one sector is told.
  public enum Winner: Sendable { case lowest, highest }

  public static let sectorBytes: UInt64 = 512

  public let start: UInt64
  private let winner: Winner
  private let limit: Int
  private(set) public var runs: [Run] = []
  /// Everything before it was added.
  private var position: UInt64

  /// - Parameter limit: how many runs are wanted; at least 1.
  public init(start: UInt64, winner: Winner, limit: Int) {
    self.start = start
    position = start
    self.winner = winner
    self.limit = limit
  }

  /// More than `limit` runs began, so nothing that is added can change the first `limit`.
  public var isFull: Bool { runs.count > limit }

  /// Adds the next bytes of the range.
  public mutating func add(length: UInt64, status: UInt32) {
    let from = position
    position += length
    guard let last = runs.last else {
      runs.append(Run(end: position, status: status))
      return
    }
    if last.status == status {
      runs[runs.count - 1].end = max(last.end, position)
      return
    }
    let isWinner = winner == .lowest ? status < last.status : status > last.status
    if isWinner {
      cutBack(to: max(start, from & ~(Self.sectorBytes - 1)))
      append(status)
    } else {
      // The run before takes the rest of its last sector.
      runs[runs.count - 1].end = max(last.end, roundedUp(from))
      if position > runs[runs.count - 1].end { append(status) }
    }
  }

  /// Ends the list: cuts it to what was added and to `limit` runs.
  public mutating func finish() {
    cutBack(to: position)
    if runs.count > limit { runs.removeLast(runs.count - limit) }
  }

  private func roundedUp(_ offset: UInt64) -> UInt64 {
    (offset + Self.sectorBytes - 1) & ~(Self.sectorBytes - 1)
  }

  private mutating func append(_ status: UInt32) {
    if runs.last?.status == status {
      runs[runs.count - 1].end = position
    } else {
      runs.append(Run(end: position, status: status))
    }
  }

  /// Removes what lies at or after `offset`.
  private mutating func cutBack(to offset: UInt64) {
    while let last = runs.last, last.end > offset {
      let runStart = runs.count > 1 ? runs[runs.count - 2].end : start
      if runStart < offset {
        runs[runs.count - 1].end = offset
        return
      }
      runs.removeLast()
    }
  }

}
