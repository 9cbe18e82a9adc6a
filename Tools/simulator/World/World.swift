import BlockModel
import Journal
import SystemIO

/// Everything of one run: the sites' machines, the clients' machine, and the oracle beside them.
/// Confined to the simulation's thread, like all of the simulator.
final class World: Run, @unchecked Sendable {
  let seed: UInt64
  private(set) var plan: Plan
  let simulation: Simulation
  let trace: Trace
  let machines: [Machine]
  let clientMachine: Machine
  private(set) var groups: [GroupOracle] = []
  private(set) var hosts: [SiteHost] = []
  private(set) lazy var chaos = Chaos(self)
  private(set) lazy var ambushes = Ambushes(self)
  private(set) lazy var indexChaos = IndexChaos(self)
  /// How the run ended is told to this once.
  private let onEnd: (any Run, Ending) -> Never

  /// Clients begin nothing any more.
  var isQuiet = false
  /// Client fibers that have not ended.
  var clientsLeft = 0
  private var lastRequest: UInt64 = 0
  private lazy var lastViewer = plan.viewerCount - 1
  var statistics = Statistics()

  init(seed: UInt64, detail: Trace.Detail, onEnd: @escaping (any Run, Ending) -> Never) {
    self.seed = seed
    self.onEnd = onEnd
    plan = Plan(seed: seed)
    trace = Trace(detail)
    simulation = Simulation(seed: seed)
    simulation.switchProbability = plan.switchProbability
    let simulation = simulation
    machines = plan.siteNames.map { simulation.addMachine($0) }
    clientMachine = simulation.addMachine("clients")
    trace.now = { simulation.now }
    let trace = trace
    simulation.onTrace = { line in
      trace.mix(line)
      trace.note(line)
    }
  }

  var summary: String { "\(statistics)" }

  func violation(_ reason: String) -> Never { onEnd(self, .wrong(reason)) }

  /// Some disk had faults at some time.
  var hadDiskErrors = false
  /// Those that there are now.
  var branches: [DrivenBranch] = []

  /// At which there are branches.
  func branchInstants(of group: Int, _ host: SiteHost) -> [Timestamp] {
    branches.filter { $0.group == group && $0.host === host }.map(\.instant)
  }

  var isDamaged: Bool { hosts.contains(where: \.isDamaged) }

  /// Something is damaged, and the site that it concerns says so: that is all that is asked for.
  func endDamaged(_ what: String) -> Never {
    trace.note("damage was noticed: \(what)")
    onEnd(self, .converged)
  }

  func nextRequestNumber() -> UInt64 {
    lastRequest += 1
    return lastRequest
  }

  func nextViewerNumber() -> Int {
    lastViewer += 1
    return lastViewer
  }

  func role(of group: Int, at site: Int) -> Role { plan.groups[group].role(at: site) }
  func site(of group: Int, _ role: Role) -> SiteHost { hosts[plan.groups[group].site(role)] }
  /// The sites that receive the group.
  func receivers(of group: Int) -> [SiteHost] {
    groups[group].recoveries.indices.map { site(of: group, .recovery($0)) }
  }

  /// While both sites are down.
  func exchangeRoles() { plan.exchangeRoles() }

  /// From the site's next start on.
  func changeDisks(at site: Int, to version: Int) {
    plan.changeDisks(at: site, to: version)
    statistics.diskOrders += 1
  }

  // MARK: Running

  func run() -> Never {
    var random = SimulationRandom(seed: seed ^ 0x6469_736b)
    let contents = plan.groups.map { $0.disks.map { Self.contents(of: $0, &random) } }
    var newcomers = SimulationRandom(seed: seed ^ 0x6E65_7764)
    let later = plan.groups.indices.map { group in
      (plan.diskOrders?.newcomers(of: group) ?? []).map { disk in
        DiskCatalog.Disk(
          name: disk.name, content: DiskImage(Self.contents(of: disk, &newcomers)))
      }
    }
    groups = plan.groups.indices.map { index in
      GroupOracle(
        name: plan.groups[index].name,
        first: zip(plan.groups[index].disks, contents[index]).map {
          DiskCatalog.Disk(name: $0.name, content: DiskImage($1))
        }, newcomers: later[index], isFixed: plan.diskOrders == nil,
        recoveryCount: plan.siteNames.count - 1
      ) { [unowned self] in violation($0) }
    }
    hosts = machines.indices.map { SiteHost($0, self) }
    for (site, machine) in machines.enumerated() {
      machine.clockOffsetNanoseconds = plan.clockOffsets[site]
      machine.forgetsLost = plan.forgetsLost[site]
    }
    clientMachine.start("director") { [self] in
      for site in machines.indices { prepareDisks(of: site, contents, later) }
      Director(self).run()
      onEnd(self, .converged)
    }
    let outcome = simulation.run(untilNanoseconds: .seconds(600))
    violation("the world stands still: \(outcome)")
  }

