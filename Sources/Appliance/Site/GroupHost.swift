import BlockModel
import Configuration
import Handover
import Journal
import Replication
import Storage
import SystemIO

/// One group of a site for as long as the site runs: opens it, ends what has failed, and opens it
/// again (`GroupLife`). An opening shares nothing with the one before it: it recovers the journal
/// as the start of a process does, and nothing of the one before runs any more then. While a group
/// is closed, no file of it is open or locked, so it can be repaired.
///
/// A branch of a group has a host, too, which is in the hands of that of its group: it opens the
/// branch on what its group has open, and has ended before its group is let go of.
///
/// Threads: one of its own, which makes these steps. Others may call from any thread but a loop's,
/// unless it says otherwise.
final class GroupHost: Sendable {
  /// Of the site.
  struct Surroundings: Sendable {
    let site: String
    let dataDirectory: String
    let log: @Sendable (String) -> Void
    /// All groups share it.
    var indexMemory = IndexMemory()
    /// Where links send; nil: there are none.
    var links: LinkLoops?
    /// Where branches are served.
    var loops = LoopShares([])
    /// What a process before this one knew, by group; of those that serve from the start.
    var known: [String: GroupMemory] = [:]
  }

  /// Of a branch.
  private struct Origin: Sendable {
    let branch: String
    unowned let group: GroupHost
  }

  /// A group that is open.
  struct Opening: Sendable {
    let group: Group
    /// To each follower.
    let links: [LinkSender<DiskStore>]

    /// Sends what is appended, for at most `drainMilliseconds`, then ends the links and waits.
    func stopLinks(drainMilliseconds: Int) {
      let deadline = SystemClock.monotonicNanoseconds() + UInt64(drainMilliseconds) * 1_000_000
      for link in links { link.drain(until: deadline) }
      for link in links { link.suspend() }
      for link in links { link.stop() }
    }

    /// After `stopLinks`, and after the journal was made durable: what a link reads may hang.
    func finishReads() { for link in links { link.finishReads() } }
  }

  private struct State: Sendable {
    var life = GroupLife()
    var configuration: GroupConfiguration
    var origin: ConfigurationOrigin?
    /// For the first attempt.
    var files: InheritedFiles
    var opening: Opening?
    var attempts = 0
    /// Since when nothing is served; nil while something is.
    var closedSince: Timestamp?
    /// Of the last attempt that failed.
    var refusal: SiteError?
    var loggedReason: String?
    /// Of the opening before.
    var memory: GroupMemory
    /// The last failure of the group while it was open.
    var setback: Setback?
    var change: Change?
    /// What is in vain is not tried again and again: each time the group is closed for it.
    var nextGivingWay: UInt64 = 0
    var givingWayFailures: (count: Int, last: String)?
    /// What it is closed for, until it serves again.
    var changing: String?
    var owner = FormerOwner()
  }

  typealias Step = @Sendable (_ log: @escaping (String) -> Void) throws(SiteError) -> Void

  /// What is to be done with the folder of the group while it is closed.
  private struct Change: Sendable {
    /// For people who ask meanwhile.
    let reason: String
    let step: Step
    /// Somebody waits for what comes of it.
    var isAwaited = true
    var isGivingWay = false
    /// Nil until it was taken, or the group has failed before.
    var outcome: Result<Void, SiteError>?

    mutating func fail(_ reason: String) {
      outcome = outcome ?? .failure(SiteError("the group has failed: \(reason)"))
    }
  }

  /// What sends for the group; none while it is not open.
  var links: [LinkSender<DiskStore>] { opening?.links ?? [] }

  let name: String
  let role: GroupRole
  let loop: EventLoop
  private let surroundings: Surroundings
  /// Nil: it is no branch.
  private let origin: Origin?
  /// It begins to serve as soon as it is open; else the site does that for all at once.
  private let servesAlone: Bool
  private let state: Monitor<State>
  private let thread = Monitor<Thread?>(nil)
  /// See `branches`.
  let branchHosts = Monitor<[GroupHost]>([])

  private static let linkDrainMilliseconds = 2_000
  private static let longestWaitMilliseconds: UInt64 = 3_600_000

  /// - Parameters:
  ///   - files: those that another process gave to this one.
  convenience init(
    _ configuration: GroupConfiguration, origin: ConfigurationOrigin?, loop: EventLoop,
    files: InheritedFiles, _ surroundings: Surroundings
  ) {
    self.init(
      configuration, origin, loop, files, nil, servesAlone: false, surroundings)
  }

