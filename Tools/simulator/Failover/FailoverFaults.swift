import SystemIO

/// Lets happen what the plan of a `FailoverWorld` has switched on, until it is told to stop.
final class FailoverFaults {
  private unowned let world: FailoverWorld
  /// Grows with each lasting fault of a kind, so that the end of an older one does not end it.
  private var turns: [FailoverPlan.Fault: Int] = [:]

  init(_ world: FailoverWorld) { self.world = world }

  private var simulation: Simulation { world.simulation }

  func begin() {
    world.isCalm = false
    for fault in FailoverPlan.Fault.allCases {
      if let interval = world.plan.faults[fault] { schedule(fault, interval) }
    }
  }

  private func schedule(_ fault: FailoverPlan.Fault, _ interval: UInt64) {
    simulation.at(simulation.now + simulation.random.around(interval)) { [self] in
      if world.isCalm { return }
      strike(fault)
      schedule(fault, interval)
    }
  }

  /// Ends every fault and starts what is down.
  func end() {
    world.isCalm = true
    simulation.network.heal()
    resetNetwork()
    for site in world.sites {
      site.machine.faults = DiskFaults()
      site.start()
    }
  }

  private func strike(_ fault: FailoverPlan.Fault) {
    let site = world.sites[simulation.random.below(world.sites.count)]
    world.trace.note("fault: \(fault) of \(site.name)")
    switch fault {
    case .kill, .powerCut: crash(site, isKill: fault == .kill)
    case .restart: if site.isServing { stop(site) }
    case .linkCut: simulation.network.cut(FailoverPlan.siteNames[0], FailoverPlan.siteNames[1])
    case .partition: separate(.milliseconds(50)...(.seconds(8)))
    case .slowNetwork:
      let slowest = simulation.random.pick(logarithmic: .milliseconds(1)...(.milliseconds(200)))
      simulation.network.latencyNanoseconds = slowest / 4...slowest
      simulation.network.shortTransfer = simulation.random.pick([0.05, 0.5])
      last(.slowNetwork, .milliseconds(100)...(.seconds(4))) { [self] in resetNetwork() }
    case .slowDisk:
      let slowest = simulation.random.pick(logarithmic: .milliseconds(10)...(.milliseconds(400)))
      site.machine.faults.syncNanoseconds = slowest / 8...slowest
      last(.slowDisk, .milliseconds(50)...(.seconds(3))) { [world] in
        for site in world.sites { site.machine.faults = DiskFaults() }
      }
    }
  }

  func crash(_ site: FailoverSite, isKill: Bool) {
    guard site.state != .down else { return }
    if isKill { site.kill() } else { site.cutPower() }
    site.startLater()
  }

  private func stop(_ site: FailoverSite) {
    site.stop()
    startAfterStop(of: site, site.life)
  }

  private func startAfterStop(of site: FailoverSite, _ life: Int) {
    simulation.at(simulation.now + .milliseconds(20)) { [self] in
      guard site.life == life else { return }
      if site.state == .down { site.startLater() } else { startAfterStop(of: site, life) }
    }
  }

  /// The sites lose their connections and get no others for a while.
  func separate(_ range: ClosedRange<UInt64>) {
    let (one, other) = (FailoverPlan.siteNames[0], FailoverPlan.siteNames[1])
    simulation.network.cut(one, other)
    simulation.network.partition(from: one, to: other)
    simulation.network.partition(from: other, to: one)
    last(.partition, range) { [self] in simulation.network.heal() }
  }

  private func last(
    _ fault: FailoverPlan.Fault, _ range: ClosedRange<UInt64>, _ end: @escaping () -> Void
  ) {
    turns[fault, default: 0] += 1
    let turn = turns[fault]
    simulation.at(simulation.now + simulation.random.pick(logarithmic: range)) { [self] in
      if !world.isCalm, turns[fault] == turn { end() }
    }
  }

  private func resetNetwork() {
    simulation.network.latencyNanoseconds = 20_000...200_000
    simulation.network.shortTransfer = 0.05
  }
}
