import BlockModel
import SystemIO

/// How a site and its peers protect what goes between them. What goes over a unix socket stays on
/// the machine and is always in the clear.
public struct LinkConfiguration: Equatable, Sendable {
  public enum Mode: String, CaseIterable, Sendable {
    /// Both ends prove their keys, by TLS 1.3.
    case required
    case off
  }

  public var tls: Mode
  /// In the clear also over a network.
  public var isInsecure: Bool

  public init(tls: Mode = .required, isInsecure: Bool = false) {
    self.tls = tls
    self.isInsecure = isInsecure
  }

  public func isEncrypted(_ address: SocketAddress) -> Bool {
    if case .unix = address { return false }
    return tls == .required
  }

  /// Whoever is on the way reads all that is written, and can say that he is the peer.
  public func isExposed(_ address: SocketAddress) -> Bool {
    !isEncrypted(address) && !address.isOnThisMachine
  }
}

extension SocketAddress {
  /// Nothing that goes there leaves the machine.
  var isOnThisMachine: Bool {
    guard case .tcp(let host, _) = self else { return true }
    let isIPv4 = !host.contains(":") && !isName
    return host == "localhost" || host == "::1" || isIPv4 && host.hasPrefix("127.")
  }
}

extension ConfigurationField {
  func links() throws(ConfigurationError) -> LinkConfiguration {
    let mapping = try ConfigurationMapping(
      self, subject: "links", keys: LinkConfiguration.keyNames)
    var links = LinkConfiguration()
    if let tls = mapping["tls"] { links.tls = try tls.choice() }
    if let insecure = mapping["insecure"] {
      links.isInsecure = try insecure.boolean()
      if links.isInsecure, links.tls != .off {
        throw insecure.failure("'insecure: true' goes with 'tls: off'")
      }
    }
    return links
  }

  /// Throws where a link to or from this address would be readable by others, and nobody has said
  /// that it may be.
  func check(_ address: SocketAddress, _ links: LinkConfiguration) throws(ConfigurationError) {
    guard links.isExposed(address), !links.isInsecure else { return }
    throw failure(
      "with 'tls: off' everything that is written to the disks could be read and changed on the "
        + "way to \(address): remove 'tls: off' and pair the sites (`tapline pair`), or, on a "
        + "network that nobody else can reach, add 'insecure: true' to 'links'")
  }
}