  private init(
    _ configuration: GroupConfiguration, _ file: ConfigurationOrigin?, _ loop: EventLoop,
    _ files: InheritedFiles, _ origin: Origin?, servesAlone: Bool, _ surroundings: Surroundings
  ) {
    name = configuration.name
    role = configuration.role
    self.loop = loop
    self.origin = origin
    self.servesAlone = servesAlone
    self.surroundings = surroundings
    // What comes later under a name that was known is something else.
    let known = servesAlone ? nil : surroundings.known[configuration.name]
    let memory = known ?? GroupMemory()
    state = Monitor(
      State(configuration: configuration, origin: file, files: files, memory: memory))
    loop.post { loop.groupCount += 1 }
  }

  /// Of a branch; see `host(_:_:servesAlone:)`.
  convenience init(
    branch record: BranchRecord, of group: GroupHost, _ files: InheritedFiles, servesAlone: Bool
  ) {
    self.init(
      BranchOpening.configuration(of: record, in: group.configuration), nil,
      group.surroundings.loops.take(), files, Origin(branch: record.name, group: group),
      servesAlone: servesAlone, group.surroundings)
  }

  /// Of a branch, when nothing of it runs any more.
  func giveBackLoop() { surroundings.loops.giveBack(loop) }

  private var now: UInt64 { SystemClock.monotonicNanoseconds() }
  private var instant: Timestamp {
    Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
  }

  private func log(_ line: String) { surroundings.log("group \(name)\(line)") }

  // MARK: What others see

  /// The group, while it serves. Does not block; loops may ask, too.
  var group: Group? { opening?.group }

  /// Nobody may come to a group before it is written down that it is in use: should that fail, it
  /// is opened anew, and whoever it had served would go on writing to its journal.
  var opening: Opening? {
    state.withLock { state in
      switch state.life.phase {
      case .serving, .stopping, .changing: state.opening
      case .closed, .opening, .ready, .failed, .ending, .stopped: nil
      }
    }
  }

  /// The group from when it is opened, for the start of the site.
  var prepared: Group? { state.withLock { $0.opening?.group } }

  var configuration: GroupConfiguration { state.withLock { $0.configuration } }

  /// Why it is not open, for people. Does not block; loops may ask, too.
  var closedReason: String { state.withLock { $0.life.reason } ?? "it is being opened" }

  /// The same, with what the site does about it.
  var closedHealth: String {
    let status = openingStatus
    guard let seconds = status.retrySeconds else { return closedReason }
    return closedReason
      + "; it is tried again in \(Int(seconds.rounded(.up))) s, and at once by `tapline reload`"
  }

  /// What the group is closed for just now, if it changes hands.
  var changeUnderWay: String? { state.withLock { $0.changing } }

  private var isChanging: Bool { state.withLock { $0.life.phase == .changing } }

  /// Nil while something is served.
  var closedSince: Timestamp? { state.withLock { $0.closedSince } }

  var openingStatus: OpeningStatus {
    state.withLock { state in
      let now = now
      let isWaiting = state.life.phase == .closed
      let left = state.life.nextAttempt > now ? state.life.nextAttempt - now : 0
      return OpeningStatus(
        reason: state.life.reason, failedAttempts: state.life.failedAttempts,
        retrySeconds: isWaiting ? Double(left) / 1e9 : nil)
    }
  }

  // MARK: The site's start

  /// Makes the first attempt, and no step after it before `release`. Does not wait for it.
  func start() {
    let thread = Thread(name: "group-\(name)") { [self] in run() }
    self.thread.withLock { $0 = thread }
  }

  /// Of one that serves alone: blocks until it does. Nil when it does, else why not.
  func waitUntilServing(milliseconds: UInt64) -> String? {
    state.wait(milliseconds: milliseconds) { state, isLate -> String?? in
      if state.life.phase == .serving { return .some(nil) }
      if let refusal = state.refusal { return "\(refusal)" }
      return isLate ? "it was not opened in time" : nil
    } ?? nil
  }

  /// Blocks until the first attempt has ended. Nil when it was good: the group is open, and nothing
  /// was written yet.
  func firstRefusal() -> SiteError? {
    state.wait { state -> SiteError?? in
      if state.life.phase == .ready { return .some(nil) }
      return state.refusal.map { .some($0) }
    }
  }

