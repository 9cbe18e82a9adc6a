import Synchronization

/// What a test does in the middle of another call, on the thread of that call: each interleaving of
/// two threads can be had from one.
public final class Interruption: Sendable {
  private struct Body: @unchecked Sendable {
    let run: () -> Void
  }

  private struct State {
    var body: Body?
    var isRunning = false
  }

  private let state = Mutex(State())

  public init() {}

  /// From now on `body` runs each time, but not inside of itself.
  public func set(_ body: @escaping () -> Void) {
    let body = Body(run: body)
    state.withLock { $0.body = body }
  }

  public func stop() { state.withLock { $0.body = nil } }

  /// For the fake that is interrupted; it holds no lock.
  public func fire() {
    let body = state.withLock { state -> Body? in
      guard let body = state.body, !state.isRunning else { return nil }
      state.isRunning = true
      return body
    }
    guard let body else { return }
    body.run()
    state.withLock { $0.isRunning = false }
  }
}
