import Configuration
import SystemIO

/// Which links of a site are encrypted, and with what. Any thread.
struct LinkSecurity: Sendable {
  let trust: SiteTrust
  let links: LinkConfiguration
  /// Where peers connect.
  let listener: SocketAddress?

  init(_ configuration: SiteConfiguration) throws(SiteError) {
    trust = try SiteTrust(configuration)
    links = configuration.links
    listener = configuration.listen.link
  }

  /// Nil: what goes there is in the clear.
  func trust(for address: SocketAddress) -> SiteTrust? {
    links.isEncrypted(address) ? trust : nil
  }

  /// What others could read of the group, in words; nil: nothing.
  func exposure(of group: GroupConfiguration, isOwner: Bool) -> String? {
    if isOwner {
      let sites = group.peers.filter { $0.address.map(links.isExposed) ?? false }.map(\.site)
      return sites.isEmpty
        ? nil : "what is written goes to \(sites.joined(separator: " and ")) unencrypted"
    }
    guard let listener, links.isExposed(listener) else { return nil }
    return "what arrives at \(listener) is unencrypted, and anybody there may say that he sends it"
  }
}
