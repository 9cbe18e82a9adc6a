import Journal
import SystemIO

/// Lays ambushes, in the worlds that have them: chance alone meets some moments too seldom.
final class Ambushes {
  private unowned let world: World
  private var ambush: Ambush?

  init(_ world: World) { self.world = world }

  private var simulation: Simulation { world.simulation }
  private var isOver: Bool { world.plan.ambushInterval == nil || world.chaos.isOver }

  func begin() {
    guard let interval = world.plan.ambushInterval else { return }
    if let plan = world.plan.ambush, ambush == nil {
      world.trace.note("ambushes for \(plan)")
      ambush = draw()
    }
    simulation.at(simulation.now + simulation.random.around(interval)) { [self] in
      if isOver { return }
      if !(ambush?.isLasting ?? false) { ambush = draw() }
      begin()
    }
  }

  private func draw() -> Ambush {
    let home = world.plan.groups[0].home
    let sites = Array(world.hosts.indices)
    func anyOther(than site: Int) -> Int {
      let others = sites.filter { $0 != site }
      return others.count == 1 ? others[0] : simulation.random.pick(others)
    }
    if let plan = world.plan.ambush { return lay(plan, home, peer: anyOther(than: home)) }
    switch simulation.random.below(4) {
    case 0...1 where !world.plan.isFrail:
      // The peer has begun a segment and has no record of it; the site may lose it whole.
      return Ambush(
        moment: .segmentBegun, site: anyOther(than: home), passes: simulation.random.below(3),
        victims: [home], separates: true, delay: 1_000...(.milliseconds(30)),
        isAfterDurable: true, isLasting: true)
    case 0...1:
      // The peer holds whole segments for durable that the site may lose.
      return Ambush(
        moment: .sidecarWritten, site: anyOther(than: home), passes: simulation.random.below(3),
        victims: [home], separates: false, delay: 1_000...(.milliseconds(30)))
    default:
      let site = simulation.random.below(sites.count)
      return Ambush(
        moment: simulation.random.pick(Ambush.Moment.drawn), site: site,
        passes: simulation.random.below(4),
        victims: simulation.random.pick([[site], [anyOther(than: site)], sites]),
        separates: simulation.random.chance(0.3), delay: 1_000...(.milliseconds(30)))
    }
  }

  private func lay(_ plan: AmbushPlan, _ home: Int, peer: Int) -> Ambush {
    let passes = simulation.random.below(3)
    let soon: ClosedRange<UInt64> = 1_000...100_000
    return switch plan {
    case .forkedSegment:
      Ambush(
        moment: .segmentBegun, site: peer, passes: passes, victims: [home],
        fault: .bareCrash(writesBack: false), separates: true, delay: soon, isAfterDurable: true,
        isLasting: true)
    case .emptiedSegment:
      Ambush(
        moment: .sidecarWritten, site: peer, passes: passes, victims: [home],
        fault: .bareCrash(writesBack: false), separates: false, delay: soon)
    case .lostSync:
      Ambush(
        moment: .recordsWritten, site: home, passes: passes, victims: [home], fault: .lostSync,
        separates: false, delay: soon)
    case .slowCopy:
      Ambush(
        moment: .copyBegun, site: peer, passes: 0, victims: [], fault: .slowNetwork,
        separates: false, delay: soon, isLasting: true)
    }
  }

  // MARK: Moments

  func wrote(_ path: String, _ offset: Int, _ bytes: [UInt8], at host: SiteHost) {
    guard let lying = ambush, lying.site == host.index, !isOver,
      lying.moment == Ambush.Moment(path, offset, bytes)
    else { return }
    if lying.isAfterDurable, !beginsAfterDurable(path, bytes) { return }
    if lying.passes > 0 {
      ambush?.passes -= 1
      return
    }
    spring(lying, path, at: host)
  }

  /// Apply saves for a branch what it is about to overwrite.
  func saved(at host: SiteHost) {
    guard let interval = world.plan.branches?.cutOneIn, !world.chaos.isOver,
      simulation.random.below(interval) == 0
    else { return }
    crash([host.index], in: 1_000...(.milliseconds(2)), after: "saving for a branch")
  }

