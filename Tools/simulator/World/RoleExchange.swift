import BlockModel
import Journal
import SystemIO

/// Ends both sites and starts them with each other's role. What was acknowledged and durable at the
/// former owner must not be dropped in silence afterwards: either both have it in the end, or
/// both say that they have diverged.
final class RoleExchange {
  /// An orderly stop may wait for what is broken; then the process is killed.
  private static let stopLimit: UInt64 = .seconds(20)

  private unowned let world: World
  private let plan: ExchangePlan.Exchange

  init(_ plan: ExchangePlan.Exchange, _ world: World) {
    self.plan = plan
    self.world = world
  }

  /// On the director's thread. Where the follower could not own, roles stay as they are.
  func run() {
    let sites = [world.site(of: 0, .protected), world.site(of: 0, .recovery(0))]
    if plan.separates {
      world.chaos.separate(.milliseconds(100)...(.seconds(4)))
      Thread.sleep(milliseconds: UInt64(world.simulation.random.below(600)))
    }
    var isUnsynced = false
    for (site, ending) in zip(sites, plan.endings) {
      site.isHeld = true
      isUnsynced = site.hadDiskErrors || isUnsynced
      end(site, ending)
      if world.simulation.random.chance(0.5) {
        Thread.sleep(milliseconds: UInt64(world.simulation.random.below(200)))
      }
    }
    let limit = world.simulation.now + Self.stopLimit
    while sites.contains(where: { $0.state != .down }) {
      Thread.sleep(milliseconds: 5)
      if world.simulation.now > limit { for site in sites { site.kill() } }
    }
    // What was under way to the clients arrives.
    Thread.sleep(milliseconds: 500)
    if world.groups.indices.allSatisfy({ canOwn(sites[1], $0) }) {
      exchange(mayLack: isUnsynced || plan.endings[1] == .powerCut, isClean: sites[0].hasStopped)
    }
    for site in sites {
      site.isHeld = false
      site.startLater()
    }
  }

  private func end(_ site: SiteHost, _ ending: ExchangePlan.Ending) {
    switch ending {
    case .stop where site.isServing: site.stop()
    case .powerCut: site.cutPower()
    case .kill, .stop: site.kill()
    }
  }

  private func canOwn(_ site: SiteHost, _ group: Int) -> Bool {
    guard world.groups[group].canExchange, !site.machine.hasUntoldLoss,
      let state = site.settledState(of: group)
    else { return false }
    // An order that neither has seen has changed nothing.
    let owner = world.site(of: group, .protected).settledState(of: group)?.ownership
    return owner?.duty == .owning && state.ownership.duty == .following
      && state.baseline == .complete && state.fork == nil
  }

  /// What the former owner has more than the next one comes to be given up, where all of it is on
  /// its disks.
  private func letYield(_ former: SiteHost) {
    for (number, group) in world.groups.enumerated() {
      let (own, next) = (group.recoveries[0].line, group.protected.line)
      guard own.count > next.count, let state = former.settledState(of: number),
        state.applied.sequence == SequenceNumber(UInt64(own.count)),
        state.applyTarget.sequence <= state.applied.sequence,
        state.followers.allSatisfy(\.isKept)
      else { continue }
      world.trace.note("group \(number) of \(former.name) yields after record \(next.count)")
      world.statistics.yields += 1
      former.yieldings[number] = .init(SequenceNumber(UInt64(next.count)), next.lastTimestamp)
      group.yields(to: next.count)
    }
  }

  private func exchange(mayLack: Bool, isClean: Bool) {
    world.trace.note("the sites exchange their roles")
    world.statistics.exchanges += 1
    world.exchangeRoles()
    for host in world.hosts { host.yieldings = [:] }
    let offsets = [Role.protected, .recovery(0)].map {
      world.site(of: 0, $0).machine.clockOffsetNanoseconds
    }
    let mayBeBehind =
      offsets[0] < offsets[1] || world.plan.faults.contains { $0.kind == .clockJump }
    for group in world.groups {
      group.exchangeRoles(mayLack: mayLack, isClean: isClean, newOwnerMayBeBehind: mayBeBehind)
    }
    if plan.yields, !mayLack { letYield(world.site(of: 0, .recovery(0))) }
    for host in world.hosts { host.reloadStates() }
  }
}
