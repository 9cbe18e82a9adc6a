import Appliance

/// `tapline pair` and `tapline peers` for people.
public enum PairingText {
  /// Ends in a newline.
  public static func render(_ offer: PairingOfferStatus) -> String {
    let address = offer.listener ?? "tcp:ADDRESS:PORT"
    return """
      \(offer.site) takes one new peer until \(offer.until). At the other site, with the \
      address at which it reaches this one:

        tapline pair \(offer.code) \(address)

      """
  }

  /// Ends in a newline.
  public static func render(_ peer: PeerStatus) -> String {
    "paired with \(peer.site), whose key is \(peer.key)\n"
  }

  /// Ends in a newline.
  public static func render(_ status: PeersStatus) -> String {
    let own = status.key.map { "key \($0)" } ?? "no key yet"
    guard !status.peers.isEmpty else { return "\(status.site): \(own); no peers\n" }
    var table = TextTable([("PEER", .left), ("SINCE", .left), ("KEY", .left)])
    for peer in status.peers { table.add([peer.site, peer.since, peer.key]) }
    return (["\(status.site): \(own)"] + table.lines()).joined(separator: "\n") + "\n"
  }
}
