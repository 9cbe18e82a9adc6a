import BlockModel
import SystemIO

extension SiteConfiguration {
  /// Reads and checks the configuration at `path`. Blocks while it reads.
  ///
  /// Throws the first thing that is wrong: the file cannot be read, is not YAML, or says
  /// something that a site cannot be built from.
  public static func load(path: String) throws(ConfigurationError) -> SiteConfiguration {
    try SiteConfiguration(yaml: try ConfigurationFile.read(path), file: path)
  }

  /// Reads and checks a configuration in UTF-8. `file` is what errors call it.
  public init(yaml bytes: [UInt8], file: String) throws(ConfigurationError) {
    guard bytes.count <= ConfigurationLimits.fileBytes else {
      throw ConfigurationError(
        file: file, reason: "the file has more than \(ConfigurationLimits.fileBytes) bytes")
    }
    let root = try YAMLTreeBuilder.document(in: bytes, file: file)
    var reader = SiteConfigurationReader()
    self = try reader.site(ConfigurationField(key: "site", node: root, file: file))
  }
}

/// Turns the tree of a configuration into values. What must be unique in a site is remembered
/// with the line where it was first seen.
struct SiteConfigurationReader {
  private var links = LinkConfiguration()
  private var listenerLines: [SocketAddress: Int] = [:]
  private var groupLines: [String: Int] = [:]
  private var diskLines: [String: Int] = [:]
  private var backingLines: [BackingAddress: Int] = [:]

  mutating func site(_ root: ConfigurationField) throws(ConfigurationError) -> SiteConfiguration {
    let mapping = try ConfigurationMapping(
      root, subject: "the site", keys: SiteConfiguration.keyNames)
    let site = try mapping.required("site").name()
    let dataDirectory = try mapping.required("data").path()
    links = try mapping["links"]?.links() ?? LinkConfiguration()
    let listen = try listeners(try mapping.required("listen"))
    let limits = try mapping["limits"]?.clientLimits() ?? ClientLimits()
    var groups: [GroupConfiguration] = []
    for item in try mapping.required("groups").list(atMost: ConfigurationLimits.groups) {
      groups.append(try group(item, of: site, listen: listen))
    }
    var configuration = SiteConfiguration(
      site: site, dataDirectory: dataDirectory, listen: listen, links: links,
      limits: limits, groups: groups)
    configuration.origin = ConfigurationOrigin(file: root.file, diskLines: diskLines)
    return configuration
  }

  private mutating func listeners(
    _ field: ConfigurationField
  ) throws(ConfigurationError) -> ListenConfiguration {
    let mapping = try ConfigurationMapping(
      field, subject: "listen", keys: ListenConfiguration.keyNames)
    var listen = ListenConfiguration()
    for item in try mapping["nbd"]?.list(atMost: ConfigurationLimits.nbdListeners) ?? [] {
      let (address, tls) = try item.nbdListener()
      listen.nbd.append(
        NBDListenerConfiguration(address: try listener(.nbd, address), tls: tls))
    }
    if let link = mapping["link"] {
      let address = try listener(.link, link)
      try link.check(address, links)
      listen.link = address
    }
    if let control = mapping["control"] { listen.control = try listener(.control, control) }
    return listen
  }

  private mutating func listener(
    _ kind: ListenerIdentity.Kind, _ field: ConfigurationField
  ) throws(ConfigurationError) -> SocketAddress {
    let address = try field.socketAddress()
    // Each gets a port of its own. But of one kind, a reload or another process could not tell two
    // of them apart.
    if case .tcp(_, port: 0) = address, kind != .nbd { return address }
    if let line = listenerLines.updateValue(field.node.place.line, forKey: address) {
      throw field.failure(
        "two listeners have the address \(address), the first on line \(line); give one of them "
          + "another port or path")
    }
    return address
  }

  private mutating func group(
    _ field: ConfigurationField, of site: String, listen: ListenConfiguration
  ) throws(ConfigurationError) -> GroupConfiguration {
    let mapping = try ConfigurationMapping(
      field, subject: "a group", keys: GroupConfiguration.keyNames)
    let nameField = try mapping.required("name")
    let name = try nameField.name()
    if let line = groupLines.updateValue(nameField.node.place.line, forKey: name) {
      throw nameField.failure("two groups are named '\(name)', the first on line \(line)")
    }
    let roleField = try mapping.required("role")
    let role = try roleField.choice(GroupRole.self)
    if role == .recovery, listen.link == nil {
      throw roleField.failure("the recovery group '\(name)' needs 'link' under 'listen'")
    }
    var group = GroupConfiguration(name: name, role: role, disks: [])
    group.peers = try peers(mapping, role: role, of: site)
    if let mode = mapping["mode"] { group.mode = try mode.choice() }
    if let history = mapping["history"] { group.historyNanoseconds = try history.nanoseconds() }
    if let field = mapping["apply_every"] {
      group.applyEveryNanoseconds = try field.nanoseconds()
      if group.applyEveryNanoseconds == 0 { throw field.failure("'apply_every' cannot be 0") }
    }
    if let field = mapping["checkpoint_every"] {
      group.checkpointEveryNanoseconds = try field.nanoseconds()
    }
    if let journal = mapping["journal"] { group.journal = try self.journal(journal) }
    group.disks = try disks(try mapping.required("disks"), of: group)
    return group
  }

