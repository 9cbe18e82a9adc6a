/// What an opening of a group is doing, as a value: what happens goes in, and what it does next
/// comes out of `next`. Confined to the group's loop.
///
/// Jobs work off the loop on the journal, its index and the state file. Three courses want them to
/// stand still, each some of them, and may come together:
///
/// ```
/// reset      none ─▶ awaited ─▶ job `.reset` ─▶ none       the journal is set back or erased
/// hand-over  none ─▶ settling ─▶ settled ─▶ pausing ─▶ closing ─▶ paused
///              ▲────────┴───────────┴──────────┴──────────┴─────────┘      nobody took it
/// end        none ─▶ stopping ─▶ draining ─▶ ended
/// ```
///
/// Failing comes at any time, once, and is for good. `forbidding` says which job may not begin
/// when, and nothing else does.
struct GroupLifecycle: Hashable, Sendable {
  /// One at a time of each kind, but for `promise`.
  enum Job: UInt16, CaseIterable, Sendable {
    /// A step of apply.
    case apply
    /// The journal is made durable, or a plain group's stores.
    case sync
    case segmentFile
    /// The state file is told which segments are void.
    case voidNote
    /// The state file is told what may be promised, or was.
    case promise
    /// The state file is told what is durable, for whoever opens the journal next.
    case durabilityNote
    case placing, sidecar, merging
    /// The state file is told of a disk that comes or leaves.
    case diskNote
    /// A piece is read of what a disk held when it was added.
    case content
    /// The journal is set back or erased: nothing else begins meanwhile.
    case reset

    fileprivate var bit: UInt16 { 1 << rawValue }
  }

  /// What stands against a job.
  struct Obstacles: OptionSet, Sendable {
    let rawValue: UInt8

    static let failed = Obstacles(rawValue: 1 << 0)
    static let stopping = Obstacles(rawValue: 1 << 1)
    /// Nothing begins in the background.
    static let settling = Obstacles(rawValue: 1 << 2)
    /// No request begins, either.
    static let pausing = Obstacles(rawValue: 1 << 3)
    /// All is written down for another process, or is being written down.
    static let standing = Obstacles(rawValue: 1 << 4)
    static let resetAwaited = Obstacles(rawValue: 1 << 5)
    /// All is written down as at a stop.
    static let ended = Obstacles(rawValue: 1 << 6)
  }

  enum Handover: CaseIterable, Sendable { case none, settling, settled, pausing, closing, paused }
  enum End: CaseIterable, Sendable { case none, stopping, draining, ended }

  /// What the group does now.
  enum Step: Equatable, Sendable {
    /// Nothing uses the journal that must not: the reset that was asked for begins.
    case reset
    /// Nothing runs in the background.
    case settled
    /// What was acknowledged is to be made durable before the state file is written.
    case sync
    /// All is answered and durable: the state file is written as at a stop.
    case closeState
    /// The next step of the stop.
    case drain
  }

  /// What `next` is told of the rest of the group.
  struct Facts: Equatable, Sendable {
    var hasViews = false
    /// No client has a request under way.
    var clientsRest = true
    /// All that is in the journal is durable.
    var isDurable = true
    /// Somebody waits for something to become durable.
    var hasWaits = false
  }

  /// Why the group serves nothing any more; nil while it does.
  private(set) var failure: String?
  private(set) var handover = Handover.none
  private(set) var end = End.none
  private(set) var awaitsReset = false
  private var running: UInt16 = 0
  private var promisesUnderWay = 0

  // MARK: Jobs

  /// By job: what must not be the case when it begins.
  static func forbidding(_ job: Job) -> Obstacles {
    switch job {
    case .apply: [.failed, .settling, .resetAwaited, .ended]
    case .sync: [.failed, .standing, .ended]
    case .segmentFile: [.failed, .stopping, .pausing, .resetAwaited]
    case .voidNote, .promise: [.failed, .stopping, .pausing, .resetAwaited]
    case .durabilityNote: [.failed, .stopping, .pausing]
    case .placing, .sidecar, .merging, .diskNote, .content:
      [.failed, .stopping, .settling, .resetAwaited]
    case .reset: [.failed, .stopping, .pausing]
    }
  }

  func runs(_ job: Job) -> Bool { running & job.bit != 0 }

