import Synchronization
import SystemIO

/// How long the connections of one store wait for their server. Any thread.
final class NBDPatience: Sendable {
  /// What a connection waits for.
  enum Wait {
    case connection, request, flush, goodbye
  }

  private let limits: UpstreamLimits
  /// Monotonic nanoseconds; 0: nobody is in a hurry.
  private let hurriedAt = Atomic<UInt64>(0)
  private let sparesFlushes = Atomic<Bool>(false)
  private let over = Atomic<Bool>(false)

  init(_ limits: UpstreamLimits) { self.limits = limits }

  /// See `NBDStore.hurry`. Once one has waited in vain, no other waits.
  func hurry(sparingFlushes: Bool) {
    sparesFlushes.store(sparingFlushes, ordering: .releasing)
    hurriedAt.store(SystemClock.monotonicNanoseconds(), ordering: .releasing)
  }

  /// Nothing is waited for any more: the server has not answered, and there is no time.
  var isOver: Bool { over.load(ordering: .acquiring) }

  /// Whether to go on waiting for what began at `start` (monotonic nanoseconds); and, if so, so
  /// many milliseconds, after which to ask again.
  func milliseconds(for wait: Wait, since start: UInt64) -> Int32? {
    if isOver { return nil }
    let now = SystemClock.monotonicNanoseconds()
    let hurried = hurriedAt.load(ordering: .acquiring)
    var end = start + seconds(wait) * 1_000_000_000
    if hurried > 0, isHurried(wait) {
      end = min(end, max(start, hurried) + limits.hurriedTimeoutSeconds * 1_000_000_000)
    }
    if now < end {
      return Int32(clamping: min((end - now) / 1_000_000 + 1, Self.longestWaitMilliseconds))
    }
    // A slow goodbye says nothing of the server's answers.
    if hurried > 0, wait != .goodbye { over.store(true, ordering: .releasing) }
    return nil
  }

  private func seconds(_ wait: Wait) -> UInt64 {
    switch wait {
    case .connection: limits.connectTimeoutSeconds
    case .request, .flush: limits.requestTimeoutSeconds
    case .goodbye: 1
    }
  }

  private func isHurried(_ wait: Wait) -> Bool {
    switch wait {
    case .connection, .request: true
    case .flush: !sparesFlushes.load(ordering: .acquiring)
    case .goodbye: false
    }
  }

  /// Who is waiting learns so late that there is a hurry.
  private static let longestWaitMilliseconds: UInt64 = 500
}