  /// Writes down that the group is in use, and what its opening decided, before it serves. Throws
  /// when it cannot; the group is closed then. Blocks.
  func noteUse() throws(SiteError) {
    guard let group = prepared else { return }
    do throws(SiteError) { try group.noteUse() } catch {
      forgetBranches()
      letGo(of: group)
      let (now, instant) = (now, instant)
      state.update { state in
        state.opening = nil
        state.refusal = error
        state.changing = nil
        state.life.refused("\(error)", now: now)
        state.closedSince = state.closedSince ?? instant
      }
      logRefusal(error)
      throw error
    }
  }

  /// From now on the group serves; what is posted to its loop next finds it so. The link must be
  /// started yet.
  func serves() {
    noteLoss()
    let (now, end) = (now, prepared?.stamped ?? .none)
    state.update { state in
      guard state.life.phase == .ready else { return }
      state.life.serves(now: now)
      guard state.life.phase == .serving else { return }
      state.closedSince = nil
      state.changing = nil
      state.setback?.opened(now: now, end: end)
    }
  }

  private func noteLoss() {
    guard let group = prepared, let loss = group.loss else { return }
    if state.withLock({ $0.memory }).lacksMore(than: group.stamped) { log(": \(loss)") }
  }

  // MARK: From others

  /// What another process must know of a group that is not open here; nil when its loop does not
  /// answer. Blocks for a moment, while nobody else changes the group's phase.
  func memoryToHand(_ ask: (EventLoop, Group) -> GroupMemory?) -> GroupMemory? {
    let (group, memory) = state.withLock { state in (state.opening?.group, state.memory) }
    // It has failed, and what is left of it still runs.
    if let group { return ask(loop, group) }
    return memory
  }

  /// Tries at once. What is closed takes the configuration over as a whole; false when the group is
  /// open, or not known under this role.
  @discardableResult
  func retry(with configuration: GroupConfiguration, _ origin: ConfigurationOrigin?) -> Bool {
    state.update { state in
      guard state.life.phase == .closed, configuration.role == role else { return false }
      state.configuration = configuration
      state.origin = origin
      state.loggedReason = nil
      state.life.tryNow()
      return true
    }
  }

  /// Tries at once, should it be closed.
  func retry() {
    state.update { state in
      if state.life.phase == .closed { state.life.tryNow() }
    }
  }

  /// A running site has taken part of a configuration over; for the next opening.
  func note(_ configuration: GroupConfiguration, _ origin: ConfigurationOrigin?) {
    state.update { state in
      state.configuration = configuration
      state.origin = origin
    }
  }

  /// No step begins until `release`. False when one was under way and did not end in time.
  func hold(milliseconds: UInt64) -> Bool {
    state.update { $0.life.hold(true) }
    return state.wait(milliseconds: milliseconds) { state, isLate -> Bool? in
      if !state.life.isBusy { return true }
      return isLate ? false : nil
    } ?? false
  }

  func release() { state.update { $0.life.hold(false) } }

  /// Begins to stop; `join` waits for the end.
  func stop() {
    for branch in branches { branch.stop() }
    state.update { state in
      state.life.hold(false)
      state.life.stop()
    }
  }

  /// After `stop`. Blocks until nothing of the group runs any more.
  func join() { thread.withLock { $0 }?.join() }

  // MARK: On the group's thread

  private func run() {
    while true {
      switch nextStep() {
      case nil: break
      case .open?: attempt()
      case .end?: end()
      case .discard?: discard()
      case .change?: change()
      case .stop?: stopServing()
      case .leave?:
        endBranches()
        return
      }
    }
  }

  /// Nil: the time of the next attempt has changed.
  private func nextStep() -> GroupLife.Step? {
    let due = state.withLock { $0.life.dueTime }
    let start = now
    let wait = due.map { $0 <= start ? 0 : ($0 - start) / 1_000_000 + 1 }
    let step = state.wait(milliseconds: wait ?? Self.longestWaitMilliseconds) {
      state, isLate -> GroupLife.Step?? in
      if let step = state.life.next(now: now) { return .some(step) }
      return isLate || state.life.dueTime != due ? .some(nil) : nil
    }
    return step ?? nil
  }

