import BlockModel
import Configuration
import SystemIO

/// What one seed makes of the world before anything runs: sites, groups, disks, load and faults.
///
/// Every choice is drawn wide, and each kind of fault is on in some seeds only, so that quiet
/// worlds, in which something may go on for long, occur beside violent ones.
struct Plan {
  struct Disk {
    let name: String
    let byteCount: Int
    /// Zeros from the start; otherwise full of bytes.
    let isBlank: Bool
  }

  struct Group {
    let name: String
    /// Of the sites, which one is the protected one.
    private(set) var home: Int
    let disks: [Disk]
    let segmentBytes: UInt64
    /// What becomes of each peer when the journal is full, by the number of its role.
    private(set) var onFull: [OnFull]
    let checkpointEvery: UInt64
    /// By role.
    private(set) var capacityBytes: [Role: UInt64]
    private(set) var history: [Role: UInt64]
    private(set) var applyEvery: [Role: UInt64]
    private(set) var viewScratchBytes: [Role: UInt64]

    /// One more recovery site, with settings of its own.
    mutating func addReceiver(_ random: inout SimulationRandom) {
      let role = Role.recovery(onFull.count)
      onFull.append(random.pick([.block, .throttle, .degrade]))
      capacityBytes[role] = segmentBytes * UInt64(random.pick([4, 8, 40]))
      history[role] = random.pick([0, .milliseconds(500), .seconds(2), .seconds(20)])
      applyEvery[role] = random.pick([.milliseconds(50), .milliseconds(200), .seconds(1)])
      viewScratchBytes[role] = random.pick([0, 8 << 10, 1 << 20])
    }

    /// Of two sites, the other one becomes the protected one. Settings stay with their sites.
    mutating func exchangeRoles() {
      home = 1 - home
      func exchange(_ settings: inout [Role: UInt64]) {
        (settings[.protected], settings[.recovery(0)]) =
          (settings[.recovery(0)], settings[.protected])
      }
      exchange(&capacityBytes)
      exchange(&history)
      exchange(&applyEvery)
      exchange(&viewScratchBytes)
    }

    /// The peer keeps no history.
    mutating func applyAtOnce() {
      history[.recovery(0)] = 0
      applyEvery[.recovery(0)] = .milliseconds(50)
    }

    func role(at site: Int) -> Role {
      site == home ? .protected : .recovery(site < home ? site : site - 1)
    }

    func site(_ role: Role) -> Int {
      switch role {
      case .protected: home
      case .recovery(let number): number < home ? number : number + 1
      }
    }
  }

  /// In some worlds, groups have two recovery sites.
  let siteNames: [String]
  private(set) var groups: [Group]
  private(set) var load: LoadPlan
  let faults: [FaultPlan]
  /// How long faults happen.
  private(set) var chaosNanoseconds: UInt64
  let clockOffsets: [Int64]
  let usesUnixSockets: Bool
  let switchProbability: Double
  let viewerCount: Int
  /// The protected site loses much that its peer has had for long: its disk is slow, nobody
  /// flushes, and power fails often.
  let isFrail: Bool
  /// From one crash at a chosen moment to the next; nil: there is none.
  private(set) var ambushInterval: UInt64?
  /// Clients that end in the middle of what they send, or send what is no request.
  let isHostile: Bool
  /// Of each site's machine: what could not be written back leaves memory at once.
  let forgetsLost: [Bool]
  /// How long a sync of a segment takes at each site; nil: no longer than others.
  private(set) var segmentSyncs: [ClosedRange<UInt64>?]
  let index: IndexPlan
  /// Nil: the protected site's machine does not come back as it was before.
  let restoration: RestorationPlan?
  /// Nil: each site keeps its role.
  let exchange: ExchangePlan?
  /// Nil: groups keep their disks.
  let diskOrders: DiskOrders?
  /// Nil: ambushes, where there are some, are of all kinds.
  let ambush: AmbushPlan?
  /// Nil: nobody makes branches.
  let branches: BranchPlan?
  /// By site: which list of disks it is configured with.
  private(set) var versions: [Int]

