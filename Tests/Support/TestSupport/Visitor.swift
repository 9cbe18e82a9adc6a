import Foundation
import Synchronization

/// A thread that connects to an export, reads from it and leaves, again and again, until it is
/// stopped or turned away.
public final class Visitor: Sendable {
  private struct State {
    var visits = 0
    var isStopping = false
    var hasEnded = false
    var failure: String?
  }

  private let state = Mutex(State())

  /// Starts at once.
  public init(_ uri: String) {
    Thread { [self] in
      do {
        while !state.withLock({ $0.isStopping }) {
          _ = try NBDClient(uri).read(at: 0, count: 512)
          state.withLock { $0.visits += 1 }
        }
      } catch { state.withLock { $0.failure = "\(error)" } }
      state.withLock { $0.hasEnded = true }
    }.start()
  }

  /// Why it was turned away; nil when it was not.
  public var failure: String? { state.withLock { $0.failure } }

  /// Waits until `count` more visits were made.
  public func makeProgress(_ count: Int) throws {
    let start = state.withLock { $0.visits }
    try eventually("\(count) more visits") {
      if let failure { throw RigError("turned away: \(failure)") }
      return state.withLock { $0.visits } >= start + count
    }
  }

  public func stop() throws {
    state.withLock { $0.isStopping = true }
    try eventually("the visitor leaves") { state.withLock { $0.hasEnded } }
  }
}