  private func attempt() {
    let (configuration, origin, files, isFirst) = state.withLock { state in
      state.attempts += 1
      return (
        state.configuration, state.origin, state.files, state.attempts == 1 && !servesAlone
      )
    }
    do throws(SiteError) {
      let opening = try open(configuration, origin, files)
      state.update { $0.opening = opening }
      hostBranches(of: opening.group, files, servesAlone: !isFirst)
      state.update { state in
        state.files = InheritedFiles()
        // The site begins to serve all its groups at once.
        if isFirst { state.life.hold(true) }
        state.life.opened()
      }
      if !isFirst { try serveAgain(opening) }
    } catch {
      let (now, instant) = (now, instant)
      state.update { state in
        state.files = InheritedFiles()
        guard state.life.phase == .opening else { return }
        if isFirst { state.life.hold(true) }
        state.refusal = error
        state.changing = nil
        state.life.refused("\(error)", now: now)
        state.closedSince = state.closedSince ?? instant
      }
      if !isFirst { logRefusal(error) }
    }
  }

  /// Said once for each reason.
  func logRefusal(_ error: SiteError) {
    let isNew = state.withLock { state in
      defer { state.loggedReason = "\(error)" }
      return state.loggedReason != "\(error)"
    }
    if isNew { log(" cannot be opened, and is tried again: \(error)") }
  }

  private func open(
    _ configuration: GroupConfiguration, _ origin: ConfigurationOrigin?, _ files: InheritedFiles
  ) throws(SiteError) -> Opening {
    let log = surroundings.log
    let (memory, setback, owner, obstacle) = state.withLock {
      ($0.memory, $0.setback, $0.owner, $0.givingWayFailures?.last)
    }
    let parts = try openParts(configuration, origin, files, known: memory.identifier)
    let lanes = GroupLanes(group: configuration.name)
    let links =
      parts.branch == nil
      ? surroundings.links.map { parts.links(from: surroundings.site, on: $0, log) } : nil
    let group = Group(
      parts, links: links?.map(\.monitor) ?? [], loop: loop, lanes: lanes, log: log)
    group.siteName = surroundings.site
    group.exposure = surroundings.links?.security.exposure(
      of: parts.configuration, isOwner: parts.duty == .owning)
    group.onFailure = { [weak self] reason in self?.hasFailed(reason) }
    group.onGivingWay = { [weak self] rival in self?.giveWay(to: rival) }
    group.onJump = { [weak self] point, owner in self?.jump(to: point, of: owner) }
    group.onTakingOver = { [weak self, weak group] owner in
      if self?.takeOver(from: owner) != true { group?.giveUpTakingOver() }
    }
    (group.formerOwner, group.obstacleToFollowing) = (owner, obstacle)
    group.setback = setback
    group.setback?.opened(now: now, end: group.stamped)
    // What a recovery site has lost is sent again.
    if group.duty == .owning {
      group.loss = memory.loss(keeping: group.stamped, diskCount: group.journal?.diskCount ?? 0)
    }
    if let branch = group.branch?.branch {
      branch.onExpiry { [loop] reason in loop.post { [weak group] in group?.fail(reason) } }
    }
    return Opening(group: group, links: links ?? [])
  }

  private func openParts(
    _ configuration: GroupConfiguration, _ file: ConfigurationOrigin?, _ files: InheritedFiles,
    known: GroupIdentifier?
  ) throws(SiteError) -> GroupParts {
    guard let origin else {
      return try GroupOpening.open(
        configuration, dataDirectory: surroundings.dataDirectory, origin: file, known: known,
        files: files, surroundings.indexMemory, log: surroundings.log)
    }
    guard let group = origin.group.prepared else {
      throw SiteError("group \(origin.group.name) is not open", isPassing: true)
    }
    return try BranchOpening.open(
      origin.branch, of: group, configuration, known: known, files: files,
      surroundings.indexMemory, log: surroundings.log)
  }

  private func serveAgain(_ opening: Opening) throws(SiteError) {
    try noteUse()
    let group = opening.group
    if origin == nil || state.withLock({ $0.attempts }) > 1 {
      log(": open again, and serves; its order ends with record \(group.stamped.rawValue)")
    }
    serves()
    loop.post { group.begin() }
    for link in opening.links { link.start() }
  }

