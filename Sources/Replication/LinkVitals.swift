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

  /// Since when the peer is away: there is no session, or none yet that came to something.
  private var awaySince: UInt64?
  /// Nil while there is no session.
  private var sessionSince: UInt64?
  private var lastSuccess: UInt64
  /// The last few, oldest first.
  private var losses: [UInt64] = []

  public init(now: UInt64) {
    awaySince = now
    lastSuccess = now
  }

  /// A session has begun. That alone is no success: the peer must also acknowledge.
  public mutating func began(now: UInt64) {
    sessionSince = now
    // Who was told that the peer is away is told otherwise when it acknowledges.
    if let away = awaySince, now &- away < Self.awayNanoseconds { awaySince = nil }
  }

  /// The session has ended, or the attempt to begin one.
  public mutating func ended(now: UInt64) {
    guard let began = sessionSince else { return }
    sessionSince = nil
    if awaySince == nil || now &- began >= Self.stalledNanoseconds { awaySince = now }
    losses.append(now)
    if losses.count > Self.unstableLosses { losses.removeFirst() }
  }

  /// The peer has said that it has more than before, or all that there is, or that it is busy with
  /// a full copy.
  public mutating func succeeded(now: UInt64) {
    lastSuccess = now
    awaySince = nil
  }

  public func verdict(now: UInt64) -> Verdict {
    let isNew = sessionSince.map { now &- $0 < Self.stalledNanoseconds } ?? true
    if isNew, let awaySince, now &- awaySince >= Self.awayNanoseconds {
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
