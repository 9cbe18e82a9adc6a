import Journal
import SystemIO

/// The upkeep of a group's index: generations are flattened and merged by levels, and sealed
/// segments get their sidecars. All of it makes something quicker and nothing depends on it, so it
/// runs on the keeper, one job at a time between its other work. Confined to the group's loop.
struct IndexUpkeep {
  fileprivate(set) var isRunning = false
  /// The last sidecar could not be written; said once.
  fileprivate var hasFailed = false
}

extension Group {
  /// Several times a second, and when a job has ended.
  func continueIndexUpkeep() {
    guard let journal, !indexUpkeep.isRunning, !isStopping, !handover.isSettling, failure == nil
    else { return }
    if let job = journal.indexJob() {
      indexUpkeep.isRunning = true
      keeper.submit { [self] in
        let result = job.run()
        loop.post { [self] in indexJobFinished(job, result) }
      }
    } else if let job = journal.sidecarJob() {
      indexUpkeep.isRunning = true
      keeper.submit { [self] in
        var failure: Errno?
        do throws(Errno) { try job.run() } catch { failure = error }
        let result = failure
        loop.post { [self] in sidecarFinished(result) }
      }
    }
  }

  private func indexJobFinished(_ job: IndexJob, _ result: Generation) {
    journal?.install(result, of: job)
    indexUpkeep.isRunning = false
    continueIndexUpkeep()
  }

  private func sidecarFinished(_ error: Errno?) {
    if let error, !indexUpkeep.hasFailed {
      log(
        "group \(configuration.name): the index of a segment cannot be written, so the next start "
          + "reads the segment instead: \(error)")
    }
    indexUpkeep.hasFailed = error != nil
    indexUpkeep.isRunning = false
    continueIndexUpkeep()
  }
}
