/// What `tapline status` shows: a snapshot of a site. Encoded as JSON with these keys.
///
/// Sequence numbers count records of a group from 1. Instants are RFC 3339 in UTC. A member that
/// is added is optional, here and in the values below: sites that run already do not have it.
public struct SiteStatus: Codable, Sendable {
  public var site: String
  public var version: String
  public var now: String
  public var listeners: [ListenerStatus]?
  public var groups: [GroupStatus]
}

/// Where clients and peers connect. Who asks is at the control listener already.
public struct ListenerStatus: Codable, Sendable {
  /// `nbd` or `link`.
  public var kind: String
  /// With the port that the system chose where the configuration has 0.
  public var address: String
  /// `required`, `optional` or `off`; absent for a link.
  public var tls: String?
}
