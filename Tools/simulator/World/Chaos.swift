import SystemIO

/// Lets happen what the plan has switched on, until it is told to stop; then makes everything
/// whole.
final class Chaos {
  private unowned let world: World
  private(set) var isOver = false
  /// Sites whose next sync of a segment fails.
  private var losing: Set<Int> = []
  /// Grows with each lasting fault at a place, so that the end of an older one does not end it.
  private var turns: [String: Int] = [:]

  init(_ world: World) { self.world = world }

  private var simulation: Simulation { world.simulation }

  func begin() {
    for host in world.hosts { mendDisk(of: host) }
    if world.plan.ambush == .forkedSegment { resetNetwork() }
    for fault in world.plan.faults { schedule(fault) }
  }

  private func schedule(_ fault: FaultPlan) {
    simulation.at(simulation.now + simulation.random.around(fault.meanInterval)) { [self] in
      if isOver { return }
      world.statistics.faults[fault.kind, default: 0] += 1
      strike(fault.kind)
      schedule(fault)
    }
  }

  /// Ends every fault and starts what is down.
  func end() {
    isOver = true
    simulation.network.heal()
    resetNetwork()
    for host in world.hosts {
      mendDisk(of: host)
      if host.state == .down { host.start() }
    }
  }

  private func anyHost() -> SiteHost { world.hosts[simulation.random.below(world.hosts.count)] }

  private func anyOther(than host: SiteHost) -> String {
    let others = world.hosts.filter { $0 !== host }
    return others.count == 1 ? others[0].name : simulation.random.pick(others.map(\.name))
  }

  private func anyPair() -> (String, String) {
    if world.hosts.count == 2 { return (world.hosts[0].name, world.hosts[1].name) }
    let one = anyHost()
    return (one.name, anyOther(than: one))
  }

  private func strike(_ kind: FaultKind) {
    let host = anyHost()
    world.trace.note("fault: \(kind.rawValue)")
    switch kind {
    case .kill:
      guard host.state != .down else { return }
      host.kill()
      host.startLater()
    case .powerCut:
      host.cutPower()
      host.startLater()
    case .powerCutOfBoth:
      for host in world.hosts {
        host.cutPower()
        host.startLater()
      }
    case .restart: restart(host)
    case .linkCut:
      let (one, other) = anyPair()
      simulation.network.cut(one, other)
    case .partition: partition(host)
    case .slowNetwork: slowNetwork()
    case .clientCut: simulation.network.cut(host.name, "clients")
    case .clockJump: jumpClock(host)
    case .bitRot: rot(host)
    case .misdirectedWrite: misdirect(host)
    case .slowDisk, .readErrors, .writeErrors, .syncErrors, .fullDisk: breakDisk(host, kind)
    }
  }

  func restart(_ host: SiteHost) {
    guard host.isServing else { return }
    host.stop()
    awaitStop(host, host.life)
  }

  private func awaitStop(_ host: SiteHost, _ life: Int) {
    simulation.at(simulation.now + .milliseconds(20)) { [self] in
      guard host.life == life else { return }
      if host.state == .down { host.startLater() } else { awaitStop(host, life) }
    }
  }

  // MARK: Faults that last

  /// Calls `end` after a while, unless another fault at the same place has begun meanwhile.
  private func last(
    at place: String, _ range: ClosedRange<UInt64>, _ end: @escaping () -> Void
  ) {
    turns[place, default: 0] += 1
    let turn = turns[place]
    simulation.at(simulation.now + simulation.random.pick(logarithmic: range)) { [self] in
      if !isOver, turns[place] == turn { end() }
    }
  }

  private func partition(_ host: SiteHost) {
    let other = simulation.random.chance(0.7) ? anyOther(than: host) : "clients"
    simulation.network.partition(from: host.name, to: other)
    if simulation.random.chance(0.5) {
      simulation.network.partition(from: other, to: host.name)
    }
    healLater(.milliseconds(20)...(.seconds(20)))
  }

  private func healLater(_ range: ClosedRange<UInt64>) {
    last(at: "routes", range) { [self] in simulation.network.heal() }
  }

  /// The sites lose their connections and get no others for a while.
  func separate(_ range: ClosedRange<UInt64>) {
    for one in world.hosts {
      for other in world.hosts where other !== one {
        if one.index < other.index { simulation.network.cut(one.name, other.name) }
        simulation.network.partition(from: one.name, to: other.name)
      }
    }
    healLater(range)
  }

  func slowNetwork() {
    let slowest = simulation.random.pick(logarithmic: .milliseconds(1)...(.milliseconds(400)))
    simulation.network.latencyNanoseconds = slowest / 4...slowest
    simulation.network.bufferBytes = simulation.random.pick([2 << 10, 16 << 10, 256 << 10])
    simulation.network.shortTransfer = simulation.random.pick([0.05, 0.5, 1])
    last(at: "network", .milliseconds(100)...(.seconds(5))) { [self] in resetNetwork() }
  }

