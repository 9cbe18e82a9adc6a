import Synchronization
import SystemIO

/// Wakes those who follow the journal when it grows, at no cost while they are busy.
///
/// A follower that has caught up arms the signal and waits; the loop's `notify` is one atomic load
/// for each batch, however many followers there are, and a system call for each that waits.
public final class AppendSignal: Sendable {
  public static let followerLimit = 64

  /// A bit for each follower that waits.
  private let sleepers = Atomic<UInt64>(0)
  private let wakeups: [Wakeup]

  /// For followers 0 to `count - 1`, at most `followerLimit`.
  init(count: Int) throws(Errno) {
    precondition(count <= Self.followerLimit)
    var wakeups: [Wakeup] = []
    for _ in 0..<count { wakeups.append(try Wakeup()) }
    self.wakeups = wakeups
  }

  /// For nobody.
  init() { wakeups = [] }

  /// After a commit; by the loop.
  @inline(__always)
  public func notify() {
    if sleepers.load(ordering: .relaxed) != 0 { wakeSleepers() }
  }

  private func wakeSleepers() {
    var rest = sleepers.exchange(0, ordering: .acquiringAndReleasing)
    while rest != 0 {
      wakeups[rest.trailingZeroBitCount].signal()
      rest &= rest - 1
    }
  }

  func wake(_ follower: Int) { wakeups[follower].signal() }

  func arm(_ follower: Int) {
    sleepers.bitwiseOr(1 << UInt64(follower), ordering: .sequentiallyConsistent)
  }

  func wait(_ follower: Int, timeoutMilliseconds: Int32) {
    wakeups[follower].wait(timeoutMilliseconds: timeoutMilliseconds)
    disarm(follower)
  }

  func wait(_ follower: Int, orReadable socket: Socket, timeoutMilliseconds: Int32) {
    wakeups[follower].wait(orReadable: socket, timeoutMilliseconds: timeoutMilliseconds)
    disarm(follower)
  }

  private func disarm(_ follower: Int) {
    sleepers.bitwiseAnd(~(1 << UInt64(follower)), ordering: .releasing)
  }
}
