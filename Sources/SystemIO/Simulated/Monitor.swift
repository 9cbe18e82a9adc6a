/// State under a simulated lock; see the one for Linux. Bodies do not wait, so the lock is never
/// held while another fiber runs.
public final class Monitor<State: ~Copyable & Sendable>: @unchecked Sendable {
  private var state: State
  private var waiters: [Fiber] = []

  public init(_ state: consuming State) { self.state = state }

  public func withLock<Result>(_ body: (inout State) -> Result) -> Result { body(&state) }

  public func update<Result>(_ body: (inout State) -> Result) -> Result {
    let result = body(&state)
    for waiter in waiters { Simulation.running.wake(waiter) }
    waiters.removeAll()
    return result
  }

  public func updateForOne<Result>(_ body: (inout State) -> Result) -> Result {
    let result = body(&state)
    if !waiters.isEmpty {
      let index = Simulation.running.random.below(waiters.count)
      Simulation.running.wake(waiters.remove(at: index))
    }
    return result
  }

  public func wait<Result>(_ body: (inout State) -> Result?) -> Result {
    while true {
      if let result = body(&state) { return result }
      guard let fiber = Simulation.running.currentFiber else {
        fatalError("waiting between fibers")
      }
      waiters.append(fiber)
      Simulation.running.block()
    }
  }

  public func wait<Result>(
    milliseconds: UInt64, _ body: (inout State, _ isLate: Bool) -> Result?
  ) -> Result? {
    let end = Simulation.running.now + milliseconds * 1_000_000
    while true {
      if let result = body(&state, false) { return result }
      guard let fiber = Simulation.running.currentFiber else {
        fatalError("waiting between fibers")
      }
      if Simulation.running.now >= end { return body(&state, true) }
      waiters.append(fiber)
      Simulation.running.block(until: end)
      waiters.removeAll { $0 === fiber }
    }
  }
}
