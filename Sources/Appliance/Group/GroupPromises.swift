import BlockModel
import Journal
import SystemIO

/// What keeps a group's instants as they are: no instant is opened, or told to anybody as one that
/// can be, unless what it stands on is durable. Confined to the group's loop.
struct GroupPromises {
  /// Of the machine.
  let boot = SystemInfo.bootIdentifier
  /// Waits until records are durable; called, too, when that is not to be expected any more.
  fileprivate var waits: [(through: SequenceNumber, action: () -> Void)] = []
  fileprivate var lastChangeNanoseconds: UInt64 = 0
  /// At a recovery site: what the peer promised, and the last record that had come then.
  fileprivate var heard: (through: Timestamp, after: SequenceNumber)?
  /// The same, with the records durable here.
  var known = Timestamp.zero
}

extension Group {
  /// A state file that is at rest is written so often.
  private static var changePeriodNanoseconds: UInt64 { 25_000_000_000 }
  private static var askedPeriodNanoseconds: UInt64 { 5_000_000_000 }
  private static var retryPeriodNanoseconds: UInt64 { 1_000_000_000 }

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
    if duty == .owning {
      let boot = promises.boot
      return { $0.promise.reserve(present, at: SystemClock.monotonicNanoseconds(), boot: boot) }
    }
    let known = promises.known
    return { state in
      guard state.baseline == .complete, known > state.promise.through else { return }
      state.promise = Promise(given: known)
    }
  }

  /// Several times a second.
  func tickPromises(_ journal: SiteJournal) {
    guard let state = stateKeeper?.state, !closesViews else { return }
    let sinceChange = SystemClock.monotonicNanoseconds() &- promises.lastChangeNanoseconds
    if duty == .following {
      settleKnown(journal)
      if promises.known > state.promise.through, sinceChange >= Self.changePeriodNanoseconds {
        changePromise()
      }
      return
    }
    let present = readClock()
    givePromise(through: present, journal, state)
    let isShort =
      state.promise.through.nanoseconds(since: present) < 5_000_000_000
      || present.nanoseconds(since: journal.promised) > 1_000_000_000
    if isShort, sinceChange >= Self.retryPeriodNanoseconds { changePromise() }
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
    promises.lastChangeNanoseconds = SystemClock.monotonicNanoseconds()
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
      promises.known.nanoseconds(since: state.promise.through) > Self.askedPeriodNanoseconds
    else { return }
    changePromise()
  }

  // MARK: What the peer promises

  func heard(_ through: Timestamp) {
    guard let journal else { return }
    do throws(JournalError) { try journal.closeInstants(through: through) } catch {
      return fail("\(error)")
    }
    // The first one, until it is settled: under load there is always a next.
    if promises.heard == nil { promises.heard = (through, journal.stamped) }
    settleKnown(journal)
  }

  func settleKnown(_ journal: SiteJournal) {
    guard let heard = promises.heard, journal.durable >= heard.after else { return }
    promises.known = max(promises.known, heard.through)
    promises.heard = nil
  }

  /// What the state file holds when nothing is promised any more.
  var promisedAtStop: Timestamp {
    guard let journal else { return .zero }
    if duty == .owning { return journal.promised }
    settleKnown(journal)
    return stateKeeper?.state.baseline == .complete ? promises.known : .zero
  }

  /// The journal is about to be set back: what was promised of it may not be so any more.
  func forgetKnown() {
    promises.heard = nil
    promises.known = .zero
  }

  /// The journal was set back.
  func restartKnown(_ through: Timestamp) {
    promises.heard = nil
    promises.known = through
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
    if journal.stamped > journal.durable, instant > durableTimestamp {
      promises.waits.append((journal.stamped, { [self] in secure(instant, action) }))
      startSync()
      return
    }
    if duty == .owning {
      givePromise(through: max(instant, journal.promised), journal, state)
      if let failure { return action(failure) }
      if instant <= max(journal.promised, durableTimestamp) { return action(failure) }
      let boot = promises.boot
      changePromise { state in
        state.promise.reserve(instant, at: SystemClock.monotonicNanoseconds(), boot: boot)
      } _: { [self] error in
        if let error { return action("writing the state file: \(error.withAdvice)") }
        secure(instant, action)
      }
      return
    }
    settleKnown(journal)
    if instant <= max(state.promise.through, durableTimestamp) { return action(nil) }
    // All that the peer has promised was durable by now.
    promises.known = max(promises.known, journal.promised)
    let change = promiseChange
    changePromise(change) { error in
      action(error.map { "writing the state file: \($0.withAdvice)" })
    }
  }

  /// When a sync has ended, and several times a second.
  func continueSecuring() {
    if promises.waits.isEmpty { return }
    let isOver = closesViews || !lifecycle.isServing
    let durable = journal?.durable ?? .none
    let ready = promises.waits.filter { isOver || $0.through <= durable }
    promises.waits.removeAll { isOver || $0.through <= durable }
    for wait in ready { wait.action() }
    if !promises.waits.isEmpty { startSync() }
  }
}
