import Journal
import SystemIO

/// How segments that nobody needs any more come free. Confined to the group's loop.
struct Recycling {
  /// Why the last attempt failed, if it did.
  fileprivate var failure: String?
}

extension Group {
  /// Several times a second, and whenever more may have become free. What the state file calls
  /// void comes free at once; the rest is noted there first, off the loop. A step of apply notes it
  /// along with its end, so that a busy group writes nothing more for it.
  func recycle() {
    guard let journal, let stateKeeper, failure == nil, !lifecycle.runs(.reset) else { return }
    freeVoidSegments(journal, stateKeeper)
    guard lifecycle.mayBegin(.voidNote), let oldest = journal.oldestNeeded else { return }
    #if MUTANTS
      if Mutant.reuseUnnoted.isOn {
        if journal.recycle(before: oldest) > 0 { roomCame() }
        return
      }
    #endif
    guard lifecycle.begin(.voidNote) else { return }
    // Not behind a step of apply, which takes long.
    let (dropped, catalog) = (dropped, journal.catalog)
    lanes.files.submit { [self] in
      var failure: Errno?
      let oldest =
        dropped?.note(before: oldest, catalog, of: stateKeeper.state.disks) ?? oldest
      do throws(Errno) {
        try stateKeeper.update { $0.oldestSegment = max($0.oldestSegment, oldest) }
      } catch { failure = error }
      let problem = failure
      loop.post { [self] in noted(problem) }
    }
  }

  private func noted(_ error: Errno?) {
    lifecycle.ended(.voidNote)
    defer { goOn() }
    guard let journal, let stateKeeper, failure == nil else { return }
    let problem = error.map { "writing the state file: \($0.withAdvice)" }
    if let problem, recycling.failure != problem {
      log(
        "group \(configuration.name): segments of the journal cannot be used again, and it is "
          + "tried again: \(problem)")
    }
    recycling.failure = problem
    freeVoidSegments(journal, stateKeeper)
    keepReserve()
  }

  private func freeVoidSegments(_ journal: SiteJournal, _ stateKeeper: StateKeeper) {
    guard journal.recycle(before: stateKeeper.state.oldestSegment) > 0 else { return }
    room.came()
    roomCame()
  }

  /// Segments come free as soon as the state file is written.
  func willRecycle(_ journal: SiteJournal) -> Bool { journal.oldestNeeded != nil }
}
