import Synchronization

/// Wakes those who follow the journal when it grows, at no cost while they are busy.
///
/// A follower that has caught up arms the signal and waits; the loop's `notify` is one atomic load
/// for each batch, however many followers there are, and a call for each that waits.
public final class AppendSignal: Sendable {
  public static let followerLimit = 64

  /// A function alone in generic memory would be wrapped, at the price of an allocation.
  private struct Waker { let wake: @Sendable () -> Void }

  /// A bit for each follower that waits.
  private let sleepers = Atomic<UInt64>(0)
  private let wakers: Mutex<[Waker?]>

  /// For followers 0 to `count - 1`, at most `followerLimit`.
  init(count: Int = 0) {
    precondition(count <= Self.followerLimit)
    wakers = Mutex(Array(repeating: nil, count: count))
  }

  /// After a commit; by the loop.
  @inline(__always)
  public func notify() {
    if sleepers.load(ordering: .relaxed) != 0 { wakeSleepers() }
  }

  private func wakeSleepers() {
    var rest = sleepers.exchange(0, ordering: .acquiringAndReleasing)
    let wakers = self.wakers.withLock { $0 }
    while rest != 0 {
      wakers[rest.trailingZeroBitCount]?.wake()
      rest &= rest - 1
    }
  }

  /// What wakes the follower: called by whoever makes the journal grow, so it must not block.
  func setWaker(_ follower: Int, _ wake: (@Sendable () -> Void)?) {
    wakers.withLock { $0[follower] = wake.map { Waker(wake: $0) } }
  }

  func arm(_ follower: Int) {
    sleepers.bitwiseOr(1 << UInt64(follower), ordering: .sequentiallyConsistent)
  }
}
