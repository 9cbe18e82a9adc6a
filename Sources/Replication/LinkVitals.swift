/// When a link went well last. What people are told of it follows from that, and not from the
/// present state of a socket, which comes and goes.
///
/// Time comes in with each call: nanoseconds of the monotonic clock.
public struct LinkVitals: Equatable, Sendable {
  /// How a link is, for people. All of it lasts: it has no state that a reconnect would flip.
  public enum Verdict: Equatable, Sendable {
    case well
    /// There has been no session for so long.
    case away(nanoseconds: UInt64)
    /// There are sessions, but for so long the peer has acknowledged nothing of what it lacks, or
    /// has not answered at all.
    case stalled(nanoseconds: UInt64)
    /// So many sessions have broken within `unstableNanoseconds`.
    case unstable(losses: Int)
  }

  /// A peer that restarts, or a link that hiccups, is back before.
  public static let awayNanoseconds: UInt64 = 5_000_000_000
  /// A peer answers each second, and its syncs take a second at the worst that is usual.
  public static let stalledNanoseconds: UInt64 = 10_000_000_000
  public static let unstableNanoseconds: UInt64 = 60_000_000_000
  private static let unstableLosses = 5

  /// Since when there is no session; nil while there is one.
  private var awaySince: UInt64?
  private var lastSuccess: UInt64
  /// The last few, oldest first.
  private var losses: [UInt64] = []

  public init(now: UInt64) {
    awaySince = now
    lastSuccess = now
  }

  /// A session has begun. That alone is no success: the peer must also acknowledge.
  public mutating func began() { awaySince = nil }

  /// The session has ended, or the attempt to begin one.
  public mutating func ended(now: UInt64) {
    guard awaySince == nil else { return }
    awaySince = now
    losses.append(now)
    if losses.count > Self.unstableLosses { losses.removeFirst() }
  }

  /// The peer has said that it has more than before, or all that there is, or that it is busy with
  /// a full copy.
  public mutating func succeeded(now: UInt64) { lastSuccess = now }

  public func verdict(now: UInt64) -> Verdict {
    if let awaySince, now &- awaySince >= Self.awayNanoseconds {
      return .away(nanoseconds: now &- awaySince)
    }
    let age = now &- lastSuccess
    if age >= Self.stalledNanoseconds { return .stalled(nanoseconds: age) }
    if losses.count == Self.unstableLosses, now &- losses[0] < Self.unstableNanoseconds {
      return .unstable(losses: losses.count)
    }
    return .well
  }
}
