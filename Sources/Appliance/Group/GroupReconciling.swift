import BlockModel
import Journal
import Replication
import SystemIO

/// A follower whose disks are not as the record left them behind which it goes on: a former owner,
/// where some bytes are as its own later records left them, or one for which records were dropped.
/// It names these bytes to the owner, which makes records of what they are there
/// (`GroupRestamping`). With the last of these the disks are the owner's; what was here before that
/// is no state of the group.
///
/// What has come by a record that is durable here is not asked for again. The owner tells only of
/// records that are durable there.
extension Group {
  /// What is still to be named; nil where nothing is lacking.
  var lackingRest: DiskExtents? {
    guard let state = stateKeeper?.state, state.baseline == .reconciling else { return nil }
    noteLacking(from: state.lack.reached)
    return lacking?.extents.rest(from: state.lack.reached)
  }

  /// What lies before the position comes with the records up to this one.
  func restamped(to position: DiskPosition, by record: SequenceNumber) {
    receiving.restamps(to: position, by: record)
    noteLacking(from: position)
    digestsAreDone(before: position)
  }

  /// Looks at the whole list.
  private func noteLacking(from position: DiskPosition) {
    let rest = lacking?.extents.rest(from: position)
    lackingByteCounts = (rest?.byteCount ?? 0, lacking?.extents.byteCount ?? 0)
  }

  /// Something is lacking behind the end of a disk of the owner.
  var lacksWhatIsNowhere: Bool {
    guard let lacking, let receiver = receiving.receiver else { return false }
    return !lacking.fits(receiver.peerDisks)
  }

  /// Nothing is lacking any more with the records up to `mark`.
  func reconciled(at mark: JournalState.Mark) {
    endDigesting()
    receiving.reconciles(at: mark)
    completeReconcilingIfReached()
  }

  func completeReconcilingIfReached() {
    guard let journal, let stateKeeper, !lifecycle.isPausing,
      let mark = receiving.takeReconciled(durable: journal.durable)
    else { return }
    let receiver = receiving.receiver
    let folder = journal.storage.path
    keeper.submit { [self] in
      var failure: Errno?
      do throws(Errno) {
        try stateKeeper.update { $0.completeReconciling(at: mark) }
        try LackingFile.remove(in: folder)
      } catch { failure = error }
      let problem = failure
      loop.post { [self] in
        if let problem { return fail("writing the state file: \(problem)") }
        lacking = nil
        log("group \(configuration.name): the disks are in step with those of the owner")
        guard receiving.receiver === receiver else { return }
        // Everything up to the mark is here.
        heard(mark.timestamp)
        reportProgress()
      }
    }
  }

  /// What nothing can be opened for; nil where nothing is lacking.
  var reconcilingText: String? {
    guard stateKeeper?.state.baseline == .reconciling else { return nil }
    let owner = receiving.peerSite ?? configuration.peer?.site ?? "the owner of the group"
    guard receiving.receiver?.isStreaming == true else {
      return "the disks are to be brought in step: waiting for \(owner)" + wayBackText(owner)
    }
    let (left, total) = lackingByteCounts
    return "the disks are brought in step with \(owner): "
      + "\((total - left) >> 20) of \(total >> 20) MiB so far" + wayBackText(owner)
  }

  private func wayBackText(_ owner: String) -> String {
    guard let name = stateKeeper?.state.lack.before, let branch = branches.named(name),
      branch.record.ending == nil
    else { return "" }
    return "; should \(owner) be lost, `tapline failover \(configuration.name)` takes the group "
      + "over with what was here before"
  }
}
