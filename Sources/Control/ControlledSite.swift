import Appliance
import Handover

/// What the control listener needs of a site. Every call may block for a short, bounded time; none
/// is made on a thread that serves I/O.
public protocol ControlledSite: Sendable {
  func status() -> SiteStatus
  /// Throws when there is no such group, or the query is wrong.
  func timeline(group: String, _ query: TimelineQuery) throws -> TimelineStatus
  /// Durable when it returns.
  func checkpoint(group: String, tag: String) throws -> TimelineStatus.Checkpoint
  /// Reads the configuration again; a `ConfigurationError` when it is wrong. May take as long as
  /// the backing stores take to grow.
  func reload() throws -> ReloadStatus
  /// Gives up what a diverged peer has more. May take some seconds.
  func discardFollower(group: String, peer: String?) throws -> SyncStatus
  /// Durable when it returns. May take some seconds.
  func startTest(group: String, _ request: TestRequest) throws -> TestStatus
  /// Durable when it returns. May take some seconds.
  func stopTest(_ name: String, check: TestCheck?, parked: Bool) throws -> TestReportStatus
  func tests() -> [TestStatus]
  /// Durable when it returns, and the disks are served. May take some seconds.
  func failover(group: String, _ request: FailoverRequest) throws -> FailoverStatus
  /// Durable when it returns.
  func commit(group: String) throws -> FailoverStatus
  /// Durable when it returns. May take some seconds.
  func move(group: String, to site: String?, isDryRun: Bool) throws -> MoveStatus
  func rollback(group: String, isDryRun: Bool, discards: Bool) throws -> FailoverStatus
  /// Lets another site introduce itself, for some minutes.
  func offerPairing() throws -> PairingOfferStatus
  /// Introduces this site to another one. Durable at both when it returns; may take some seconds.
  func pair(with code: String, at address: String) throws -> PeerStatus
  func peers() -> PeersStatus
  /// Durable when it returns, and the peer's connections are ended.
  func unpair(_ site: String) throws
  /// What a process is offered that wants to take this one's place, in this version of messages.
  func handoverOffer(version: UInt16) -> HandoverOffer
  /// See `Site.handOver`: when it returns true, this process must end.
  func handOver(over channel: HandoverChannel, control: ListeningSocket?) -> Bool
}

extension Site: ControlledSite {}
