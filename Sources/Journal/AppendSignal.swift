import Synchronization
import SystemIO

/// Wakes those who follow the journal (the link) when it grows, at no cost while they are busy.
///
/// A follower that has caught up arms the signal and waits; the loop's `notify` is then one atomic
/// load per batch, and a system call only when somebody waits.
public final class AppendSignal: Sendable {
  private let armed = Atomic<Bool>(false)
  private let wakeup: Wakeup

  public init() throws(Errno) { wakeup = try Wakeup() }

  /// After a commit; by the loop.
  @inline(__always)
  public func notify() {
    if armed.load(ordering: .relaxed) { disarm() }
  }

  private func disarm() {
    if armed.exchange(false, ordering: .acquiringAndReleasing) { wakeup.signal() }
  }

  /// Wakes the follower for another reason (stop, new peer).
  public func wake() { wakeup.signal() }

  /// Blocks the follower until `notify`, `wake` or the timeout. The follower looks once more at
  /// the journal after `arm` and before `wait`, so that no growth is missed for longer than the
  /// timeout.
  public func arm() { armed.store(true, ordering: .sequentiallyConsistent) }
  public func wait(timeoutMilliseconds: Int32) {
    wakeup.wait(timeoutMilliseconds: timeoutMilliseconds)
    armed.store(false, ordering: .releasing)
  }

  /// As `wait`, but also returns when `socket` has something to receive.
  public func wait(orReadable socket: Socket, timeoutMilliseconds: Int32) {
    wakeup.wait(orReadable: socket, timeoutMilliseconds: timeoutMilliseconds)
    armed.store(false, ordering: .releasing)
  }
}
