import Appliance

/// What the control listener needs of a site. Every call may block for a short, bounded time; none
/// is made on a thread that serves I/O.
public protocol ControlledSite: Sendable {
  func status() -> SiteStatus
  /// Throws when there is no such group.
  func timeline(group: String) throws -> TimelineStatus
  /// Durable when it returns.
  func checkpoint(group: String, tag: String) throws -> TimelineStatus.Checkpoint
  /// Reads the configuration again; a `ConfigurationError` when it is wrong. May take as long as
  /// the backing stores take to grow.
  func reload() throws -> ReloadStatus
}

extension Site: ControlledSite {}
