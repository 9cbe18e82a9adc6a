import BlockModel
import Journal

/// What a site had before its disks were brought in step with an owner: the branch in which that is
/// parked, and what the group becomes where the site goes back to it.
struct FormerContent {
  let branch: Branch
  /// The state of the branch.
  let parked: JournalState
  /// What the group's state will be.
  let state: JournalState

  /// The last instant of which something is here.
  var newest: Timestamp {
    max(state.promise.through, state.applied.timestamp, state.historyStart)
  }

  /// Throws what is in the way, when the site cannot go back. Blocks.
  ///
  /// - Parameters:
  ///   - state: of the group.
  ///   - branch: the one that the state names; nil: it is gone.
  init(of state: JournalState, in branch: Branch?) throws(SiteError) {
    let name = state.lack.before
    func refusal(_ reason: String) -> SiteError {
      SiteError(
        "group \(state.groupName) cannot be taken over: its disks are being brought in step, and "
          + "are of no instant, and it cannot go back to what was here before: \(reason). See to "
          + "the owner, or to another site", .nothingBefore)
    }
    if name.isEmpty { throw refusal("that was not parked") }
    guard let branch, branch.record.kind == .parked, branch.record.isApart else {
      throw refusal("\(name), in which it was parked, was deleted")
    }
    if let ending = branch.record.ending { throw refusal("\(name) has ended: \(ending)") }
    if let failure = branch.saved.failure { throw refusal("\(name) is lost: \(failure)") }
    guard let parked = try GroupOpening.presentState(branch.folder) else {
      throw refusal("\(name) has no state file")
    }
    guard parked.group == state.group, let former = state.before(parked, in: name) else {
      throw refusal("a disk that it shows has left the group")
    }
    self.branch = branch
    self.parked = parked
    self.state = former
  }
}