  /// By the group, on its loop.
  private func hasFailed(_ reason: String) {
    let (now, instant) = (now, instant)
    state.update { state in
      if state.life.phase == .serving {
        // Nobody waits for that, and whoever wants it asks again.
        if state.change?.isAwaited == false { state.change = nil }
        state.change?.fail(reason)
      }
      state.life.failed(reason, now: now)
      state.closedSince = instant
      // What a branch is built on is closed in order, and comes again.
      if origin?.group.isChanging == true { return }
      state.setback = Setback(reason, at: instant, now: now, after: state.setback)
    }
  }

  // MARK: Ending

  /// Ends what is left of an opening that has failed.
  private func end() {
    guard let opening = state.withLock({ $0.opening }) else { return }
    let group = opening.group
    hurry(group, sparingFlushes: false)
    opening.stopLinks(drainMilliseconds: 0)
    loop.perform { group.abandon() }
    for branch in group.branches.listed { branch.waitUntilUnused() }
    #if MUTANTS
      if !Mutant.reopenTooEarly.isOn { group.finishJobs() }
    #else
      group.finishJobs()
    #endif
    opening.finishReads()
    loop.perform { group.leaveLoop() }
    letGo(of: group)
    let now = now
    state.update { state in
      state.memory = group.memory
      state.opening = nil
      state.life.ended(now: now)
    }
    log(": everything of it has ended; it is opened again")
  }

  /// A server that hangs must not keep the group from its end.
  private func hurry(_ group: Group, sparingFlushes: Bool) {
    for disk in group.numberedDisks { disk.store.hurry(sparingFlushes: sparingFlushes) }
  }

  /// Of what belongs to one opening, when none of its jobs runs any more.
  private func letGo(of group: Group) {
    for disk in group.numberedDisks { disk.store.disconnect() }
    for file in group.lockedFiles { file.unlock() }
    group.branch?.branch.endUse(written: group.journal?.byteCount(after: .none))
  }

  // MARK: Changing hands

  /// Closes the group in order, has `step` change its folder, which nobody else uses meanwhile, and
  /// opens it again, whatever came of the step. Blocks until the group serves; one caller at a
  /// time. Throws what the step threw, or else why the group does not serve.
  ///
  /// - Parameter reason: what clients are told meanwhile.
  func change(_ reason: String, _ step: @escaping Step) throws(SiteError) {
    // This site may be giving way just now.
    state.wait { $0.change == nil ? () : nil }
    let isTaken = state.update { state in
      guard state.change == nil, state.life.change() else { return false }
      state.change = Change(reason: reason, step: step)
      return true
    }
    guard isTaken else {
      throw SiteError("group \(name) is not open: \(closedReason)", .groupClosed)
    }
    let result = state.wait { state -> Result<Void, SiteError>? in
      if state.life.phase == .stopped { return .failure(SiteError("the site is stopping")) }
      guard let outcome = state.change?.outcome else { return nil }
      if state.life.phase == .serving { return outcome }
      return state.refusal.map { refusal in outcome.flatMap { .failure(refusal) } }
    }
    state.update { $0.change = nil }
    try result.get()
  }

  private func change() {
    guard
      let (opening, change) = state.withLock({ state in
        state.opening.flatMap { opening in state.change.map { (opening, $0) } }
      })
    else { return }
    let group = opening.group
    let start = instant
    let owner = loop.ask { done in
      done(
        group.receiving.peerSite.map {
          FormerOwner(site: $0, newest: group.history?.end ?? .zero)
        })
    }
    state.update { state in
      state.closedSince = start
      state.changing = change.reason
      if let owner = owner ?? nil { state.owner = owner }
    }
    close(opening) {
      for branch in group.branches.listed { branch.waitUntilUnused() }
    }
    let outcome = Result { () throws(SiteError) in try change.step(surroundings.log) }
    state.update { state in
      // What its order lacks now, its clients were cut off from.
      state.memory = GroupMemory(identifier: group.memory.identifier)
      state.opening = nil
      state.refusal = nil
      state.setback = nil
      state.change?.outcome = outcome
      if case .success = outcome { state.givingWayFailures = nil }
      if !change.isAwaited { state.change = nil }
      state.life.changed(change.reason)
    }
    guard !change.isAwaited, case .failure(let error) = outcome else { return }
    if change.isGivingWay { noteGivingWay("\(error)") }
    log(": \(change.reason), and it cannot, which is tried again: \(error)")
  }

