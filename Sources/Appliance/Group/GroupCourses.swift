import BlockModel
import Journal
import SystemIO

/// The courses of a group's lifecycle: a reset, the way to another process, the stop.
extension Group {
  /// Something has ended or changed that one of them may wait for.
  func goOn() {
    while lifecycle.isWaiting, let step = lifecycle.next(facts) {
      switch step {
      case .reset: beginReset()
      case .settled: reach()
      case .sync: return startSync()
      case .closeState: closeState()
      case .drain: return drainFurther()
      }
    }
  }

  private var facts: GroupLifecycle.Facts {
    .init(
      hasViews: !views.isEmpty, clientsRest: connections.members.allSatisfy(\.isAtRest),
      isDurable: journal.map { $0.appended <= $0.durable } ?? true,
      hasWaits: !durability.isEmpty)
  }

  // MARK: Stopping

  /// After `beginStop`: makes everything durable and applies a protected group's journal; its raw
  /// files are then the whole, current disks.
  func drain(_ completion: @escaping @Sendable () -> Void) {
    onDrained = completion
    // What failed before may go well now; once is enough.
    apply.triesAtOnce()
    lifecycle.drain()
    goOn()
  }

  private func drainFurther() {
    guard let journal, failure == nil else { return finishStop() }
    if journal.appended > journal.durable {
      startSync()
      if lifecycle.runs(.sync) || failure != nil { return }
    }
    if appliesAtStop, apply.failure == nil, journal.applied < journal.appended {
      startApply(underPressure: true)
      if lifecycle.runs(.apply) { return }
    }
    finishStop()
  }

  /// So that the disks alone are current afterwards. Not what may yet follow: history ends with
  /// what is applied, and a follower goes on in the segment in which it stopped.
  private var appliesAtStop: Bool {
    duty == .owning && !fork.isGivingWay && stateKeeper?.state.fork == nil
  }

  private var heldBackText: String {
    let open = branches.listed.map(\.record).filter { $0.ending == nil }
    if open.isEmpty { return "apply is held back" }
    let titles = open.map(\.title).joined(separator: ", ")
    return "held back by \(titles)"
  }

  private func finishStop() {
    guard let completion = onDrained else { return }
    onDrained = nil
    lifecycle.drained()
    guard let stateKeeper, let journal, failure == nil else { return completion() }
    if appliesAtStop, branch == nil, journal.applied < journal.appended {
      log(
        "group \(configuration.name): records \(journal.applied.rawValue + 1) to "
          + "\(journal.appended.rawValue) are not applied "
          + "(\(apply.failure?.text ?? heldBackText)): the backing stores alone are not "
          + "the current disks; they are with the journal, after the next start")
    }
    let durable = journal.durable
    let marks = followers.marks
    let promised = promisedAtStop
    let (known, marker) = (knownOfOthers, lastMarker)
    keeper.submit { [self] in
      do {
        try stateKeeper.update {
          $0.noteStop(durable: durable, followers: marks, promised: promised)
          known.note(in: &$0)
          marker(&$0)
        }
      } catch { log("writing the state file: \(error)") }
      loop.post(completion)
    }
  }
}
