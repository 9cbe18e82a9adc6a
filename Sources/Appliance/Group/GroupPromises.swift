import BlockModel
import Journal
import SystemIO

/// How the promises of a group are kept: see `PromiseLedger`.
extension Group {
  /// The present in the group's time.
  func readClock() -> Timestamp {
    clock.read(
      wall: loop.now, monotonic: loop.monotonicNow, floor: journal?.floor ?? .zero)
  }

  /// What instants that are named by their age are counted from.
  var present: Timestamp { duty == .following ? loop.now : readClock() }

  /// What `noteUse` writes down, before the loop has the group.
  var firstPromise: @Sendable (inout JournalState) -> Void {
    promiseChange(
      at: clock.read(
        wall: Timestamp(nanoseconds: SystemClock.realtimeNanoseconds()),
        monotonic: SystemClock.monotonicNanoseconds(), floor: journal?.floor ?? .zero))
  }

  /// Makes it so that `state`, when it is written next, holds what was or may be promised.
  var promiseChange: @Sendable (inout JournalState) -> Void {
    promiseChange(at: duty == .owning ? readClock() : .zero)
  }

  private func promiseChange(at present: Timestamp) -> @Sendable (inout JournalState) -> Void {
    if duty == .owning { return reservation(present) }
    let known = promises.known
    return { state in
      guard state.baseline == .complete, known > state.promise.through else { return }
      state.promise = Promise(given: known)
    }
  }

  /// Several times a second.
  func tickPromises(_ journal: SiteJournal) {
    guard let state = stateKeeper?.state, !closesViews else { return }
    let monotonic = SystemClock.monotonicNanoseconds()
    if duty == .following {
      promises.settle(durable: journal.durable)
      if promises.mustNote(state.promise, now: monotonic) { changePromise() }
      return
    }
    let present = readClock()
    // Of an instant that is told now, another owner may have records.
    if fence == nil { givePromise(through: present, journal, state) }
    if promises.mustReserve(
      state.promise, given: journal.promised, present: present, now: monotonic)
    {
      changePromise()
    }
  }

  private func reservation(_ instant: Timestamp) -> @Sendable (inout JournalState) -> Void {
    let boot = promises.boot
    return { $0.promise.reserve(instant, at: SystemClock.monotonicNanoseconds(), boot: boot) }
  }

  private func givePromise(
    through present: Timestamp, _ journal: SiteJournal, _ state: JournalState
  ) {
    var limit = state.promise.limit(at: loop.monotonicNow, boot: promises.boot)
    #if MUTANTS
      if Mutant.forgetPromise.isOn { limit = .distantFuture }
    #endif
    do throws(JournalError) { try journal.closeInstants(through: min(present, limit)) } catch {
      fail("\(error)")
    }
  }

  /// Writes the state file for it. Not behind a step of apply, which takes long.
  private func changePromise(
    _ change: (@Sendable (inout JournalState) -> Void)? = nil,
    _ done: @escaping @Sendable (Errno?) -> Void = { _ in }
  ) {
    guard let stateKeeper else { return done(nil) }
    guard lifecycle.begin(.promise) else { return done(.again) }
    promises.changes(now: SystemClock.monotonicNanoseconds())
    let change = change ?? promiseChange
    lanes.files.submit { [self] in
      var failure: Errno?
      do throws(Errno) { try stateKeeper.update(change) } catch { failure = error }
      let result = failure
      loop.post { [self] in
        lifecycle.ended(.promise)
        done(result)
        goOn()
      }
    }
  }

  /// Somebody has asked for the instants that there are: the next who does is told of later ones.
  func noteAsked() {
    guard duty == .following, let state = stateKeeper?.state,
      lifecycle.mayBegin(.promise), !lifecycle.runs(.promise), !lifecycle.isSettling,
      promises.mustNoteWhenAsked(state.promise)
    else { return }
    changePromise()
  }

  // MARK: What the peer promises

  func heard(_ through: Timestamp) {
    guard let journal else { return }
    do throws(JournalError) { try journal.closeInstants(through: through) } catch {
      return fail("\(error)")
    }
    promises.heard(through, after: journal.stamped, durable: journal.durable)
  }

  /// What the state file holds when nothing is promised any more.
  var promisedAtStop: Timestamp {
    guard let journal else { return .zero }
    if duty == .owning { return journal.promised }
    promises.settle(durable: journal.durable)
    return stateKeeper?.state.baseline == .complete ? promises.known : .zero
  }

  /// The journal was set back.
  func restartKnown(_ through: Timestamp) {
    promises.restart(through)
    do throws(JournalError) { try journal?.closeInstants(through: through) } catch {
      fail("\(error)")
    }
  }

  // MARK: Opening

  /// Calls `action` once the instant can be opened for ever: its records are durable, and the state
  /// file knows that no other will come. With the reason when that cannot be.
  func secure(_ instant: Timestamp, _ action: @escaping @Sendable (_ problem: String?) -> Void) {
    guard let journal, let state = stateKeeper?.state, !closesViews, lifecycle.isServing
    else { return action(failure ?? "the group is being set back or stopped: try again") }
    let durableTimestamp = Timestamp(rawValue: journal.watermarks[.durableTimestamp])
    let isDurable = journal.stamped <= journal.durable
    if duty == .following {
      promises.settle(durable: journal.durable)
    } else if isDurable || instant <= durableTimestamp {
      givePromise(through: max(instant, journal.promised), journal, state)
      if let failure { return action(failure) }
    }
    let securing = promises.securing(
      instant, at: duty,
      promised: duty == .owning ? journal.promised : state.promise.through,
      durableTimestamp: durableTimestamp, isDurable: isDurable)
    switch securing {
    case .done: action(nil)
    case .sync:
      promises.wait(through: journal.stamped) { [self] in secure(instant, action) }
      startSync()
    case .reservation:
      changePromise(reservation(instant)) { [self] error in
        if let error { return action("writing the state file: \(error.withAdvice)") }
        secure(instant, action)
      }
    case .note:
      // All that the peer has promised was durable by now.
      promises.learn(journal.promised)
      let change = promiseChange
      changePromise(change) { error in
        action(error.map { "writing the state file: \($0.withAdvice)" })
      }
    }
  }

  /// When a sync has ended, and several times a second.
  func continueSecuring() {
    if !promises.hasWaits { return }
    let ready = promises.takeReady(
      durable: journal?.durable ?? .none, isOver: closesViews || !lifecycle.isServing)
    for action in ready { action() }
    if promises.hasWaits { startSync() }
  }
}
