import BlockModel
import Handover
import Journal
import Storage
import SystemIO

/// Where a group stands on its way to another process. Confined to the group's loop.
struct GroupHandover {
  enum Phase {
    case serving
    /// Nothing begins in the background; guests go on.
    case settling
    /// No request begins; what has begun is answered and made durable.
    case pausing
    /// The state file is being written as at a stop.
    case closing
    /// Everything stands still. Another process may open the journal.
    case paused
  }

  fileprivate(set) var phase = Phase.serving
  /// Called once when the phase that was asked for is reached, or with the reason why not.
  fileprivate var reached: ((_ problem: String?) -> Void)?
  /// Tells a job of an attempt that was given up from one of the next.
  fileprivate var attempt = 0

  var isSettling: Bool { phase != .serving }
  var isPausing: Bool {
    switch phase {
    case .serving, .settling: false
    case .pausing, .closing, .paused: true
    }
  }
}

/// A connection that another process can go on with.
struct HandedConnection: Sendable {
  let state: ConnectionState
  let socket: Socket
}

extension Group {
  /// Lets apply and the index's upkeep come to an end and starts neither again. `reached` is
  /// called on the loop.
  func settle(_ reached: @escaping (_ problem: String?) -> Void) {
    handover.phase = .settling
    handover.reached = reached
    stopIndexUpkeep()
    continueHandover()
  }

  /// After `settle`: stops requests where each connection stands, answers those under way, makes
  /// everything durable and writes the state file as at a stop. `reached` is called on the loop.
  func pause(_ reached: @escaping (_ problem: String?) -> Void) {
    handover.phase = .pausing
    handover.reached = reached
    for connection in connections.members { connection.pause() }
    loop.enlist(self)
  }

  /// Called whenever something has ended that a phase may wait for, and by each tick.
  func continueHandover() {
    switch handover.phase {
    case .settling:
      if !isBusyInBackground { reach() }
    case .pausing:
      guard !isBusyInBackground, !durability.isSyncing,
        connections.members.allSatisfy(\.isAtRest)
      else { return }
      if failure == nil, let journal, journal.appended > journal.durable { return startSync() }
      if durability.isEmpty { closeState() }
    case .serving, .closing, .paused: break
    }
  }

  private var isBusyInBackground: Bool {
    apply.isRunning || apply.isCreatingSlot || indexUpkeep.isRunning || recycling.isNoting
      || promises.changes > 0
  }

  private func reach(_ problem: String? = nil) {
    let reached = handover.reached
    handover.reached = nil
    reached?(problem)
  }

  /// The keeper has one thread: what it had to do before, such as pieces of a full copy, is done
  /// when this is.
  private func closeState() {
    handover.phase = .closing
    let attempt = handover.attempt
    let disks = disks
    // What a failed group has on disk is for a recovery to judge, as after a crash.
    let stateKeeper = failure == nil ? stateKeeper : nil
    let isPlain = journal == nil
    let durable = journal?.durable ?? .none
    let marks = followers.marks
    let promised = promisedAtStop
    let known = knownOfOthers
    keeper.submit { [self] in
      var failure: String?
      let unsynced = isPlain ? Group.sync(disks) : []
      do {
        if let first = unsynced.first { throw first.error }
        try stateKeeper?.update {
          $0.noteStop(durable: durable, followers: marks, promised: promised)
          known.note(in: &$0)
        }
        for disk in disks { disk.store.disconnect() }
      } catch { failure = "\(error)" }
      let problem = failure
      loop.post { [self] in
        // No FLUSH has heard of it.
        syncFailed(unsynced)
        guard handover.attempt == attempt else { return }
        handover.phase = .paused
        reach(problem)
      }
    }
  }

  /// Goes on as if nothing had been asked. `done` is called on the loop.
  func resume(_ done: @escaping @Sendable () -> Void) {
    handover.reached = nil
    handover.attempt += 1
    switch handover.phase {
    case .serving: done()
    case .settling, .pausing:
      reopen()
      done()
    case .closing, .paused:
      guard failure == nil, let stateKeeper else {
        reopen()
        return done()
      }
      // Before anything is appended: a crash must not be taken for a clean stop.
      keeper.submit { [self] in
        var failure: Errno?
        do throws(Errno) { try stateKeeper.update { $0.isClean = false } } catch {
          failure = error
        }
        let problem = failure
        loop.post { [self] in
          if let problem { fail("writing the state file: \(problem)") }
          reopen()
          done()
        }
      }
    }
  }

  private func reopen() {
    handover.phase = .serving
    for connection in connections.members { connection.resume() }
    resumeReceiving()
  }

  // MARK: What goes over

  /// The connections that another process can go on with; those that it cannot stay. When paused.
  func handOverConnections() -> [HandedConnection] {
    precondition(handover.phase == .paused, "a group is handed over while it runs")
    return connections.members.compactMap { connection in
      connection.handOver(
        group: configuration.name, disk: disks[connection.disk.index].name)
    }
  }

  /// What the journal's files do not say. When paused.
  var handedState: HandoverGroup {
    memory.handed(
      configuration.name, isOpen: true, completeThrough: journal?.promised ?? .zero)
  }

  /// Before the group serves: what another process knew of it.
  func restore(_ state: HandoverGroup) {
    let promised = Timestamp(rawValue: state.completeThrough)
    do throws(JournalError) { try journal?.closeInstants(through: promised) } catch {
      return fail("\(error)")
    }
    // The other process has made everything durable.
    promises.known = max(promises.known, promised)
  }
}
