/// The side of a hand-over that lets go, as a value: what happened goes in, what to do next comes
/// out. It does no I/O and has no clock; who drives it says when time is over (`failed`).
///
/// ```
///  offered ─begun▶ settling ─done▶ pausing ─done▶ presenting ─done▶ confirming
///     │               │               │               │               │ confirmed
///     │ failed        │ failed        │ failed        │ failed        ▼
///     ▼               ▼               ▼               ▼  ┌─failed─ releasing ─done▶ released
///    kept ◀───────────┴───────────────┴───────────────┴──┘
/// ```
public struct HandoverGiver: Equatable, Sendable {
  public enum State: Equatable, Sendable {
    /// The other side knows what is here and checks whether it can take it.
    case offered
    /// Work in the background ends; guests go on.
    case settling
    /// Nothing new begins; what has begun is answered and made durable.
    case pausing
    /// Everything stands still and is being sent.
    case presenting
    case confirming
    /// `yours` is being sent.
    case releasing
    /// The site is the other process's.
    case released
    /// This process goes on.
    case kept
  }

  public enum Event: Equatable, Sendable {
    /// The other side accepts the offer.
    case begun
    /// What the last action asked for is done.
    case done
    /// The other side has everything and could go on at once.
    case confirmed
    /// What the last action asked for failed or took too long, or the other side refused or is
    /// gone.
    case failed(String)
  }

  public enum Action: Equatable, Sendable {
    case settle
    case pause
    case present
    case awaitConfirmation
    /// Say `yours`. Once that is sent nothing may be touched any more.
    case release
    /// End the process.
    case leave
    /// Go on as if nothing had been asked. `wasStopped`: something must be undone.
    case keep(reason: String, wasStopped: Bool)
  }

  public private(set) var state = State.offered

  public init() {}

  public mutating func handle(_ event: Event) -> Action {
    switch (state, event) {
    case (.offered, .begun): return enter(.settling, .settle)
    case (.settling, .done): return enter(.pausing, .pause)
    case (.pausing, .done): return enter(.presenting, .present)
    case (.presenting, .done): return enter(.confirming, .awaitConfirmation)
    case (.confirming, .confirmed): return enter(.releasing, .release)
    case (.releasing, .done), (.released, _): return enter(.released, .leave)
    case (.kept, .failed(let reason)): return .keep(reason: reason, wasStopped: false)
    case (_, .failed(let reason)): return keep(reason)
    default: return keep("the other process spoke out of turn")
    }
  }

  private mutating func enter(_ state: State, _ action: Action) -> Action {
    self.state = state
    return action
  }

  private mutating func keep(_ reason: String) -> Action {
    let wasStopped = state != .offered && state != .kept
    state = .kept
    return .keep(reason: reason, wasStopped: wasStopped)
  }
}
