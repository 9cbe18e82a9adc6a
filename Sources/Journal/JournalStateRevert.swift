import BlockModel

// A site whose disks are being brought in step has parked what it had before. Where the owner is
// lost meanwhile, the site goes back to that, and takes over with it.

extension JournalState {
  /// What the site was before, as it is when it has gone back.
  ///
  /// - Parameters:
  ///   - parked: the state of the branch in which that is parked.
  ///   - branch: its name.
  /// - Returns: nil: a disk of then has left the group.
  public func before(_ parked: JournalState, in branch: String) -> JournalState? {
    var state = parked
    (state.groupName, state.folder) = (groupName, folder)
    // Owners of before count again, and no term that was heard of since is given twice.
    state.ownership = Ownership(
      duty: .following, term: parked.ownership.term, configured: ownership.configured,
      highestTerm: max(ownership.highestTerm, lineage.newest?.term ?? 0),
      isTaken: parked.ownership.isTaken)
    state.disks = []
    // The next owner gives the number of one that was about to come to a disk of its own.
    for var disk in parked.disks where disk.added != nil {
      if disk.name.hasSuffix("@\(branch)") { disk.name.removeLast(branch.utf8.count + 1) }
      guard let present = disks[disk.number], present.name == disk.name else {
        if disk.removed == nil { return nil }
        continue
      }
      disk.backing = present.backing
      disk.byteCount = max(disk.byteCount, present.byteCount)
      state.disks.append(disk)
    }
    state.nextDisk = max(parked.nextDisk, nextDisk)
    return state
  }

  /// What has come since is about to be dropped, and the disks become what they were before.
  ///
  /// - Precondition: the group is closed, and what it becomes is written down.
  public mutating func reverts(at fork: Fork) {
    precondition(baseline == .reconciling && self.fork == nil)
    self.fork = fork
    self.fork?.stage = .reverting
  }

  /// The journal and the disks are again what they were.
  ///
  /// - Precondition: `reverts` was noted.
  public mutating func hasReverted(to before: JournalState) {
    guard fork?.stage == .reverting else { preconditionFailure("where to is named before") }
    self = before
  }
}