  /// `peer` is the short form of `peers` with one.
  private func peers(
    _ group: ConfigurationMapping, role: GroupRole, of site: String
  ) throws(ConfigurationError) -> [PeerConfiguration] {
    guard let field = group["peers"] else {
      if let field = group["peer"] { return [try peer(field, role: role, of: site)] }
      if role != .recovery { return [] }
      throw group.failure(
        "a recovery group needs 'peer', the site that it receives from", at: group.place)
    }
    if group["peer"] != nil {
      throw field.failure("'peer' is the short form of 'peers' with one: give one of the two")
    }
    var peers: [PeerConfiguration] = []
    for item in try field.list(atMost: ConfigurationLimits.peers) {
      let peer = try peer(item, role: role, of: site)
      if peers.contains(where: { $0.site == peer.site }) {
        throw item.failure("two peers of a group are named '\(peer.site)'")
      }
      if let address = peer.address, peers.contains(where: { $0.address == address }) {
        throw item.failure("two peers of a group have the address \(address)")
      }
      peers.append(peer)
    }
    return peers
  }

  private func peer(
    _ field: ConfigurationField, role: GroupRole, of site: String
  ) throws(ConfigurationError) -> PeerConfiguration {
    guard role != .plain else {
      throw field.failure("a plain group has no journal and so no '\(field.key)'")
    }
    let mapping = try ConfigurationMapping(
      field, subject: "peer", keys: PeerConfiguration.keyNames)
    let siteField = try mapping.required("site")
    var peer = PeerConfiguration(site: try siteField.name())
    guard peer.site != site else {
      throw siteField.failure("the peer of a group is another site, not '\(site)' itself")
    }
    if let onFull = mapping["on_full"] { peer.onFull = try onFull.choice() }
    if let addressField = mapping["address"] {
      let address = try addressField.socketAddress()
      if case .tcp(_, port: 0) = address {
        throw addressField.failure("'address' needs the peer's port; 0 is for listeners")
      }
      try addressField.check(address, links)
      peer.address = address
    } else if role == .protected {
      throw mapping.failure("the peer of a protected group needs 'address'", at: mapping.place)
    }
    return peer
  }

  private func journal(
    _ field: ConfigurationField
  ) throws(ConfigurationError) -> JournalConfiguration {
    let mapping = try ConfigurationMapping(
      field, subject: "journal", keys: JournalConfiguration.keyNames)
    var journal = JournalConfiguration()
    if let onFull = mapping["on_full"] { journal.onFull = try onFull.choice() }
    if let size = mapping["segment_size"] {
      journal.segmentSizeBytes = try size.bytes(in: ConfigurationLimits.segmentSizeBytes)
      guard journal.segmentSizeBytes.nonzeroBitCount == 1 else {
        throw size.failure("'segment_size' must be a power of two")
      }
    }
    if let capacity = mapping["capacity"] {
      journal.capacityBytes = try capacity.bytes(in: 0...UInt64(Int64.max))
    }
    if let scratch = mapping["view_scratch"] {
      journal.viewScratchBytes = try scratch.bytes(in: 0...UInt64(Int64.max))
    }
    let segments = journal.capacityBytes / journal.segmentSizeBytes
    let sizes =
      "'capacity' of \(ByteCount.format(journal.capacityBytes))"
      + " with segments of \(ByteCount.format(journal.segmentSizeBytes))"
    let culprit = mapping["capacity"] ?? mapping["segment_size"] ?? field
    guard segments >= ConfigurationLimits.minimumSegments else {
      throw culprit.failure(
        "\(sizes) is too small; a journal needs \(ConfigurationLimits.minimumSegments) segments")
    }
    guard segments <= ConfigurationLimits.maximumSegments else {
      throw culprit.failure(
        "\(sizes) is too large; a journal has at most"
          + " \(ConfigurationLimits.maximumSegments) segments")
    }
    return journal
  }

  private mutating func disks(
    _ field: ConfigurationField, of group: GroupConfiguration
  ) throws(ConfigurationError) -> [DiskConfiguration] {
    let items = try field.list(atMost: ConfigurationLimits.disksPerGroup)
    guard !items.isEmpty else {
      throw field.failure("the \(group.role.rawValue) group '\(group.name)' has no disks")
    }
    var disks: [DiskConfiguration] = []
    for item in items { disks.append(try disk(item)) }
    return disks
  }

  private mutating func disk(
    _ field: ConfigurationField
  ) throws(ConfigurationError) -> DiskConfiguration {
    let mapping = try ConfigurationMapping(
      field, subject: "a disk", keys: DiskConfiguration.keyNames)
    let nameField = try mapping.required("name")
    let name = try nameField.name()
    if let line = diskLines.updateValue(nameField.node.place.line, forKey: name) {
      throw nameField.failure(
        "two disks of the site are named '\(name)', the first on line \(line)")
    }
    let size = try mapping["size"]?.bytes(in: ConfigurationLimits.diskSizeBytes)
    let backingField = try mapping.required("backing")
    let backing = try backingField.backingAddress()
    if let line = backingLines.updateValue(backingField.node.place.line, forKey: backing) {
      throw backingField.failure(
        "two disks have the backing store \(backing), the first on line \(line)")
    }
    return DiskConfiguration(
      name: name, sizeBytes: size, backing: backing,
      accessRules: try mapping["access"]?.accessRules() ?? [])
  }
}
