import BlockModel
import TLS

/// The sites that are known by their keys, as a file has them: a line for each, with its name, its
/// fingerprint and when it was paired.
struct PeerTable: Equatable {
  struct Peer: Equatable {
    let site: String
    let key: KeyFingerprint
    let since: Timestamp
  }

  static let limit = 1024
  static let byteLimit = limit * 256
  private static let firstLine = "tapline-peers 1"

  /// In the order of their pairing; no two of one name or one key.
  private(set) var peers: [Peer] = []

  init() {}

  /// Nil: the text is none of this version.
  init?(parsing text: String) {
    let lines = text.split(separator: "\n").map(String.init)
    guard lines.first == Self.firstLine else { return nil }
    for line in lines.dropFirst() {
      let words = line.split(separator: " ")
      guard words.count == 3, EntityName.isValid(String(words[0])),
        let key = KeyFingerprint(parsing: words[1]),
        let since = Timestamp(rfc3339: String(words[2])),
        name(of: key) == nil, self.key(of: String(words[0])) == nil
      else { return nil }
      peers.append(Peer(site: String(words[0]), key: key, since: since))
    }
  }

  var text: String {
    ([Self.firstLine] + peers.map { "\($0.site) \($0.key) \($0.since)" })
      .map { $0 + "\n" }.joined()
  }

  func name(of key: KeyFingerprint) -> String? { peers.first { $0.key == key }?.site }
  func key(of site: String) -> KeyFingerprint? { peers.first { $0.site == site }?.key }

  /// Why they cannot be paired; nil: they can, or are.
  func obstacle(to site: String, _ key: KeyFingerprint) -> String? {
    if let known = self.key(of: site), known != key {
      return "\(site) is paired here already, with another key: `tapline unpair \(site)` first"
    }
    if let name = name(of: key), name != site {
      return "that key is \(name)'s here: two sites cannot share one"
    }
    return peers.count < Self.limit || self.key(of: site) != nil
      ? nil : "\(Self.limit) sites are paired here, which is the limit"
  }

  mutating func note(_ site: String, _ key: KeyFingerprint, now: Timestamp) {
    guard self.key(of: site) == nil else { return }
    peers.append(Peer(site: site, key: key, since: now))
  }

  mutating func remove(_ site: String) { peers.removeAll { $0.site == site } }
}
