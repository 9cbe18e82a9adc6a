import BlockModel
import Configuration
import SystemIO
import TLS

// Which sites this one knows.
extension Site {
  /// Lets another site introduce itself, for some minutes.
  public func offerPairing() throws(SiteError) -> PairingOfferStatus {
    try requireStay()
    guard door.trust != nil else {
      throw SiteError(
        "no site can introduce itself here: this one has no link listener that is encrypted "
          + "(`listen.link` with a TCP address, and no `tls: off`). Run `tapline pair` without a "
          + "code at the other site, and bring its code here")
    }
    let code = try trust.offer()
    let end = SystemClock.realtimeNanoseconds() + PairingOffer.nanoseconds
    return PairingOfferStatus(
      site: configuration.site, code: "\(code)", until: "\(Timestamp(nanoseconds: end))",
      listener: configuration.listen.link?.description)
  }

  /// Introduces this site to the one that has given the code. Durable at both when it returns.
  /// Blocks, for some seconds at most.
  public func pair(
    with code: String, at address: String
  ) throws(SiteError) -> PeerStatus {
    try requireStay()
    guard let code = PairingCode(parsing: code) else {
      throw SiteError("that is no code of `tapline pair`: it has 42 letters and digits")
    }
    let target: SocketAddress
    do throws(AddressSyntaxError) { target = try SocketAddress(parsing: address) } catch {
      throw SiteError("\(error)")
    }
    let peer = PeerStatus(try PairingCall.pair(trust, with: code, at: target))
    log("\(peer.site) is paired with this site, by its key \(peer.key)")
    // Those that wait to be connected again need not.
    for link in hosts.flatMap(\.links) where link.monitor.peerSite == peer.site {
      link.monitor.greetAnew()
    }
    return peer
  }

  /// The next process has read the keys by now.
  private func requireStay() throws(SiteError) {
    guard !isHandingOver.load(ordering: .acquiring) else {
      throw SiteError("another process is taking this site's place: try again in a moment")
    }
  }

  public func peers() -> PeersStatus {
    PeersStatus(
      site: configuration.site, key: trust.fingerprint?.description,
      peers: trust.peers.map(PeerStatus.init))
  }

  /// Durable when it returns, and the peer's connections are ended.
  public func unpair(_ site: String) throws(SiteError) {
    try requireStay()
    try trust.unpair(site)
    log("\(site) is not paired with this site any more")
    for link in hosts.flatMap(\.links) where link.monitor.peerSite == site {
      link.monitor.greetAnew()
    }
    guard door.trust != nil else { return }
    for group in groups {
      group.loop.post { if group.receiving.peerSite == site { group.closeReceiver() } }
    }
  }
}
