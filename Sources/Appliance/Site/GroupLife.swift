/// Where a group of a site stands from one opening to the next, as a value: what happens goes in,
/// and what its thread does next comes out. Times are of the monotonic clock, in nanoseconds.
///
/// ```
/// closed ─▶ opening ─▶ ready ─▶ serving ─▶ failed ─▶ ending ─▶ closed …
///    ▲─────────┴─────────┘         ├─▶ changing ─▶ closed …
///                                  └─▶ stopping ─▶ stopped
/// ```
struct GroupLife: Sendable {
  enum Phase: Equatable, Sendable {
    /// Nothing is open, and no file in use. The next attempt is due at `nextAttempt`.
    case closed
    /// An attempt is under way.
    case opening
    /// Opened, and nothing is written yet: the site serves all its groups from one moment on.
    case ready
    case serving
    /// Nothing is served any more; what is left of the opening has yet to end.
    case failed
    case ending
    /// It is closed in order, its folder is changed, and it is opened again.
    case changing
    case stopping
    case stopped
  }

  /// What the group's thread does next.
  enum Step: Equatable, Sendable { case open, end, change, discard, stop, leave }

  static let retryNanoseconds: ClosedRange<UInt64> = 1_000_000_000...60_000_000_000

  private(set) var phase = Phase.closed
  /// Why it is not serving, or did not serve before the present attempt.
  private(set) var reason: String?
  private(set) var nextAttempt: UInt64 = 0
  /// Attempts that have failed since the group served last.
  private(set) var failedAttempts = 0
  private var delay = Self.retryNanoseconds.lowerBound
  private var servingSince: UInt64 = 0
  private var wantsStop = false
  private var wantsChange = false
  /// Why what is opened has failed before it serves.
  private var earlyFailure: String?
  /// Nothing is begun: another process may be about to take the site.
  private var isHeld = false

  /// Whether a step is being taken. A group that is ready is about to write down that it serves.
  var isBusy: Bool {
    switch phase {
    case .opening, .ready, .ending, .changing, .stopping: true
    case .closed, .serving, .failed, .stopped: false
    }
  }

  /// Takes the next step. Nil: there is none before something happens, or `dueTime` comes.
  mutating func next(now: UInt64) -> Step? {
    switch phase {
    case .stopped: return .leave
    case .opening, .ending, .changing, .stopping: return nil
    case .closed, .ready, .serving, .failed: break
    }
    if isHeld { return nil }
    switch phase {
    case .closed where wantsStop:
      phase = .stopped
      return .leave
    case .closed:
      guard now >= nextAttempt else { return nil }
      phase = .opening
      return .open
    case .failed:
      phase = .ending
      return .end
    case .serving where wantsChange && !wantsStop:
      phase = .changing
      return .change
    default:
      guard wantsStop else { return nil }
      defer { phase = .stopping }
      return phase == .ready ? .discard : .stop
    }
  }

  /// When there is something to do though nothing happens; nil: never.
  var dueTime: UInt64? { phase == .closed && !isHeld ? nextAttempt : nil }

  // MARK: What happens

  mutating func opened() {
    precondition(phase == .opening, "opened while \(phase)")
    phase = .ready
  }

  /// The attempt has failed, or the first write after it.
  mutating func refused(_ reason: String, now: UInt64) {
    precondition(phase == .opening || phase == .ready, "refused while \(phase)")
    self.reason = reason
    earlyFailure = nil
    failedAttempts += 1
    close(now)
  }

  mutating func serves(now: UInt64) {
    precondition(phase == .ready, "serves while \(phase)")
    phase = .serving
    servingSince = now
    reason = nil
    failedAttempts = 0
    if let earlyFailure { failed(earlyFailure, now: now) }
  }

  /// The group says that it cannot go on: one that is ready ends once it serves. While it stops,
  /// that makes no difference.
  mutating func failed(_ reason: String, now: UInt64) {
    if phase == .opening || phase == .ready { earlyFailure = reason }
    guard phase == .serving else { return }
    earlyFailure = nil
    self.reason = reason
    phase = .failed
    wantsChange = false
    // One that had served for long is likely to do so again at once.
    if now - servingSince >= Self.retryNanoseconds.upperBound {
      delay = Self.retryNanoseconds.lowerBound
    }
  }

  mutating func ended(now: UInt64) {
    precondition(phase == .ending, "ended while \(phase)")
    close(now)
  }

  /// Its folder is to be changed. False when the group does not serve.
  mutating func change() -> Bool {
    if phase == .serving { wantsChange = true }
    return phase == .serving
  }

  /// It is opened again at once.
  mutating func changed(_ reason: String) {
    precondition(phase == .changing, "changed while \(phase)")
    wantsChange = false
    self.reason = reason
    phase = .closed
    tryNow()
  }

  private mutating func close(_ now: UInt64) {
    phase = .closed
    nextAttempt = now + delay
    delay = min(2 * delay, Self.retryNanoseconds.upperBound)
  }

  /// Somebody has mended something.
  mutating func tryNow() {
    nextAttempt = 0
    delay = Self.retryNanoseconds.lowerBound
  }

  mutating func stop() { wantsStop = true }

  mutating func stopped() { phase = .stopped }

  mutating func hold(_ isHeld: Bool) { self.isHeld = isHeld }
}
