import BlockModel
import Replication
import SystemIO

/// What came of `tapline sync --discard-follower`.
public struct SyncStatus: Codable, Equatable, Sendable {
  public var group: String
  public var peer: String
  /// The peer's last record when the sites were found to have diverged.
  public var discardedThrough: UInt64
  /// Both sites agree again, or a full copy is under way. False: as soon as the link connects.
  public var isDone: Bool

  enum CodingKeys: String, CodingKey {
    case group, peer
    case discardedThrough = "discarded_through"
    case isDone = "done"
  }

  public init(group: String, peer: String, discardedThrough: UInt64, isDone: Bool) {
    self.group = group
    self.peer = peer
    self.discardedThrough = discardedThrough
    self.isDone = isDone
  }
}

extension Site {
  private static let discardMilliseconds = 10_000

  /// The operator's decision, where the sites have diverged, that this site's records stay and what
  /// its peer has more is given up. Holds for what the peer was last seen to have, and is forgotten
  /// at a restart. Waits some seconds until it is carried out.
  ///
  /// - Parameter peer: the follower's site; it may be nil where there is one.
  public func discardFollower(
    group name: String, peer: String? = nil
  ) throws(SiteError) -> SyncStatus {
    let link = try follower(of: name, peer)
    guard let seen = link.snapshot.divergence?.seen, link.discardFollower() else {
      throw SiteError(
        "group \(name) has not diverged from \(link.peerSite): there is nothing to give up")
    }
    let deadline =
      SystemClock.monotonicNanoseconds() + UInt64(Self.discardMilliseconds) * 1_000_000
    let isDone = link.wait(until: deadline) { $0.divergence == nil }
    return SyncStatus(
      group: name, peer: link.peerSite, discardedThrough: seen.sequence.rawValue, isDone: isDone)
  }

  /// With several, it is not guessed which is meant: what it has is given up.
  private func follower(
    of name: String, _ peer: String?
  ) throws(SiteError) -> LinkMonitor {
    let links = try find(name).links
    guard let first = links.first else {
      throw SiteError(
        "group \(name) has no follower at this site; decide at the site where it is protected")
    }
    let sites = links.map(\.peerSite).joined(separator: ", ")
    if let peer {
      if let link = links.first(where: { $0.peerSite == peer }) { return link }
      throw SiteError("group \(name) has no peer '\(peer)'; it has \(sites)")
    }
    guard links.count == 1 else {
      throw SiteError("group \(name) has several peers: name one with --peer (\(sites))")
    }
    return first
  }
}
