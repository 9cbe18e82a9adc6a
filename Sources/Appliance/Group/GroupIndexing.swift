import Journal
import SystemIO

/// The upkeep of a group's index: closed generations are put where there is room for them, sealed
/// segments get their sidecars, and generations are merged by levels. All of it makes something
/// quicker or smaller and nothing depends on it, so it runs in the background, one job of each kind
/// at a time: what frees memory must not wait for a merge of a long history, nor for a step of
/// apply. Confined to the group's loop.
struct IndexUpkeep {
  /// One kind of job.
  fileprivate struct Work {
    /// Of the last job, if it could not be done.
    var failure: String?
    var retryNanoseconds: UInt64 = 0

    func isDue(_ now: UInt64) -> Bool { now >= retryNanoseconds }

    mutating func failed(_ error: JournalError, _ now: UInt64) {
      failure = "\(error)"
      retryNanoseconds = now + 10_000_000_000
    }
  }

  fileprivate var placing = Work()
  fileprivate var sidecars = Work()
  fileprivate var merging = Work()
  /// Of the merge under way.
  fileprivate(set) var stop = IndexJob.Stop()

  /// Why something could not be written that is tried again; nil mostly.
  var failure: String? { placing.failure ?? sidecars.failure ?? merging.failure }
}

extension Group {
  /// Several times a second, and when a job has ended.
  func continueIndexUpkeep() {
    guard let journal else { return }
    let now = loop.monotonicNow
    if lifecycle.mayBegin(.placing), indexUpkeep.placing.isDue(now) { place(journal) }
    if lifecycle.mayBegin(.sidecar), indexUpkeep.sidecars.isDue(now) { writeSidecar(journal) }
    if lifecycle.mayBegin(.merging), indexUpkeep.merging.isDue(now) { merge(journal) }
  }

  /// Whoever waits for the upkeep to end waits no longer than for a small piece of it.
  func stopIndexUpkeep() { indexUpkeep.stop.set() }

  private func place(_ journal: SiteJournal) {
    guard let job = journal.placingJob() else { return indexUpkeep.placing.failure = nil }
    guard lifecycle.begin(.placing) else { return }
    lanes.index.submit { [self] in
      let result = Result { () throws(JournalError) in try job.run() }
      loop.post { [self] in
        lifecycle.ended(.placing)
        finish(job, result, \.placing)
      }
    }
  }

  private func merge(_ journal: SiteJournal) {
    guard let job = journal.mergeJob() else { return indexUpkeep.merging.failure = nil }
    guard lifecycle.begin(.merging) else { return }
    let stop = IndexJob.Stop()
    indexUpkeep.stop = stop
    lanes.index.submit { [self] in
      let result = Result { () throws(JournalError) in try job.run(until: stop) }
      loop.post { [self] in
        lifecycle.ended(.merging)
        finish(job, result, \.merging)
      }
    }
  }

  private func finish(
    _ job: IndexJob, _ result: Result<IndexJob.Result?, JournalError>,
    _ work: WritableKeyPath<IndexUpkeep, IndexUpkeep.Work>
  ) {
    let now = loop.monotonicNow
    switch result {
    case .success(let made):
      if let made { journal?.install(made, of: job) }
      indexUpkeep[keyPath: work].failure = nil
      if let failure = made?.failure { indexUpkeep[keyPath: work].failed(failure, now) }
    case .failure(let error):
      indexUpkeep[keyPath: work].failed(error, now)
      // Another one is made of what is left.
      if job.isOutdated(applied: journal?.applied ?? .none) {
        indexUpkeep[keyPath: work].failure = nil
      }
      journal?.indexJobFailed(job)
    }
    continueIndexUpkeep()
    goOn()
  }

  private func writeSidecar(_ journal: SiteJournal) {
    guard let job = journal.sidecarJob() else { return indexUpkeep.sidecars.failure = nil }
    guard lifecycle.begin(.sidecar) else { return journal.sidecarFailed(job) }
    keeper.submit { [self] in
      let result = Result { () throws(JournalError) in try job.run() }
      loop.post { [self] in
        lifecycle.ended(.sidecar)
        switch result {
        case .success(let written):
          self.journal?.sidecarWritten(written)
          indexUpkeep.sidecars.failure = nil
        case .failure(let error):
          self.journal?.sidecarFailed(job)
          indexUpkeep.sidecars.failed(error, loop.monotonicNow)
        }
        continueIndexUpkeep()
        goOn()
      }
    }
  }
}
