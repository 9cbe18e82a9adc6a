import Appliance
import BlockModel
import SystemIO

/// Those who run the two sites: one command after the other, mostly while something is broken, and
/// sometimes a site ends in the midst of one.
final class FailoverOperator: @unchecked Sendable {
  private unowned let world: FailoverWorld
  private let faults: FailoverFaults
  private var random: SimulationRandom {
    get { world.simulation.random }
    set { world.simulation.random = newValue }
  }

  init(_ world: FailoverWorld, _ faults: FailoverFaults) {
    self.world = world
    self.faults = faults
  }

  /// A thread of the clients' process.
  func run() {
    while !world.isQuiet {
      Thread.sleep(milliseconds: random.around(world.plan.commandPause) / 1_000_000)
      let site = world.sites[random.below(world.sites.count)]
      guard site.isServing, !world.isQuiet else { continue }
      if random.chance(0.05) {
        delete(at: site)
      } else if site.oracle.ownership.isPending {
        decide(at: site)
      } else if site.oracle.ownership.isFollower {
        if !world.isCalm, random.chance(world.plan.disasterShare) {
          strike(world.sites[1 - site.index])
        }
        failOver(to: site)
      }
    }
    world.clientsLeft -= 1
  }

  /// What people fail over for.
  private func strike(_ owner: FailoverSite) {
    world.trace.note("disaster: \(owner.name)")
    switch random.below(4) {
    case 0: faults.separate(.milliseconds(200)...(.seconds(6)))
    case 1: faults.crash(owner, isKill: true)
    case 2: faults.crash(owner, isKill: false)
    default:
      faults.separate(.milliseconds(200)...(.seconds(6)))
      faults.crash(owner, isKill: random.chance(0.5))
    }
    Thread.sleep(milliseconds: UInt64(random.below(300)))
  }

  // MARK: Commands

  func failOver(to site: FailoverSite) {
    var request = FailoverRequest(commit: commitTime())
    site.oracle.ownership.expected = .latest
    if !random.chance(world.plan.latestShare), let instant = instant(at: site) {
      request.at = "\(instant)"
      site.oracle.ownership.expected = .instant(instant)
    }
    let wanted = request
    give(site, "failover to \(site.name) at \(wanted.at ?? "latest")") { site in
      Result { () throws(SiteError) in
        try site.failover(group: FailoverPlan.group, wanted)
      }
    }
  }

  private func commitTime() -> CommitTime {
    switch random.below(5) {
    case 0: .now
    case 1: .after(seconds: Double(1 + random.below(3_000)) / 1_000)
    default: .manual
    }
  }

  private func instant(at site: FailoverSite) -> Timestamp? {
    guard let known = site.instants, known.end > known.start else { return nil }
    let span = known.end.rawValue - known.start.rawValue
    // Mostly not long ago.
    let back = min(random.pick(logarithmic: 1_000...(.seconds(20))), span)
    return Timestamp(rawValue: known.end.rawValue - back)
  }

  /// What is pending is committed or taken back.
  func decide(at site: FailoverSite) {
    let isRollback = random.chance(world.plan.rollbackShare)
    let discards = random.chance(0.3)
    give(site, isRollback ? "rollback at \(site.name)" : "commit at \(site.name)") { site in
      Result { () throws(SiteError) in
        isRollback
          ? try site.rollback(group: FailoverPlan.group, isDryRun: false, discards: discards)
          : try site.commit(group: FailoverPlan.group)
      }
    }
  }

  /// Not before the other site has what it may need of it: then only a full copy would help.
  private func delete(at site: FailoverSite) {
    let other = world.sites[1 - site.index].oracle.ownership
    guard other.isFollower, other.state?.baseline == .complete else { return }
    let names = site.oracle.ownership.required.sorted()
    if !names.isEmpty { delete(random.pick(names), at: site) }
  }

  /// What a rollback needs, nobody should be able to delete.
  func delete(_ name: String, at site: FailoverSite) {
    site.oracle.ownership.deletes(name)
    world.trace.note("operator: deletes \(name) at \(site.name)")
    let answer = site.order { site in
      Result { () throws(SiteError) in try site.stopTest(name, check: nil, parked: true) }
    }
    switch answer {
    case .success?:
      world.statistics.deletions += 1
      site.oracle.ownership.forgets(name)
    case .failure(let error)?: world.trace.note("operator: not deleted: \(error)")
    case nil: break
    }
  }

  /// Sometimes a site ends meanwhile.
  private func give(
    _ site: FailoverSite, _ what: String,
    _ command: @escaping @Sendable (Site) -> Result<FailoverStatus, SiteError>
  ) {
    world.trace.note("operator: \(what)")
    if !world.isCalm, random.chance(world.plan.ambushShare) { lie(for: site) }
    switch site.order(command) {
    case .success(let status)?:
      world.trace.note("operator: \(what): \(status.state)")
      site.oracle.ownership.wasTold(status.state, at: site.oracle)
    case .failure(let error)?:
      world.statistics.refusedCommands += 1
      world.trace.note("operator: \(what): refused: \(error)")
    case nil: world.trace.note("operator: \(what): nobody knows")
    }
  }

  private func lie(for site: FailoverSite) {
    let delay = random.pick(logarithmic: 100_000...(.milliseconds(400)))
    let (isKill, isBoth) = (random.chance(0.3), random.chance(0.2))
    let life = site.life
    world.simulation.at(world.simulation.now + delay) { [world, faults] in
      guard !world.isCalm, site.life == life else { return }
      world.statistics.ambushes += 1
      world.trace.note("fault: a crash in the midst of a command")
      faults.crash(site, isKill: isKill)
      if isBoth { faults.crash(world.sites[1 - site.index], isKill: isKill) }
    }
  }
}