  private func resetNetwork() {
    simulation.network.latencyNanoseconds = 20_000...200_000
    simulation.network.bufferBytes = 256 << 10
    simulation.network.shortTransfer = 0.05
    guard world.plan.ambush == .forkedSegment, !isOver else { return }
    // A segment's header arrives before its first record.
    simulation.network.bufferBytes = 2 << 10
    simulation.network.shortTransfer = 1
  }

  private func breakDisk(_ host: SiteHost, _ kind: FaultKind) {
    var faults = DiskFaults()
    let probability = simulation.random.pick([0.01, 0.1, 0.5])
    switch kind {
    case .slowDisk:
      let slowest = simulation.random.pick(logarithmic: .milliseconds(10)...(.milliseconds(800)))
      faults.syncNanoseconds = slowest / 8...slowest
      faults.cacheMiss = 0.5
    case .readErrors: faults.readError = probability
    case .writeErrors: faults.writeError = probability
    case .syncErrors:
      faults.syncError = probability
      faults.writeBack = simulation.random.pick([0, 0.1, 0.5])
    default: faults.capacityBytes = host.machine.usedBytes + simulation.random.below(64 << 10)
    }
    let place = simulation.random.pick(["/", "/disks", Plan.dataPath, "/state", "/segment-"])
    faults.applies = { $0.contains(place) }
    host.machine.faults = faults
    if faults.hasErrors { host.noteDiskErrors() }
    last(at: "disk of \(host.name)", .milliseconds(20)...(.seconds(3))) { [self] in
      mendDisk(of: host)
    }
  }

  /// One sync of a segment fails.
  func loseSync(of host: SiteHost) {
    host.machine.faults.syncError = 1
    host.machine.faults.applies = { $0.contains("/segment-") }
    host.noteDiskErrors()
    losing.insert(host.index)
    last(at: "disk of \(host.name)", .milliseconds(500)...(.seconds(1))) { [self] in
      mendDisk(of: host)
    }
  }

  /// One that was to be lost is.
  func syncFailed(at host: SiteHost) {
    if losing.remove(host.index) != nil { mendDisk(of: host) }
  }

  private func mendDisk(of host: SiteHost) {
    host.machine.faults = DiskFaults()
    if isOver { return }
    guard let syncs = world.plan.segmentSyncs[host.index] else { return }
    host.machine.faults.syncNanoseconds = syncs
    host.machine.faults.isQuick = { !$0.contains("/segment-") }
  }

  // MARK: Damage

  /// Some byte of a journal's files. Disks have no checksums, so damage of theirs is not found.
  private func anyPlace(on host: SiteHost) -> (path: String, offset: Int)? {
    let paths = host.machine.fileNames().filter { $0.hasPrefix(Plan.dataPath) }
    guard !paths.isEmpty else { return nil }
    let path = paths[simulation.random.below(paths.count)]
    guard let size = host.machine.contents(of: path)?.count, size > 0 else { return nil }
    // Headers and states are small, and matter.
    let range = simulation.random.chance(0.3) ? min(size, 1024) : size
    return (path, simulation.random.below(range))
  }

  private func rot(_ host: SiteHost) {
    guard let (path, offset) = anyPlace(on: host) else { return }
    let bit = UInt8(simulation.random.below(8))
    guard host.machine.flipBit(of: path, at: UInt64(offset), bit: bit) else { return }
    world.trace.note("\(host.name): bit \(bit) flips in \(path) at \(offset)")
    host.damaged(path, offset..<offset + 1)
  }

  private func misdirect(_ host: SiteHost) {
    guard let source = anyPlace(on: host), let target = anyPlace(on: host) else { return }
    guard
      host.machine.copySector(
        of: source.path, at: UInt64(source.offset), to: target.path, at: UInt64(target.offset))
    else { return }
    let start = target.offset / 512 * 512
    world.trace.note(
      "\(host.name): a sector of \(source.path) at \(source.offset / 512 * 512) lies over "
        + "\(target.path) at \(start)")
    host.damaged(target.path, start..<start + 512)
  }

  private func jumpClock(_ host: SiteHost) {
    let size = Int64(simulation.random.pick(logarithmic: .milliseconds(1)...(.seconds(7_200))))
    jumpClock(host, by: simulation.random.chance(0.5) ? size : -size)
  }

  func jumpClock(_ host: SiteHost, by jump: Int64) {
    host.noteClock()
    host.machine.clockOffsetNanoseconds += jump
    world.trace.note("\(host.name): the clock jumps by \(jump) ns")
  }
}
