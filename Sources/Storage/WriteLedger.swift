/// Decides whether writes to a server may have been lost with a connection.
///
/// A server may hold acknowledged writes in volatile memory until a flush, and a broken connection
/// may mean that it died. So each connection belongs to a *generation*; the first break seen in it
/// ends the generation. A write that was acknowledged in a generation which ended before a flush
/// covered it may be lost.
struct WriteLedger: Sendable {
  /// New connections belong to it; connections of an older one must be made anew before use.
  private(set) var generation: UInt64 = 0
  /// Writes are durable when acknowledged (each carries FUA), so none is ever lost.
  private let areWritesDurable: Bool
  private var finishedCount: UInt64 = 0
  private var durableCount: UInt64 = 0
  private var lossCount: UInt64 = 0
  private var reportedLossCount: UInt64 = 0

  init(areWritesDurable: Bool = false) { self.areWritesDurable = areWritesDurable }

  /// What a sync must cover.
  struct SyncTicket: Sendable {
    fileprivate var finishedCount: UInt64
    fileprivate var lossCount: UInt64
  }

  /// A write is complete; every part of it was acknowledged in `generation`.
  mutating func finishWrite(in generation: UInt64) {
    finishedCount += 1
    if generation != self.generation { recordLoss() }
  }

  /// A connection of `generation` broke.
  mutating func disconnect(in generation: UInt64) {
    guard generation == self.generation else { return }
    self.generation += 1
    if finishedCount > durableCount { recordLoss() }
  }

  /// Nil when a loss must be reported instead of syncing.
  mutating func beginSync() -> SyncTicket? {
    guard lossCount == reportedLossCount else {
      reportLoss()
      return nil
    }
    return SyncTicket(finishedCount: finishedCount, lossCount: lossCount)
  }

  /// A flush has succeeded that began after the ticket was given. False when a loss must be
  /// reported instead: the flush may have reached a server that no longer had the writes.
  mutating func finishSync(_ ticket: SyncTicket) -> Bool {
    guard lossCount == ticket.lossCount else {
      reportLoss()
      return false
    }
    durableCount = max(durableCount, ticket.finishedCount)
    return true
  }

  private mutating func recordLoss() {
    if !areWritesDurable { lossCount += 1 }
  }

  /// What was lost is the caller's to repeat: only writes from here on can be lost again.
  private mutating func reportLoss() {
    reportedLossCount = lossCount
    durableCount = finishedCount
  }
}
