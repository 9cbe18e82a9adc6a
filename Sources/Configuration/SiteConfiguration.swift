import BlockModel
import SystemIO

/// A site: where it keeps its state, where it listens and which groups it serves.
///
/// A value that a configuration file was read into is consistent in itself: names and addresses
/// are valid and unique, sizes and durations are inside `ConfigurationLimits`. Whether paths exist
/// and sizes agree with the backing stores is found out when the site starts.
public struct SiteConfiguration: Equatable, Sendable {
  public var site: String
  /// The folder of journals and state.
  public var dataDirectory: String
  public var listen: ListenConfiguration
  public var links: LinkConfiguration
  public var limits: ClientLimits
  public var groups: [GroupConfiguration]
  /// Where it was written; nil when it was not read from a file.
  public var origin: ConfigurationOrigin?

  public init(
    site: String, dataDirectory: String, listen: ListenConfiguration,
    links: LinkConfiguration = LinkConfiguration(), limits: ClientLimits = ClientLimits(),
    groups: [GroupConfiguration]
  ) {
    self.site = site
    self.dataDirectory = dataDirectory
    self.listen = listen
    self.links = links
    self.limits = limits
    self.groups = groups
  }

  /// Where a value was written does not make it another.
  public static func == (a: Self, b: Self) -> Bool {
    a.site == b.site && a.dataDirectory == b.dataDirectory && a.listen == b.listen
      && a.links == b.links && a.limits == b.limits && a.groups == b.groups
  }
}

/// The file and lines of a configuration, for what is found to be wrong only when the site starts.
public struct ConfigurationOrigin: Equatable, Sendable {
  public var file: String
  /// By the name of the disk, which is unique in a site.
  public var diskLines: [String: Int]

  /// `FILE:LINE: `, to put in front of a message.
  public func place(ofDisk name: String) -> String {
    diskLines[name].map { "\(file):\($0): " } ?? "\(file): "
  }
}

/// The addresses at which a site accepts connections.
public struct ListenConfiguration: Equatable, Sendable {
  /// For NBD clients.
  public var nbd: [NBDListenerConfiguration]
  /// For peers.
  public var link: SocketAddress?
  /// For the command line.
  public var control: SocketAddress?

  public init(
    nbd: [NBDListenerConfiguration] = [], link: SocketAddress? = nil, control: SocketAddress? = nil
  ) {
    self.nbd = nbd
    self.link = link
    self.control = control
  }
}

public enum GroupRole: String, CaseIterable, Sendable {
  /// Takes writes from NBD clients and sends them to its peer.
  case protected
  /// Takes records from its peer.
  case recovery
  /// Its disks are served without a journal, a peer or a history.
  case plain
}

public enum ReplicationMode: String, CaseIterable, Sendable {
  /// A write is acknowledged when the local journal has it.
  case async
  /// A write is acknowledged when the peer's journal has it too.
  case sync
}

/// What a group does when its journal has no free segment left.
public enum OnFull: String, CaseIterable, Sendable {
  /// Writes wait.
  case block
  /// Writes are slowed down before the journal is full.
  case throttle
  /// Order is given up before availability: history ends in a gap and the peer is resynchronised.
  case degrade
}

/// A consistency group as one site sees it.
public struct GroupConfiguration: Equatable, Sendable {
  public var name: String
  public var role: GroupRole
  /// Where the group sends when it owns, those that have an address; and whom it receives from when
  /// it follows.
  public var peers: [PeerConfiguration]
  public var mode: ReplicationMode
  /// The history window: how long a record stays in the journal before it is applied.
  public var historyNanoseconds: UInt64
  /// The time between two apply steps; not 0.
  public var applyEveryNanoseconds: UInt64
  /// The time between two periodic checkpoints; 0 for none.
  public var checkpointEveryNanoseconds: UInt64
  public var journal: JournalConfiguration
  public var disks: [DiskConfiguration]

  public init(
    name: String, role: GroupRole, peers: [PeerConfiguration] = [],
    mode: ReplicationMode = ConfigurationDefaults.mode,
    historyNanoseconds: UInt64 = ConfigurationDefaults.historyNanoseconds,
    applyEveryNanoseconds: UInt64 = ConfigurationDefaults.applyEveryNanoseconds,
    checkpointEveryNanoseconds: UInt64 = ConfigurationDefaults.checkpointEveryNanoseconds,
    journal: JournalConfiguration = JournalConfiguration(), disks: [DiskConfiguration]
  ) {
    self.name = name
    self.role = role
    self.peers = peers
    self.mode = mode
    self.historyNanoseconds = historyNanoseconds
    self.applyEveryNanoseconds = applyEveryNanoseconds
    self.checkpointEveryNanoseconds = checkpointEveryNanoseconds
    self.journal = journal
    self.disks = disks
  }

  /// Of a recovery group: whom it receives from at first.
  public var peer: PeerConfiguration? { peers.first }
}

/// Another site of a group: where a protected group sends, or whom a recovery group receives
/// from.
public struct PeerConfiguration: Equatable, Sendable {
  public var site: String
  /// The peer's link listener. A protected group always has it.
  public var address: SocketAddress?
  /// What a full journal does about this peer; nil: what the journal's `onFull` says.
  public var onFull: OnFull?

  public init(site: String, address: SocketAddress? = nil, onFull: OnFull? = nil) {
    self.site = site
    self.address = address
    self.onFull = onFull
  }
}

public struct JournalConfiguration: Equatable, Sendable {
  /// The most that the group's segments take on disk; at least
  /// `ConfigurationLimits.minimumSegments` segments.
  public var capacityBytes: UInt64
  public var onFull: OnFull
  /// A power of two.
  public var segmentSizeBytes: UInt64
  /// The most that apply saves on disk for the group's open views once the journal has no room for
  /// them; 0: such a view is closed. Nil means: as much as `capacityBytes`.
  public var viewScratchBytes: UInt64?

  public init(
    capacityBytes: UInt64 = ConfigurationDefaults.journalCapacityBytes,
    onFull: OnFull = ConfigurationDefaults.onFull,
    segmentSizeBytes: UInt64 = ConfigurationDefaults.segmentSizeBytes,
    viewScratchBytes: UInt64? = nil
  ) {
    self.capacityBytes = capacityBytes
    self.onFull = onFull
    self.segmentSizeBytes = segmentSizeBytes
    self.viewScratchBytes = viewScratchBytes
  }

  public var viewScratchLimit: UInt64 { viewScratchBytes ?? capacityBytes }
}

public struct DiskConfiguration: Equatable, Sendable {
  /// Also the name of the disk's NBD export; unique in a site.
  public var name: String
  /// Nil means: as large as the backing store is.
  public var sizeBytes: UInt64?
  public var backing: BackingAddress
  /// Empty: everyone who can connect may read and write.
  public var accessRules: [AccessRule]

  public init(
    name: String, sizeBytes: UInt64? = nil, backing: BackingAddress,
    accessRules: [AccessRule] = []
  ) {
    self.name = name
    self.sizeBytes = sizeBytes
    self.backing = backing
    self.accessRules = accessRules
  }
}
