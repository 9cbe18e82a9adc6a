import SystemIO

/// Keeps a read-modify-write of a block apart from every other write: either many plain writes
/// are inside, or one exclusive.
final class WriteGate: Sendable {
  private struct State: Sendable {
    var sharedCount = 0
    var isExclusive = false
    var waitingExclusiveCount = 0
  }

  private let monitor = Monitor(State())

  /// Blocks while an exclusive writer is inside or waits, so that none waits forever.
  func enter(exclusively: Bool) {
    if exclusively {
      monitor.withLock { $0.waitingExclusiveCount += 1 }
      monitor.wait { state -> Void? in
        guard state.sharedCount == 0, !state.isExclusive else { return nil }
        state.waitingExclusiveCount -= 1
        state.isExclusive = true
        return ()
      }
    } else {
      monitor.wait { state -> Void? in
        guard state.waitingExclusiveCount == 0, !state.isExclusive else { return nil }
        state.sharedCount += 1
        return ()
      }
    }
  }

  func leave(exclusively: Bool) {
    monitor.update { state in
      if exclusively { state.isExclusive = false } else { state.sharedCount -= 1 }
    }
  }
}
