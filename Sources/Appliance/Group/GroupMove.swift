import BlockModel
import Journal
import Replication
import SystemIO

/// A group that is moved to a follower in step, with nothing lost: its owner pauses all clients,
/// waits until the follower has everything durably, asks it to take over, and follows it.
///
/// From before it asks until it has met the other site again, this site acknowledges nothing, also
/// after a restart (a `Fence` that is pending): nobody can know before whether the other site owns
/// the group by now. If it does, this one gives way; if it follows still, clients go on here.
struct GroupMove {
  /// Clients wait, at the owner.
  fileprivate(set) var isUnderWay = false
  fileprivate var startNanoseconds: UInt64 = 0
  /// The one that was set for it.
  fileprivate var fence: Fence?
  /// At the follower: it is about to own the group, and takes no records any more.
  fileprivate(set) var isTakingOver = false
}

extension Group {
  // MARK: At the owner

  /// No request begins from here on.
  func pauseForMove() {
    loop.assertIsCurrent()
    move.isUnderWay = true
    move.startNanoseconds = loop.monotonicNow
    for connection in connections.members { connection.pause() }
    loop.enlist(self)
  }

  /// Everything that clients have sent is answered, and durable here; else sees to it.
  var restsForMove: Bool {
    guard commit(), let journal, connections.members.allSatisfy(\.isAtRest), durability.isEmpty
    else { return false }
    if journal.appended <= journal.durable { return true }
    startSync()
    return false
  }

  /// From here on this site acknowledges nothing until it has met the other one. What is stamped is
  /// final. Durable when `done` is called, on the loop; a failure: nothing has changed.
  func fenceForMove(to site: String, _ done: @escaping @Sendable (_ failure: String?) -> Void) {
    guard let stateKeeper, fence == nil, lifecycle.isServing else {
      return done("the group is just changing: try again")
    }
    let term = stateKeeper.state.ownership.highestTerm + 1
    let fence = Fence(term: term, site: site, isPending: true, isMove: true)
    fork.fenced[site] = SystemClock.monotonicNanoseconds()
    fences.note(fence)
    move.fence = fence
    lanes.files.submit { [self] in
      var failure: String?
      do throws(Errno) { try stateKeeper.update { $0.fences.note(fence) } } catch {
        failure = "writing the state file: \(error.withAdvice)"
      }
      let result = failure
      loop.post { [self] in
        if result != nil { fences.lift(site) }
        done(result)
      }
    }
  }

  /// The other site was not asked to take over: clients go on, unless it owns the group by now.
  func giveUpMove() {
    if let fence = move.fence, fences.contains(fence) { unfence(for: fence.site) }
    resumeAfterMove()
  }

  /// It was not, or is not to be, moved.
  func resumeAfterMove() {
    loop.assertIsCurrent()
    guard move.isUnderWay else { return }
    move = GroupMove()
    for connection in connections.members { connection.resume() }
  }

  /// In this time a move comes to its end, unless the other site is lost meanwhile.
  private static let moveNanoseconds: UInt64 = 10_000_000_000

  /// Of a move that has not come to its end.
  var moveCondition: Condition? {
    let isYoung =
      move.isUnderWay && loop.monotonicNow &- move.startNanoseconds < Self.moveNanoseconds
    if isYoung {
      return Condition(.changingHands, "the group is being moved: clients wait for a moment")
    }
    return fence?.isMove == true ? fenceText.map { Condition(.moveInDoubt, $0) } : nil
  }

  // MARK: At the follower

  /// Its owner asks this site to take over. Nil: it does, and tells no more on this connection.
  func refusalToTakeOver(_ sequence: SequenceNumber, from owner: String) -> String? {
    guard duty == .following, let journal, lifecycle.isServing,
      stateKeeper?.state.baseline == .complete, let onTakingOver
    else { return "group \(configuration.name) cannot be taken over here now" }
    guard journal.stamped == sequence, journal.durable >= sequence else {
      return "\(siteName) has records up to \(journal.durable.rawValue), and record "
        + "\(sequence.rawValue) was to be the last"
    }
    move.isTakingOver = true
    onTakingOver(owner)
    return nil
  }

  /// It could not begin.
  func giveUpTakingOver() {
    move.isTakingOver = false
    closeReceiver()
  }
}
