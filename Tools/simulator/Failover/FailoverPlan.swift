import BlockModel
import Configuration
import Journal
import SystemIO

/// What one seed makes of a world in which people take a group over from one site to the other:
/// the sites and their disks, what clients and operators do, and what fails.
struct FailoverPlan {
  static let siteNames = ["east", "west"]
  static let group = "g0"
  static let dataPath = "/data"
  static var folder: String { "\(dataPath)/\(group)/" }

  struct Settings {
    let capacityBytes: UInt64
    let history: UInt64
    let applyEvery: UInt64
  }

  enum Fault: CaseIterable {
    case kill, powerCut, restart, linkCut, partition, slowNetwork, slowDisk
  }

  let disks: [Plan.Disk]
  let segmentBytes: UInt64
  /// By site.
  let settings: [Settings]
  let checkpointEvery: UInt64
  let onFull: OnFull
  /// By site.
  let clockOffsets: [Int64]
  let indexMemory: IndexMemory
  let switchProbability: Double
  let load: LoadPlan
  let readerCount: Int
  let chaosNanoseconds: UInt64
  /// From one to the next, of the kinds that happen.
  let faults: [Fault: UInt64]
  /// Between two commands of the operators.
  let commandPause: UInt64
  /// Of commands, those in the midst of which a site ends.
  let ambushShare: Double
  /// Of failovers, those at the newest instant.
  let latestShare: Double
  /// A pending failover is taken back, and not committed, with this probability.
  let rollbackShare: Double
  /// Of the sites that go away before a failover, by how.
  let disasterShare: Double

  init(seed: UInt64) {
    var random = SimulationRandom(seed: seed &* 0x9E37_79B9_7F4A_7C15)
    disks = (0..<random.pick([1, 1, 2, 3])).map { number in
      let pages = random.pick([4, 16, 32])
      return Plan.Disk(
        name: "d\(number)", byteCount: pages * 4096 + random.pick([0, 0, 512, 7]),
        isBlank: random.chance(0.3))
    }
    let segmentBytes = UInt64(16 << 10) << UInt64(random.below(3))
    self.segmentBytes = segmentBytes
    latestShare = random.pick([0, 0.3, 0.7, 1, 1])
    settings = FailoverPlan.siteNames.map { _ in
      Settings(
        capacityBytes: segmentBytes * UInt64(random.pick([6, 10, 40, 100])),
        history: random.pick([0, .milliseconds(500), .seconds(5), .seconds(60), .seconds(60)]),
        applyEvery: random.pick([.milliseconds(50), .milliseconds(200), .seconds(1)]))
    }
    checkpointEvery = random.pick([0, .milliseconds(200), .milliseconds(900)])
    onFull = random.pick([.block, .throttle])
    let skew: Int64 = random.chance(0.5) ? 0 : Int64(random.below(8_000_000_000)) - 4_000_000_000
    clockOffsets = [0, skew]
    indexMemory = IndexPlan(&random).memory
    switchProbability = random.pick([0.02, 0.1, 0.2])
    load = LoadPlan(&random)
    readerCount = random.below(3)
    chaosNanoseconds = random.pick(logarithmic: .seconds(2)...(.seconds(16)))
    let share = random.pick([0, 0.2, 0.5])
    var faults: [Fault: UInt64] = [:]
    for fault in Fault.allCases where random.chance(share) {
      faults[fault] = random.pick(logarithmic: .milliseconds(300)...(.seconds(8)))
    }
    self.faults = faults
    commandPause = random.pick(logarithmic: .milliseconds(20)...(.seconds(1)))
    ambushShare = random.pick([0, 0.2, 0.5])
    rollbackShare = random.pick([0, 0.3, 0.6])
    disasterShare = random.pick([0, 0.3, 0.8])
  }

  // MARK: As configurations

  static func linkPort(_ site: Int) -> UInt16 { Plan.linkPort(site) }
  func nbdAddress(_ site: Int) -> SocketAddress {
    .tcp(host: "127.0.0.1", port: UInt16(10_809 + site))
  }

  func configuration(of site: Int) -> SiteConfiguration {
    SiteConfiguration(
      site: Self.siteNames[site], dataDirectory: Self.dataPath,
      listen: ListenConfiguration(
        nbd: [NBDListenerConfiguration(address: nbdAddress(site))],
        link: .tcp(host: "127.0.0.1", port: Self.linkPort(site))),
      links: LinkConfiguration(tls: .off), groups: [group(at: site)])
  }

  private func group(at site: Int) -> GroupConfiguration {
    let own = settings[site]
    let peer = PeerConfiguration(
      site: Self.siteNames[1 - site],
      address: .tcp(host: "127.0.0.1", port: Self.linkPort(1 - site)), onFull: onFull)
    return GroupConfiguration(
      name: Self.group, role: site == 0 ? .protected : .recovery, peers: [peer],
      historyNanoseconds: own.history, applyEveryNanoseconds: own.applyEvery,
      checkpointEveryNanoseconds: checkpointEvery,
      journal: JournalConfiguration(
        capacityBytes: own.capacityBytes, onFull: onFull, segmentSizeBytes: segmentBytes,
        viewScratchBytes: 1 << 20),
      disks: disks.map {
        DiskConfiguration(
          name: $0.name, sizeBytes: UInt64($0.byteCount),
          backing: .file(path: Plan.diskPath($0.name)))
      })
  }
}