  /// A full copy to the site begins.
  func copyBegan(_ host: SiteHost) {
    guard let lying = ambush, lying.moment == .copyBegun, lying.site == host.index, !isOver else {
      return
    }
    spring(lying, "", at: host)
  }

  private func spring(_ lying: Ambush, _ path: String, at host: SiteHost) {
    ambush = nil
    if lying.separates { world.chaos.separate(.milliseconds(20)...(.seconds(2))) }
    let what = "\(lying.moment) at \(host.name)"
    switch lying.fault {
    case .crash: crash(lying.victims, in: lying.delay, after: what)
    case .bareCrash(let writesBack):
      if writesBack { host.machine.writeBack(path) }
      crash(lying.victims, in: lying.delay, after: what, keepsSome: false)
    case .lostSync: world.chaos.loseSync(of: host)
    case .slowNetwork: world.chaos.slowNetwork()
    }
  }

  private func beginsAfterDurable(_ path: String, _ bytes: [UInt8]) -> Bool {
    guard let group = world.groups.first(where: { path.contains("/\($0.name)/") }),
      let header = try? SegmentHeader(decoding: bytes)
    else { return false }
    return group.protected.durableFloor >= header.firstSequence.rawValue - 1
  }

  /// The site drops what its peer has lost. A crash when the first segment in its place begins is a
  /// hard one.
  func wentBack(_ host: SiteHost) {
    if isOver { return }
    let isPlanned = world.plan.ambush == .emptiedSegment
    ambush = Ambush(
      moment: .segmentBegun, site: host.index, passes: 0, victims: [host.index],
      fault: isPlanned ? .bareCrash(writesBack: true) : .crash, separates: false,
      delay: 1_000...(isPlanned ? 2_000 : .milliseconds(1)), isLasting: true)
  }

  /// The site has written down that its peer is ahead of it. It may lose what it has not, and write
  /// much before the two meet again.
  func fellBehind(_ host: SiteHost) {
    if isOver || simulation.random.chance(0.3) { return }
    world.chaos.separate(.seconds(1)...(.seconds(6)))
    crash([host.index], in: .milliseconds(1)...(.milliseconds(100)), after: "falling behind")
  }

  /// A client has opened a group there. What the site promised with that must outlive it, and it
  /// asks again as soon as the site is back: its peer is away, or its clock shows less than before.
  func opened(_ host: SiteHost, _ role: Role, again: @escaping () -> Void) {
    guard !world.chaos.isOver, simulation.random.chance(0.1) else { return }
    if role.isRecovery {
      world.chaos.separate(.seconds(1)...(.seconds(6)))
    } else {
      world.chaos.jumpClock(host, by: -Int64(simulation.random.below(60_000)) * 1_000_000)
    }
    crash([host.index], in: 1_000...(.milliseconds(100)), after: "opening a view")
    again()
  }

  private func crash(
    _ victims: [Int], in delay: ClosedRange<UInt64>, after what: String, keepsSome: Bool = true
  ) {
    let isKill = keepsSome && simulation.random.chance(0.1)
    simulation.at(simulation.now + simulation.random.pick(logarithmic: delay)) { [self] in
      if world.chaos.isOver { return }
      world.trace.note("fault: a crash after \(what)")
      for victim in victims.map({ world.hosts[$0] }) where victim.state != .down {
        if isKill { victim.kill() } else { victim.cutPower(keepsSome: keepsSome) }
        victim.startLater()
      }
    }
  }

  /// The site is started again after a failed sync. Nothing may come to depend on what has not
  /// reached the disk then, and a power cut shows whether it has.
  func restartsAfterFailedSync(_ host: SiteHost) {
    if world.plan.ambush == .lostSync { return }
    guard !world.chaos.isOver, simulation.random.chance(0.8) else { return }
    let delay = simulation.random.pick(logarithmic: .milliseconds(50)...(.seconds(4)))
    simulation.at(simulation.now + delay) { [self] in
      guard !world.chaos.isOver, host.state != .down else { return }
      world.trace.note("fault: a power cut after a failed sync")
      host.cutPower()
      host.startLater()
    }
  }
}