  static func contents(
    of disk: Plan.Disk, _ random: inout SimulationRandom
  ) -> [UInt8] {
    if disk.isBlank { return [UInt8](repeating: 0, count: disk.byteCount) }
    return unsafe [UInt8](unsafeUninitializedCapacity: disk.byteCount) { bytes, count in
      count = disk.byteCount
      for start in stride(from: 0, to: count, by: 512) {
        let word = random.next()
        // Some of it is holes.
        let isHole = word & 7 == 0
        for index in start..<min(start + 512, count) {
          unsafe bytes[index] =
            isHole ? 0 : UInt8(truncatingIfNeeded: word >> UInt64((index - start) % 56)) | 1
        }
      }
    }
  }

  /// What a disk holds that is to be copied over: other bytes, or what the owner's held once.
  static func formerContents(of bytes: [UInt8], _ random: inout SimulationRandom) -> [UInt8] {
    let other = [UInt8](repeating: 0xA5, count: bytes.count)
    if random.chance(0.4) { return other }
    var former = bytes
    let changed = random.chance(0.3) ? 0 : random.below(6)
    for _ in 0..<changed {
      let start = random.below(bytes.count / 512) * 512
      let end = min(bytes.count, start + 512 << random.below(6))
      former.replaceSubrange(start..<end, with: other[start..<end])
    }
    return former
  }

  /// Makes the disks' files at a site: with their contents where the group is protected, and with
  /// what a full copy must overwrite where it is not. Blocks.
  private func prepareDisks(
    of site: Int, _ contents: [[[UInt8]]], _ later: [[DiskCatalog.Disk]]
  ) {
    var isDone = false
    var random = SimulationRandom(seed: seed ^ 0x666f_726d ^ UInt64(site))
    machines[site].start("setup") { [self] in
      try? Directory.create("/disks")
      try? Directory.create("/run")
      for (group, plan) in plan.groups.enumerated() {
        let newcomers = later[group].map { ($0.name, $0.content.bytes) }
        for (disk, bytes) in Array(zip(plan.disks.map(\.name), contents[group])) + newcomers {
          let isProtected = plan.role(at: site) == .protected
          let filler = Self.formerContents(of: bytes, &random)
          let path = Plan.diskPath(disk)
          do throws(Errno) { try Self.makeFile(path, isProtected ? bytes : filler) } catch {
            violation("cannot make \(path): \(error)")
          }
        }
      }
      try? Directory.sync("/disks")
      isDone = true
    }
    while !isDone { Thread.sleep(milliseconds: 1) }
    watch(site)
  }

  static func makeFile(_ path: String, _ bytes: [UInt8]) throws(Errno) {
    let file = try File(creating: path)
    var failure: Errno?
    unsafe bytes.withUnsafeBytes { buffer in
      do throws(Errno) { try unsafe file.write(buffer, at: 0) } catch { failure = error }
    }
    if let failure { throw failure }
    try file.syncAll()
  }

  // MARK: Watching

  /// From here on, what the machine's files get goes to the oracle.
  private func watch(_ site: Int) {
    let host = hosts[site]
    machines[site].onWrite = { [unowned self, trace] path, offset, bytes in
      trace.mix(offset)
      trace.mix(bytes)
      trace.note("\(host.name): writes \(bytes.count) bytes to \(path) at \(offset)")
      if path.hasSuffix("/index.scratch") { statistics.mergedFiles += offset == 0 ? 1 : 0 }
      host.wrote(path, Int(offset), bytes)
    }
    machines[site].onSyncError = { path in host.syncFailed(path) }
    machines[site].onRead = { [unowned self] path, offset, count in
      statistics.noteRead(path, Int(offset), count)
    }
  }
}

/// What a run has exercised, for the report.
struct Statistics {
  var requests = 0
  var reads = 0
  var views = 0
  var viewBytes = 0
  var refusedViews = 0
  var faults: [FaultKind: Int] = [:]
  var starts = 0
  var reopenings = 0
  var fullCopies = 0
  /// Followers went on behind what was dropped for them.
  var jumps = 0
  var cuts = 0
  var exchanges = 0
  /// Former owners that followed without a copy.
  var yields = 0
  var diskOrders = 0
  /// After exchanges of roles.
  var divergences = 0
  var lostRecords = 0
  var appliesChecked = 0
  var changeLists = 0
  var indexFaults = 0
  var branches = 0
  var branchWrites = 0
  var branchBytes = 0
  var refusedBranches = 0
  /// By themselves.
  var endedBranches = 0
  /// Index files that blocks were merged into.
  var mergedFiles = 0
  /// Of such files, and of sidecars: times that pages were read, one or several.
  var mergedReads = 0
  var sidecarReads = 0

  mutating func noteRead(_ path: String, _ offset: Int, _ count: Int) {
    guard IndexChaos.isIndex(path), offset % 256 == 0, count % 256 == 0 else { return }
    if path.hasSuffix(".index") { sidecarReads += 1 } else { mergedReads += 1 }
  }
}
