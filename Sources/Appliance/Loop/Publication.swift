import SystemIO

/// The newest snapshot of what one thread changes, for any other that reads it: neither waits for
/// the other's work, and a reader keeps what it has taken.
final class Publication<Snapshot: Sendable>: Sendable {
  /// Which snapshot it is, counted from 1.
  typealias Edition = UInt64

  private let state = Monitor<(edition: Edition, latest: Snapshot?)>((0, nil))

  /// By the thread whose snapshot it is.
  func publish(_ snapshot: Snapshot) {
    state.update { state in
      state.edition += 1
      state.latest = snapshot
    }
  }

  var edition: Edition { state.withLock { $0.edition } }
  /// Nil before the first.
  var latest: Snapshot? { state.withLock { $0.latest } }

  /// The first that is newer, or a later one; nil when none comes in time. Blocks.
  func next(after edition: Edition, milliseconds: UInt64) -> Snapshot? {
    state.wait(milliseconds: milliseconds) { state, _ in
      state.edition > edition ? state.latest : nil
    }
  }
}
