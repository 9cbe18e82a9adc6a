import BlockModel
import Journal

/// Room in the journal is made before it is needed, so that neither the guest nor a peer's
/// records wait for a step of apply. What that costs is history: as much of it fits as the journal
/// has room beside the reserve.
extension Group {
  /// Once fewer segments are free than `SegmentReserve.low`, applies the oldest, whatever their
  /// age, until `high` are free. Called when a segment is begun, when a step has ended, and by each
  /// tick.
  ///
  /// Nothing is applied early that would free no room: when a follower lacks the records, or a view
  /// holds them, the history stays until the journal is full.
  func keepReserve() {
    guard let journal, lifecycle.isServing else { return }
    apply.openedAtLook = journal.openedCount
    let free = journal.freeSegmentCount(grows: apply.slotFailure == nil)
    let wanted = journal.options.reserve.segmentsToFree(
      free: free, isRefilling: apply.isRefilling)
    apply.isRefilling = wanted != nil
    guard let wanted, !lifecycle.runs(.apply) else { return }
    recycle()
    guard let last = journal.lastToApply(freeing: wanted) else { return }
    if last > journal.durable {
      // Apply takes durable records only; it is looked at again when the sync is over.
      startSync()
      apply.openedAtLook = .max
    }
    startApply(underPressure: true, through: last)
  }
}
