import BlockModel
import Configuration
import Journal
import Replication
import Storage
import SystemIO

/// What came, or would come, of moving a group. Encoded as JSON with these keys.
public struct MoveStatus: Codable, Equatable, Sendable {
  public var group: String
  /// `planned` of a dry run, `moved`.
  public var state: String
  public var to: String
  /// Records that the other site lacked when the move was asked for, and their bytes.
  public var lagRecords: UInt64
  public var lagBytes: UInt64
  /// For so long clients waited.
  public var pauseSeconds: Double

  enum CodingKeys: String, CodingKey {
    case group, state, to
    case lagRecords = "lag_records"
    case lagBytes = "lag_bytes"
    case pauseSeconds = "pause_seconds"
  }
}

/// `tapline move`: at the owner, a group goes to a follower that is in step. Nothing is lost.
extension Site {
  private static let catchUpMilliseconds: UInt64 = 10_000
  /// A client that does not come to rest in this time keeps the group here.
  private static let restMilliseconds: UInt64 = 3_000
  private static let drainMilliseconds: UInt64 = 5_000
  private static let takeOverMilliseconds: UInt64 = 60_000
  private static let lookMilliseconds: UInt64 = 2

  /// When it returns, the other site serves the group's disks, and this one follows. Blocks; any
  /// thread but a loop's. What it throws says whether the group is where it was; a crash, of either
  /// site, leaves it at one of the two.
  ///
  /// - Parameter site: nil: the only one that follows.
  public func move(
    group name: String, to site: String?, isDryRun: Bool
  ) throws(SiteError) -> MoveStatus {
    try turn.take { () throws(SiteError) in
      try refuseInHandover()
      let group = try find(name)
      let link = try link(of: group, to: site)
      try checkMayMove(group, link.monitor)
      var status = lag(of: group, link.monitor)
      if isDryRun { return status }
      try catchUp(group, link)
      let start = SystemClock.monotonicNanoseconds()
      try handOver(group, link)
      status.pauseSeconds = Double(SystemClock.monotonicNanoseconds() - start) / 1e9
      status.state = "moved"
      log("group \(name): it was moved to \(status.to), clients waited \(status.pauseSeconds) s")
      return status
    }
  }

  private func link(
    of group: Group, to site: String?
  ) throws(SiteError) -> LinkSender<DiskStore> {
    let name = group.configuration.name
    guard group.duty == .owning, let host = hosts.first(where: { $0.name == name }) else {
      throw SiteError(
        "group \(name) is not owned by this site: a move is ordered at the site that owns it"
          + (group.configuration.peer.map { ", \($0.site)" } ?? ""), .isFollower)
    }
    let links = host.links
    let found = links.filter { site == nil || $0.monitor.peerSite == site }
    if found.count == 1 { return found[0] }
    let known = links.map(\.monitor.peerSite).joined(separator: ", ")
    throw SiteError(
      site.map { "group \(name) has no follower \($0.quotedForMessage)" }
        ?? "group \(name) has several followers: name one with --to"
        + (known.isEmpty ? "" : "; it has: \(known)"), .noSuchFollower)
  }

  private func checkMayMove(_ group: Group, _ link: LinkMonitor) throws(SiteError) {
    let name = group.configuration.name
    guard let state = group.stateKeeper?.state else { return }
    if state.fork != nil {
      throw SiteError(
        "group \(name) was failed over to this site, and that is not decided: `tapline commit "
          + "\(name)` or `tapline rollback \(name)` first", .failoverPending)
    }
    let peer = link.snapshot
    guard peer.state == .connected, peer.isRecoverable, !link.follower.isGivenUp else {
      throw SiteError(
        "group \(name) cannot be moved to \(link.peerSite) now: the link is \(peer.state.rawValue)"
          + (peer.detail.isEmpty ? "" : " (\(peer.detail))")
          + (peer.isRecoverable ? "" : ", and nothing can be recovered there yet")
          + "; `tapline status` shows when it is in step", .notConnected)
    }
    let obstacle: String?? = ask(group.loop) { done in
      done(group.fenceText ?? group.contentsText?.text)
    }
    guard let obstacle else { throw SiteError("group \(name) does not answer", .busy) }
    if let obstacle { throw SiteError("group \(name) cannot be moved now: \(obstacle)", .busy) }
  }

