/// State under a simulated lock; see the one for Linux. Bodies do not wait, so the lock is never
/// held while another fiber runs.
public final class Monitor<State: ~Copyable & Sendable>: @unchecked Sendable {
  private final class Waiter { var isWoken = false }

  private var state: State
  private var waiters: [Waiter] = []

  public init(_ state: consuming State) { self.state = state }

  public func withLock<Result>(_ body: (inout State) -> Result) -> Result { body(&state) }

  public func update<Result>(_ body: (inout State) -> Result) -> Result {
    let result = body(&state)
    for waiter in waiters { waiter.isWoken = true }
    waiters.removeAll()
    Simulation.running.noteChange()
    return result
  }

  public func updateForOne<Result>(_ body: (inout State) -> Result) -> Result {
    let result = body(&state)
    if !waiters.isEmpty {
      let index = Simulation.running.random.below(waiters.count)
      waiters.remove(at: index).isWoken = true
      Simulation.running.noteChange()
    }
    return result
  }

  public func wait<Result>(_ body: (inout State) -> Result?) -> Result {
    while true {
      if let result = body(&state) { return result }
      let waiter = Waiter()
      waiters.append(waiter)
      _ = Simulation.running.wait(until: nil) { waiter.isWoken }
    }
  }
}