  /// Its owner moves the group to this site. Does not wait; on the group's loop. False: it cannot.
  private func takeOver(from owner: String) -> Bool {
    exchange("\(owner) moves the group to this site") { (exchange, now) throws(SiteError) in
      _ = try exchange.failOver(
        from: owner, at: nil, parking: "", commits: nil, forGood: true, isGiven: true, now: now)
    }
  }

  private static let givingWayNanoseconds: UInt64 = 10_000_000_000
  private static let longestGivingWayNanoseconds: UInt64 = 600_000_000_000

  private func noteGivingWay(_ failure: String) {
    let now = now
    state.update { state in
      let count = state.givingWayFailures?.count ?? 0
      let pause = Self.givingWayNanoseconds << UInt64(min(count, 8))
      state.nextGivingWay = now + min(pause, Self.longestGivingWayNanoseconds)
      state.givingWayFailures = (count + 1, failure)
    }
  }

  /// What stood in its way may be gone.
  func triesGivingWay() { state.update { $0.nextGivingWay = 0 } }

  /// Another site owns the group for good: this one follows. Does not wait; on the group's loop.
  func giveWay(to rival: Rival) {
    exchangeUnlessFailed("site \(rival.site) owns the group, and this one is to follow") {
      (exchange, now) throws(SiteError) in
      try exchange.giveWay(to: rival, now: now)
    }
  }

  /// The owner has dropped records that come next here: this site goes on behind them. Does not
  /// wait; on the group's loop.
  private func jump(to point: JumpPoint, of owner: String) {
    exchangeUnlessFailed("\(owner) has dropped what comes next, and this site goes on behind it") {
      (exchange, now) throws(SiteError) in
      try exchange.jump(to: point, of: owner, now: now)
    }
  }

  private typealias ExchangeStep =
    @Sendable (inout OwnershipExchange, Timestamp) throws(SiteError) -> Void

  /// As `exchange`, unless one has failed just before.
  private func exchangeUnlessFailed(_ reason: String, _ step: @escaping ExchangeStep) {
    let now = now
    guard state.withLock({ now >= $0.nextGivingWay }) else { return }
    _ = exchange(reason, isGivingWay: true, step)
  }

  /// What the site does to the group's folder by itself. Does not wait; on the group's loop.
  /// False: another change is under way, or the group is not open.
  private func exchange(
    _ reason: String, isGivingWay: Bool = false, _ step: @escaping ExchangeStep
  ) -> Bool {
    let (configuration, folder) = (configuration, "\(surroundings.dataDirectory)/\(name)")
    return state.update { state in
      guard state.change == nil, state.life.change() else { return false }
      state.change = Change(
        reason: reason,
        step: { (log) throws(SiteError) in
          var exchange = try OwnershipExchange(configuration, in: folder)
          defer {
            for note in exchange.notes { log("group \(configuration.name): \(note)") }
            exchange.end()
          }
          try step(&exchange, Timestamp(nanoseconds: SystemClock.realtimeNanoseconds()))
        }, isAwaited: false, isGivingWay: isGivingWay)
      return true
    }
  }

  /// The site does not come to serve. What another process gave stays locked for that: a lock
  /// belongs to the open file, which both have.
  private func discard() {
    endBranches()
    prepared?.branch?.branch.endUse()
    state.update { state in
      state.opening = nil
      state.life.stopped()
    }
  }

  /// Sends what the links still have for a short while, makes everything durable and applies a
  /// protected group's journal.
  private func stopServing() {
    guard let opening = state.withLock({ $0.opening }) else { return endBranches() }
    // What is applied counts as such once it is flushed. Branches read from the same servers.
    hurry(opening.group, sparingFlushes: true)
    endBranches()
    close(opening) {}
    state.update { $0.life.stopped() }
  }

  /// Sends what the links still have, makes everything durable and ends the opening in order.
  ///
  /// - Parameter wait: for those who use it, once they are told that it ends.
  private func close(_ opening: Opening, _ wait: () -> Void) {
    let group = opening.group
    hurry(group, sparingFlushes: true)
    loop.perform { group.beginStop() }
    opening.stopLinks(drainMilliseconds: Self.linkDrainMilliseconds)
    loop.ask { done in group.drain { done(()) } }
    loop.perform { group.abandon() }
    wait()
    group.finishJobs()
    opening.finishReads()
    loop.perform { group.leaveLoop() }
    letGo(of: group)
  }
}