  private func lag(of group: Group, _ link: LinkMonitor) -> MoveStatus {
    let (appended, durable) = (
      group.journal?.watermarks.sequence(.appended) ?? .none, link.follower.durable
    )
    let bytes = ask(group.loop) { done in done(group.journal?.byteCount(after: durable) ?? 0) }
    return MoveStatus(
      group: group.configuration.name, state: "planned", to: link.peerSite,
      lagRecords: appended.rawValue - min(appended, durable).rawValue,
      lagBytes: appended > durable ? bytes ?? 0 : 0, pauseSeconds: 0)
  }

  /// While clients go on: what is left then is what they write meanwhile.
  private func catchUp(_ group: Group, _ link: LinkSender<DiskStore>) throws(SiteError) {
    guard let marks = group.journal?.watermarks else { return }
    let wanted = marks.sequence(.appended)
    if waitUntil(Self.catchUpMilliseconds, { link.monitor.follower.durable >= wanted }, link) {
      return
    }
    let left = lag(of: group, link.monitor)
    throw SiteError(
      "group \(group.configuration.name) stays here: \(left.to) lacks \(left.lagRecords) records, "
        + "\(ByteCount.format(left.lagBytes)), and did not come to have them in "
        + "\(Self.catchUpMilliseconds / 1000) s; try again when it is nearly in step", .notInStep)
  }

  private func handOver(_ group: Group, _ link: LinkSender<DiskStore>) throws(SiteError) {
    let (name, site) = (group.configuration.name, link.monitor.peerSite)
    // Should this connection end, the next one lets clients go on.
    let peer = link.monitor.snapshot
    guard peer.state == .connected else {
      throw SiteError(
        "group \(name) stays here: the link to \(site) is \(peer.state.rawValue)", .notInStep)
    }
    group.loop.perform { group.pauseForMove() }
    do throws(SiteError) {
      guard
        waitUntil(
          Self.restMilliseconds,
          { self.ask(group.loop) { done in done(group.restsForMove) } ?? false }, link)
      else {
        throw SiteError(
          "group \(name) stays here: what clients have under way did not come to rest", .busy)
      }
      let answer: String?? = ask(group.loop) { done in group.fenceForMove(to: site) { done($0) } }
      if let failure = answer ?? "it does not answer" {
        throw SiteError("group \(name) stays here: \(failure)", .busy)
      }
      guard let last = group.journal?.watermarks.sequence(.appended),
        waitUntil(Self.drainMilliseconds, { link.monitor.follower.durable >= last }, link)
      else {
        throw SiteError(
          "group \(name) stays here: \(site) did not make its last records durable", .notInStep)
      }
      guard link.handOver(through: last, unlessReconnectedSince: peer.reconnectCount) else {
        throw SiteError(
          "group \(name) stays here: the link to \(site) was interrupted", .notInStep)
      }
    } catch {
      group.loop.perform { group.giveUpMove() }
      throw error
    }
    let isDecided = waitUntil(Self.takeOverMilliseconds, { self.isMoved(name) != nil }, link)
    if isDecided, isMoved(name) == true { return }
    let detail = link.monitor.snapshot.detail
    let reason = detail.isEmpty ? "" : ": \(detail)"
    if isDecided {
      throw SiteError("group \(name) stays here: \(site) did not take it over\(reason)", .notTaken)
    }
    throw SiteError(
      "group \(name): \(site) was asked to take it over and has not been met again since"
        + "\(reason). Writes wait here until it is: then it is clear which of the two owns it",
      .inDoubt)
  }

  /// Nil: not known yet.
  private func isMoved(_ name: String) -> Bool? {
    guard let group = try? find(name) else { return nil }
    if group.duty == .following { return true }
    let isStill = ask(group.loop) { done in done(group.move.isUnderWay || group.fence != nil) }
    return isStill ?? true ? nil : false
  }

  /// Looks again and again, and hurries the link.
  private func waitUntil(
    _ milliseconds: UInt64, _ isSo: () -> Bool, _ link: LinkSender<DiskStore>
  ) -> Bool {
    let deadline = SystemClock.monotonicNanoseconds() + milliseconds * 1_000_000
    while !isSo() {
      if SystemClock.monotonicNanoseconds() >= deadline { return false }
      link.monitor.hurry()
      Thread.sleep(milliseconds: Self.lookMilliseconds)
    }
    return true
  }
}
