import Journal
import Synchronization
import SystemIO

/// The upkeep of a group's index: generations are flattened and merged by levels, and sealed
/// segments get their sidecars. All of it makes something quicker or smaller and nothing depends on
/// it, so it runs in the background, one job at a time: merges on a thread of their own, because
/// those of a long history take long. Confined to the group's loop.
struct IndexUpkeep {
  fileprivate(set) var isRunning = false
  /// Of the merge under way.
  fileprivate(set) var stop = IndexJob.Stop()
  /// The last sidecar could not be written; said once.
  fileprivate var hasFailed = false
  /// The last merge could not be written; said once, and tried again after a while.
  fileprivate var hasMergeFailed = false
  fileprivate var mergeRetryNanoseconds: UInt64 = 0
}

extension Group {
  /// Several times a second, and when a job has ended.
  func continueIndexUpkeep() {
    guard let journal, !indexUpkeep.isRunning, !isStopping, !handover.isSettling, failure == nil
    else { return }
    // The sidecars first: what has one can leave memory once it is merged.
    if let job = journal.sidecarJob() {
      indexUpkeep.isRunning = true
      keeper.submit { [self] in
        let result = Result { () throws(JournalError) in try job.run() }
        loop.post { [self] in sidecarFinished(result) }
      }
    } else if loop.monotonicNow >= indexUpkeep.mergeRetryNanoseconds,
      let job = journal.indexJob()
    {
      indexUpkeep.isRunning = true
      let stop = IndexJob.Stop()
      indexUpkeep.stop = stop
      // Not before a step of apply: one of a long history takes seconds.
      lanes.index.submit { [self] in
        let result = Result { () throws(JournalError) in try job.run(until: stop) }
        loop.post { [self] in indexJobFinished(job, result) }
      }
    }
  }

  /// Closes the files of what is not used any more, which takes long for large ones: elsewhere.
  func closeRetiredIndexes() {
    guard let journal, journal.hasRetired else { return }
    let indexes = RetiredIndexes(journal.takeRetired())
    lanes.index.submit { indexes.close() }
  }

  /// Whoever waits for the upkeep to end waits no longer than for a small piece of it.
  func stopIndexUpkeep() { indexUpkeep.stop.set() }

  private static var mergeRetryNanoseconds: UInt64 { 10_000_000_000 }

  private func indexJobFinished(_ job: IndexJob, _ result: Result<Generation?, JournalError>) {
    switch result {
    case .success(let merged):
      if let merged { journal?.install(merged, of: job) }
      indexUpkeep.hasMergeFailed = false
    case .failure where job.isOutdated(applied: journal?.applied ?? .none):
      // Another one is made of what is left.
      indexUpkeep.mergeRetryNanoseconds = loop.monotonicNow + Self.mergeRetryNanoseconds
    case .failure(let error):
      if !indexUpkeep.hasMergeFailed {
        log(
          "group \(configuration.name): the index cannot be merged, so reads of history take "
            + "longer; it is tried again: \(error)")
      }
      indexUpkeep.hasMergeFailed = true
      indexUpkeep.mergeRetryNanoseconds = loop.monotonicNow + Self.mergeRetryNanoseconds
    }
    indexUpkeep.isRunning = false
    closeRetiredIndexes()
    continueIndexUpkeep()
  }

  private func sidecarFinished(
    _ result: Result<SidecarJob<FolderStorage>.Result, JournalError>
  ) {
    switch result {
    case .success(let written):
      journal?.sidecarWritten(written)
      indexUpkeep.hasFailed = false
    case .failure(let error):
      if !indexUpkeep.hasFailed {
        log(
          "group \(configuration.name): the index of a segment cannot be written, so it stays in "
            + "memory and the next start reads the segment instead: \(error)")
      }
      indexUpkeep.hasFailed = true
    }
    indexUpkeep.isRunning = false
    continueIndexUpkeep()
  }
}

/// Maps whose last user is whoever closes them.
private final class RetiredIndexes: Sendable {
  private let maps: Mutex<[Generation]>

  init(_ maps: consuming [Generation]) { self.maps = Mutex(maps) }

  func close() { maps.withLock { $0 = [] } }
}