  /// Guests have their syncs. The note of what is durable is the keeper's, which does one thing
  /// after the other.
  private var runsInBackground: Bool { running & ~(Job.sync.bit | Job.durabilityNote.bit) != 0 }

  var obstacles: Obstacles {
    var found: Obstacles = []
    if failure != nil { found.insert(.failed) }
    if end != .none { found.insert(.stopping) }
    if isSettling { found.insert(.settling) }
    if isPausing { found.insert(.pausing) }
    if handover == .closing || handover == .paused { found.insert(.standing) }
    if awaitsReset { found.insert(.resetAwaited) }
    if end == .ended { found.insert(.ended) }
    return found
  }

  /// Whether one can begin now.
  func mayBegin(_ job: Job) -> Bool {
    if !Self.forbidding(job).isDisjoint(with: obstacles) || runs(.reset) { return false }
    switch job {
    case .reset: return running & ~Job.durabilityNote.bit == 0
    case .promise: return true
    default: return !runs(job)
    }
  }

  /// Asked last, right before the job is given away: what was looked at meanwhile may have failed
  /// the group. False when it may not begin.
  mutating func begin(_ job: Job) -> Bool {
    guard mayBegin(job) else { return false }
    running |= job.bit
    if job == .promise { promisesUnderWay += 1 }
    return true
  }

  mutating func ended(_ job: Job) {
    precondition(runs(job), "\(job) ends, and had not begun")
    if job == .promise {
      promisesUnderWay -= 1
      if promisesUnderWay > 0 { return }
    }
    running &= ~job.bit
  }

  // MARK: What happens

  /// The journal is to be set back, or not any more.
  mutating func awaitReset(_ isAwaited: Bool) { awaitsReset = isAwaited }

  /// False when it had failed before.
  @discardableResult
  mutating func failed(_ reason: String) -> Bool {
    guard failure == nil else { return false }
    failure = reason
    return true
  }

  mutating func stop() { if end == .none { end = .stopping } }

  /// After `stop`: all is made durable, and applied where that is wanted.
  mutating func drain() { Self.move(&end, from: .stopping, to: .draining) }
  mutating func drained() { Self.move(&end, from: .draining, to: .ended) }

  mutating func settle() { Self.move(&handover, from: .none, to: .settling) }
  mutating func pause() { Self.move(&handover, from: .settled, to: .pausing) }
  mutating func paused() { Self.move(&handover, from: .closing, to: .paused) }

  private static func move<Stage: Equatable>(
    _ stage: inout Stage, from before: Stage, to after: Stage
  ) {
    precondition(stage == before, "\(after) while \(stage)")
    stage = after
  }

  /// No other process takes the group.
  mutating func keep() { handover = .none }

  // MARK: What follows

  /// Takes the next step. Nil: there is none before something ends or changes.
  mutating func next(_ facts: Facts) -> Step? {
    if awaitsReset, !facts.hasViews, mayBegin(.reset) {
      awaitsReset = false
      return .reset
    }
    if let step = nextOfHandover(facts) { return step }
    return end == .draining && !runs(.apply) && !runs(.sync) && !runs(.reset) ? .drain : nil
  }

  private mutating func nextOfHandover(_ facts: Facts) -> Step? {
    if runsInBackground { return nil }
    switch handover {
    case .settling:
      handover = .settled
      return .settled
    case .pausing:
      guard !runs(.sync), facts.clientsRest else { return nil }
      if failure == nil, !facts.isDurable { return .sync }
      if facts.hasWaits { return nil }
      handover = .closing
      return .closeState
    case .none, .settled, .closing, .paused: return nil
    }
  }

  /// Something waits for jobs or clients: `next` is worth asking.
  var isWaiting: Bool {
    awaitsReset || handover == .settling || handover == .pausing || end == .draining
  }

  // MARK: What others ask

  /// Requests can begin, of clients and of the peer.
  var isServing: Bool { obstacles.isDisjoint(with: [.failed, .stopping, .pausing]) }
  var isStopping: Bool { end != .none }
  /// On the way to another process: nothing begins in the background.
  var isSettling: Bool { handover != .none }
  /// No request begins.
  var isPausing: Bool {
    switch handover {
    case .none, .settling, .settled: false
    case .pausing, .closing, .paused: true
    }
  }
  /// Set back, or about to be.
  var isResetting: Bool { awaitsReset || runs(.reset) }
}
