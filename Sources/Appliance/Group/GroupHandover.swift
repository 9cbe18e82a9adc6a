import BlockModel
import Handover
import Journal
import Storage
import SystemIO

/// Whom to tell where a group stands on its way to another process. Confined to the group's loop.
struct GroupHandover {
  /// Called once when the phase that was asked for is reached, or with the reason why not.
  fileprivate var reached: ((_ problem: String?) -> Void)?
  /// Tells a job of an attempt that was given up from one of the next.
  fileprivate var attempt = 0
  /// Who waits for the group to go on; nil unless the state file is being told that it does.
  fileprivate var goingOn: [@Sendable () -> Void]?
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
    // On a disk that is slow, what an attempt before has written down is still being undone.
    guard lifecycle.handover == .none else {
      return reached("it still goes back from the attempt before: try again")
    }
    lifecycle.settle()
    handover.reached = reached
    stopIndexUpkeep()
    goOn()
  }

  /// After `settle`: stops requests where each connection stands, answers those under way, makes
  /// everything durable and writes the state file as at a stop. `reached` is called on the loop.
  func pause(_ reached: @escaping (_ problem: String?) -> Void) {
    guard lifecycle.handover == .settled else { return reached("it was opened meanwhile") }
    lifecycle.pause()
    handover.reached = reached
    for connection in connections.members { connection.pause() }
    loop.enlist(self)
  }

  /// What the process that gives the group away has asked for is so.
  func reach(_ problem: String? = nil) {
    let reached = handover.reached
    handover.reached = nil
    reached?(problem)
  }

  /// The keeper has one thread: what it had to do before, such as pieces of a full copy, is done
  /// when this is.
  func closeState() {
    let attempt = handover.attempt
    let disks = disks
    // What a failed group has on disk is for a recovery to judge, as after a crash.
    let stateKeeper = failure == nil ? stateKeeper : nil
    let isPlain = journal == nil
    let durable = journal?.durable ?? .none
    let marks = followers.marks
    let promised = promisedAtStop
    let (known, marker) = (knownOfOthers, lastMarker)
    keeper.submit { [self] in
      var failure: String?
      let unsynced = isPlain ? Group.sync(disks) : []
      do {
        if let first = unsynced.first { throw first.error }
        try stateKeeper?.update {
          $0.noteStop(durable: durable, followers: marks, promised: promised)
          known.note(in: &$0)
          marker(&$0)
        }
        for disk in disks { disk.store.disconnect() }
      } catch { failure = "\(error)" }
      let problem = failure
      loop.post { [self] in
        // No FLUSH has heard of it.
        syncFailed(unsynced)
        guard handover.attempt == attempt else { return }
        lifecycle.paused()
        reach(problem)
      }
    }
  }

  /// Goes on as if nothing had been asked. `done` is called on the loop.
  func resume(_ done: @escaping @Sendable () -> Void) {
    handover.reached = nil
    handover.attempt += 1
    // Once is enough: an attempt that came meanwhile was refused.
    if handover.goingOn?.append(done) != nil { return }
    switch lifecycle.handover {
    case .none: done()
    case .settling, .settled, .pausing:
      reopen()
      done()
    case .closing, .paused:
      guard failure == nil, let stateKeeper else {
        reopen()
        return done()
      }
      handover.goingOn = [done]
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
          let waiting = handover.goingOn ?? []
          handover.goingOn = nil
          for done in waiting { done() }
        }
      }
    }
  }

  private func reopen() {
    lifecycle.keep()
    for connection in connections.members { connection.resume() }
    resumeReceiving()
  }

  // MARK: What goes over

  /// The connections that another process can go on with; those that it cannot stay. When paused.
  func handOverConnections() -> [HandedConnection] {
    precondition(lifecycle.handover == .paused, "a group is handed over while it runs")
    return connections.members.compactMap { connection in
      connection.handOver(
        group: configuration.name, disk: disk(connection.disk).name)
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
    promises.learn(promised)
  }
}