  init(seed: UInt64) {
    var random = SimulationRandom(seed: seed &* 0x2545_F491_4F6C_DD1D)
    var groups: [Group] = []
    var others = SimulationRandom(seed: ~seed)
    let isFrail = others.chance(0.3)
    self.isFrail = isFrail
    // Drawn apart, so that all other worlds stay as they are.
    var wide = SimulationRandom(seed: seed ^ 0x7769_6465)
    let isWide = wide.chance(0.2)
    siteNames = ["east", "west"] + (isWide ? ["south"] : [])
    let isMixed = random.chance(0.2)
    for number in 0..<random.pick([1, 1, 1, 1, 2, 2, 3]) {
      var group = Self.group("g\(number)", home: isMixed ? random.below(2) : 0, isFrail, &random)
      if isWide { group.addReceiver(&wide) }
      groups.append(group)
    }
    self.groups = groups
    var load = LoadPlan(&random)
    faults = FaultPlan.draw(&random)
    // Most worlds are short, so that there are many; some are long enough for rare meetings.
    chaosNanoseconds =
      !isFrail && random.chance(0.85)
      ? random.pick(logarithmic: .milliseconds(300)...(.seconds(2)))
      : random.pick(logarithmic: .seconds(2)...(isFrail ? .seconds(6) : .seconds(12)))
    let skew: Int64 = random.chance(0.5) ? 0 : Int64(random.below(20_000_000_000)) - 10_000_000_000
    clockOffsets = [0, skew] + (isWide ? [-skew] : [])
    usesUnixSockets = random.chance(0.5)
    switchProbability = random.pick([0.02, 0.1, 0.2, 0.5])
    viewerCount = random.below(4)
    if isFrail { load.neverSync() }
    self.load = load
    ambushInterval =
      isFrail || others.chance(0.4)
      ? others.pick(
        logarithmic: isFrail
          ? .milliseconds(400)...(.milliseconds(2_000)) : .milliseconds(50)...(.milliseconds(500)))
      : nil
    let slowest = others.pick(logarithmic: .milliseconds(200)...(.milliseconds(2_000)))
    segmentSyncs = siteNames.indices.map { site in
      isFrail && groups[0].home == site ? slowest / 4...slowest : nil
    }
    isHostile = !isFrail && others.chance(0.25)
    // One machine is the protected site of all groups, or none is put back.
    let drawn = RestorationPlan.draw(&others)
    restoration = isMixed || isWide ? nil : drawn
    forgetsLost = (0..<2).map { _ in others.chance(0.5) } + (isWide ? [wide.chance(0.5)] : [])
    index = IndexPlan(&others)
    let isPlain =
      !isMixed && !isWide && restoration == nil && !faults.contains(where: \.kind.isDamage)
    exchange = isPlain ? ExchangePlan(seed: seed) : nil
    diskOrders = isPlain && exchange == nil ? DiskOrders(seed: seed, groups) : nil
    versions = siteNames.map { _ in 0 }
    ambush =
      isPlain && exchange == nil && diskOrders == nil
      ? AmbushPlan(seed: seed, isFrail: isFrail) : nil
    branches =
      restoration == nil && !faults.contains(where: \.kind.isDamage) ? BranchPlan(seed: seed) : nil
    if let ambush { make(for: ambush) }
  }

  /// A world in which such an ambush meets its moment.
  private mutating func make(for ambush: AmbushPlan) {
    ambushInterval = ambush.interval
    chaosNanoseconds = max(chaosNanoseconds, .milliseconds(1_500))
    switch ambush {
    case .forkedSegment:
      load.syncAlways()
      segmentSyncs[groups[0].home] = .milliseconds(2)...(.milliseconds(20))
    case .emptiedSegment: load.keepSmall()
    case .lostSync: load.syncSometimes()
    case .slowCopy: for group in groups.indices { groups[group].applyAtOnce() }
    }
  }

  mutating func exchangeRoles() {
    for group in groups.indices { groups[group].exchangeRoles() }
  }

