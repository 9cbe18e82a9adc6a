/// What `tapline pair` answers at the site that is to be introduced to.
public struct PairingOfferStatus: Codable, Equatable, Sendable {
  public let site: String
  public let code: String
  /// RFC 3339.
  public let until: String
  /// Where the other site is to connect; nil: this one has no link listener.
  public let listener: String?
}

/// A site that this one knows by its key.
public struct PeerStatus: Codable, Equatable, Sendable {
  public let site: String
  /// 64 hexadecimal digits: see `KeyFingerprint`.
  public let key: String
  /// RFC 3339.
  public let since: String

  init(_ peer: PeerTable.Peer) {
    site = peer.site
    key = "\(peer.key)"
    since = "\(peer.since)"
  }
}

public struct PeersStatus: Codable, Equatable, Sendable {
  public let site: String
  /// This site's own key; nil: it has none yet.
  public let key: String?
  public let peers: [PeerStatus]
}
