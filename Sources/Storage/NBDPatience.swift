import Synchronization
import SystemIO

/// How long the connections of one store wait for their server. Any thread.
final class NBDPatience: Sendable {
  private let limits: NBDLimits
  /// Monotonic nanoseconds; 0: nobody is in a hurry.
  private let hurriedAt = Atomic<UInt64>(0)
  private let over = Atomic<Bool>(false)

  init(_ limits: NBDLimits) { self.limits = limits }

  /// From now on a request waits for `hurriedTimeoutSeconds` at most, and those under way for as
  /// long from now. Once one has waited in vain, no other waits.
  func hurry() {
    hurriedAt.store(SystemClock.monotonicNanoseconds(), ordering: .releasing)
  }

  /// Nothing is waited for any more: the server has not answered, and there is no time.
  var isOver: Bool { over.load(ordering: .acquiring) }

  /// Whether to go on waiting for what began at `start` and takes `seconds` at most; and, if so, so
  /// many milliseconds, after which to ask again.
  func milliseconds(since start: UInt64, limitSeconds seconds: UInt64) -> Int32? {
    if isOver { return nil }
    let now = SystemClock.monotonicNanoseconds()
    let hurried = hurriedAt.load(ordering: .acquiring)
    var end = start + seconds * 1_000_000_000
    if hurried > 0 {
      end = min(end, max(start, hurried) + limits.hurriedTimeoutSeconds * 1_000_000_000)
    }
    if now < end {
      return Int32(clamping: min((end - now) / 1_000_000 + 1, Self.longestWaitMilliseconds))
    }
    if hurried > 0 { over.store(true, ordering: .releasing) }
    return nil
  }

  /// Who is waiting learns so late that there is a hurry.
  private static let longestWaitMilliseconds: UInt64 = 500
}