  private static func group(
    _ name: String, home: Int, _ isFrail: Bool, _ random: inout SimulationRandom
  ) -> Group {
    let disks = (0..<random.pick([1, 1, 2, 3])).map { number in
      Disk(
        name: "\(name)-d\(number)", byteCount: size(&random), isBlank: random.chance(0.3))
    }
    // What is lost is then more than one of them.
    let segmentBytes = UInt64(16 << 10) << UInt64(isFrail ? 0 : random.below(3))
    func forBoth(_ choice: (Role) -> UInt64) -> [Role: UInt64] {
      [.protected: choice(.protected), .recovery(0): choice(.recovery(0))]
    }
    return Group(
      name: name, home: home, disks: disks, segmentBytes: segmentBytes,
      onFull: [random.pick([.block, .throttle, .degrade])],
      checkpointEvery: random.pick([0, .milliseconds(200), .milliseconds(900)]),
      capacityBytes: forBoth { role in
        segmentBytes
          * UInt64(random.pick(isFrail && role == .protected ? [5, 8] : [4, 5, 8, 16, 40]))
      },
      history: forBoth { role in
        role == .protected
          ? random.pick([0, 0, .milliseconds(300), .seconds(2)])
          : random.pick(
            isFrail
              ? [.seconds(2), .seconds(20)]
              : [0, .milliseconds(500), .seconds(2), .seconds(20)])
      },
      applyEvery: forBoth { _ in
        random.pick([.milliseconds(50), .milliseconds(200), .seconds(1)])
      },
      viewScratchBytes: forBoth { _ in random.pick([0, 8 << 10, 1 << 20]) })
  }

  private static func size(_ random: inout SimulationRandom) -> Int {
    let pages = random.pick([4, 16, 64, 128])
    // Some end in the middle of a page, or of a sector.
    return pages * 4096 + random.pick([0, 0, 0, 512, 1536, 7])
  }

  // MARK: As configurations

  static func diskPath(_ disk: String) -> String { "/disks/\(disk).raw" }
  static let dataPath = "/data"

  static func linkPort(_ site: Int) -> UInt16 { UInt16(20_810 + site) }

  func nbdAddress(_ site: Int) -> SocketAddress {
    usesUnixSockets
      ? .unix(path: "/run/\(siteNames[site]).sock")
      : .tcp(host: "127.0.0.1", port: UInt16(10_809 + site))
  }

  func configuration(of site: Int) -> SiteConfiguration {
    SiteConfiguration(
      site: siteNames[site], dataDirectory: Self.dataPath,
      listen: ListenConfiguration(
        nbd: [NBDListenerConfiguration(address: nbdAddress(site))],
        link: .tcp(host: "127.0.0.1", port: Self.linkPort(site))),
      links: LinkConfiguration(tls: .off), groups: groups.map { configuration(of: $0, at: site) })
  }

  /// Those who receive the group; at these, who sends it.
  private func peers(of group: Group, at site: Int) -> [PeerConfiguration] {
    if site != group.home { return [PeerConfiguration(site: siteNames[group.home], address: nil)] }
    return group.onFull.enumerated().map { number, onFull in
      let peer = group.site(.recovery(number))
      return PeerConfiguration(
        site: siteNames[peer], address: .tcp(host: "127.0.0.1", port: Self.linkPort(peer)),
        onFull: onFull)
    }
  }

  /// As the site is configured now.
  func disks(of group: Group, at site: Int) -> [Disk] {
    guard let diskOrders, let index = groups.firstIndex(where: { $0.name == group.name }) else {
      return group.disks
    }
    return diskOrders.lists[index][versions[site]]
  }

  /// The site has another list of disks from now on.
  mutating func changeDisks(at site: Int, to version: Int) { versions[site] = version }

  private func configuration(of group: Group, at site: Int) -> GroupConfiguration {
    let role = group.role(at: site)
    // Which disk is meant is its name: the lists of the two sites have different orders.
    let present = disks(of: group, at: site)
    let disks = role == .protected ? present : present.reversed()
    return GroupConfiguration(
      name: group.name, role: role == .protected ? .protected : .recovery,
      peers: peers(of: group, at: site),
      historyNanoseconds: group.history[role] ?? 0,
      applyEveryNanoseconds: group.applyEvery[role] ?? .seconds(1),
      checkpointEveryNanoseconds: group.checkpointEvery,
      journal: JournalConfiguration(
        capacityBytes: group.capacityBytes[role] ?? 0, onFull: group.onFull[0],
        segmentSizeBytes: group.segmentBytes, viewScratchBytes: group.viewScratchBytes[role]),
      disks: disks.map {
        DiskConfiguration(
          name: $0.name, sizeBytes: UInt64($0.byteCount),
          backing: .file(path: Self.diskPath($0.name)))
      })
  }
}
