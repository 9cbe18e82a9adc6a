import BlockModel

/// A key that a mapping of the configuration may have. The tables below are the one place that
/// knows them all: what the reader takes, what a reload compares and takes over, and what
/// `docs/configure.md` lists follow from them (a test compares the page).
struct ConfigurationKey<Section>: Sendable {
  let name: String
  /// The value, for people; nil when it is not given. The closure is nil where the value is a
  /// mapping or a list with keys of its own.
  let text: (@Sendable (Section) -> String?)?
  /// A difference is told without the values.
  var hidesValues = false
  /// Takes the value into use while the site runs; nil: that needs a restart.
  var takeOver: (@Sendable (inout Section, Section) -> Void)?

  init(
    _ name: String, hidesValues: Bool = false, _ text: (@Sendable (Section) -> String?)? = nil,
    takeOver: (@Sendable (inout Section, Section) -> Void)? = nil
  ) {
    self.name = name
    self.text = text
    self.hidesValues = hidesValues
    self.takeOver = takeOver
  }
}

/// A part of the configuration whose keys are in a table.
protocol ConfigurationSection {
  static var keys: [ConfigurationKey<Self>] { get }
}

extension ConfigurationSection {
  static var keyNames: [String] { keys.map(\.name) }

  mutating func takeOver(from new: Self, only name: String? = nil) {
    for key in Self.keys where name == nil || key.name == name { key.takeOver?(&self, new) }
  }
}

extension SiteConfiguration: ConfigurationSection {
  static let keys: [ConfigurationKey<Self>] = [
    .init("site") { $0.site },
    .init("data") { $0.dataDirectory },
    .init("listen"), .init("links"), .init("limits"), .init("groups"),
  ]
}

extension ListenConfiguration: ConfigurationSection {
  static let keys: [ConfigurationKey<Self>] = [
    .init("nbd") { $0.nbd.map(\.address.description).joined(separator: ", ") },
    .init("link") { $0.link?.description },
    .init("control") { $0.control?.description },
  ]
}

extension LinkConfiguration: ConfigurationSection {
  static let keys: [ConfigurationKey<Self>] = [
    .init("tls") { $0.tls.rawValue },
    .init("insecure") { "\($0.isInsecure)" },
  ]
}

extension NBDListenerConfiguration: ConfigurationSection {
  /// With TLS before and after, its terms are taken over; they are one value.
  static let keys: [ConfigurationKey<Self>] = [
    .init("address"),
    .init("tls", { text($0.tls) }, takeOver: takeOverTLS),
    .init("certificates", takeOver: takeOverTLS),
    .init("verify_clients", takeOver: takeOverTLS),
    .init("keys", takeOver: takeOverTLS),
  ]

  @Sendable private static func takeOverTLS(_ listener: inout Self, _ new: Self) {
    if listener.tls != nil, new.tls != nil { listener.tls = new.tls }
  }

  private static func text(_ tls: TLSConfiguration?) -> String {
    guard let tls else { return "off" }
    let mode = tls.isRequired ? "required" : "optional"
    switch tls.credentials {
    case .certificates(let folder, let verifies):
      return "\(mode), certificates \(folder)\(verifies ? "" : ", clients not verified")"
    case .preSharedKeys(let file): return "\(mode), keys \(file)"
    }
  }
}

extension ClientLimits: ConfigurationSection {
  static let keys: [ConfigurationKey<Self>] = [
    .init("connections") { "\($0.connections)" },
    .init("connections_per_disk") { "\($0.connectionsPerDisk)" },
    .init("requests") { "\($0.requests)" },
    .init("bytes") { ByteCount.format(UInt64($0.bytes)) },
    .init("handshake") { TimeSpan.format($0.handshakeNanoseconds) },
  ]
}

extension GroupConfiguration: ConfigurationSection {
  static let keys: [ConfigurationKey<Self>] = [
    .init("name"),
    .init("role") { $0.role.rawValue },
    .init("peer"),
    .init("peers") { $0.peers.count < 2 ? nil : $0.peers.map(\.site).joined(separator: ", ") },
    .init("mode") { $0.mode.rawValue },
    .init("history") { TimeSpan.format($0.historyNanoseconds) },
    .init("apply_every") { TimeSpan.format($0.applyEveryNanoseconds) },
    .init("checkpoint_every") { TimeSpan.format($0.checkpointEveryNanoseconds) },
    .init("journal"),
    .init("disks") { $0.disks.map(\.name).sorted().joined(separator: ", ") },
  ]
}

extension PeerConfiguration: ConfigurationSection {
  static let keys: [ConfigurationKey<Self>] = [
    .init("site") { $0.site },
    .init("address") { $0.address?.description },
    .init("on_full") { $0.onFull?.rawValue },
  ]
}

extension JournalConfiguration: ConfigurationSection {
  static let keys: [ConfigurationKey<Self>] = [
    .init("capacity") { ByteCount.format($0.capacityBytes) },
    .init("segment_size") { ByteCount.format($0.segmentSizeBytes) },
    .init("view_scratch") { $0.viewScratchBytes.map(ByteCount.format) },
    .init("on_full") { $0.onFull.rawValue },
  ]
}

extension DiskConfiguration: ConfigurationSection {
  static let keys: [ConfigurationKey<Self>] = [
    .init("name"),
    .init(
      "size", { $0.sizeBytes.map(ByteCount.format) }, takeOver: { $0.sizeBytes = $1.sizeBytes }),
    .init("backing") { $0.backing.description },
    .init(
      "access", hidesValues: true, { "\($0.accessRules)" },
      takeOver: { $0.accessRules = $1.accessRules }),
  ]
}

extension AccessRule: ConfigurationSection {
  /// All of a disk's rules are one value, which `access` compares.
  static let keys: [ConfigurationKey<Self>] = ["client", "uid", "gid", "allow"].map {
    .init($0, takeOver: { rule, new in rule = new })
  }
}

/// Every key with a value of its own, as `docs/configure.md` names it.
enum ConfigurationPaths {
  struct Path: Equatable {
    let name: String
    /// A running site takes a new value into use.
    let isTakenOver: Bool
  }

  static let all: [Path] =
    paths(
      SiteConfiguration.self,
      [
        "listen": paths(ListenConfiguration.self, below: "listen.")
          + paths(NBDListenerConfiguration.self, below: "listen.nbd[]."),
        "links": paths(LinkConfiguration.self, below: "links."),
        "limits": paths(ClientLimits.self, below: "limits."),
        "groups": paths(
          GroupConfiguration.self, below: "groups[].",
          [
            "peer": paths(PeerConfiguration.self, below: "groups[].peer."),
            "peers": paths(PeerConfiguration.self, below: "groups[].peers[]."),
            "journal": paths(JournalConfiguration.self, below: "groups[].journal."),
            "disks": paths(
              DiskConfiguration.self, below: "groups[].disks[].",
              ["access": paths(AccessRule.self, below: "groups[].disks[].access[].")]),
          ]),
      ])

  /// - Parameter parts: those of keys whose values have keys of their own.
  private static func paths<Section: ConfigurationSection>(
    _ section: Section.Type, below prefix: String = "", _ parts: [String: [Path]] = [:]
  ) -> [Path] {
    section.keys.flatMap { key in
      parts[key.name]
        ?? [Path(name: prefix + key.name, isTakenOver: key.takeOver != nil)]
    }
  }
}
