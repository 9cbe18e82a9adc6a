import Appliance
import BlockModel
import SystemIO

/// Makes branches of groups, one after the other, at both sites; writes to each for a while, and
/// stops it.
final class Brancher: @unchecked Sendable {
  private static let patience: UInt64 = .seconds(100)

  private unowned let world: World
  private let plan: BranchPlan
  private let name: String
  private var random: SimulationRandom {
    get { world.simulation.random }
    set { world.simulation.random = newValue }
  }

  init(_ number: Int, _ plan: BranchPlan, _ world: World) {
    self.world = world
    self.plan = plan
    // Each branch of a brancher has the name of the one before it.
    name = "t\(number)"
  }

  /// A thread of the clients' process.
  func run() {
    while !world.isQuiet {
      Thread.sleep(milliseconds: UInt64(20 + random.below(400)))
      let host = world.hosts[random.below(world.hosts.count)]
      let group = random.below(world.groups.count)
      guard host.isServing else { continue }
      guard let branch = start(group, host) else { continue }
      live(branch)
    }
    world.clientsLeft -= 1
  }

  // MARK: Starting

  /// Nil: there is none.
  private func start(_ group: Int, _ host: SiteHost) -> DrivenBranch? {
    let oracle = world.groups[group]
    let role = world.role(of: group, at: host.index)
    let request = request(group, host, role)
    let served = oracle.name
    world.trace.note("brancher \(name): starts \(request.at ?? "") of \(oracle.name)")
    let answer = host.order(world) { site in
      Result { () throws(SiteError) in try site.startTest(group: served, request) }
    }
    switch answer {
    case .failure(let error):
      world.trace.note("brancher \(name): not started: \(error)")
      world.statistics.refusedBranches += 1
      checkRefusal(error, of: host, oracle)
      return nil
    case .success(let status): return adopt(status, group, host)
    case nil:
      // Its start may have come as far as that.
      guard let status = lookup(host, after: "a start") else { return nil }
      return adopt(status, group, host)
    }
  }

  private func request(_ group: Int, _ host: SiteHost, _ role: Role) -> TestRequest {
    let oracle = world.groups[group]
    let seconds: Double? =
      random.chance(plan.timedShare) ? Double(1 + random.below(6_000)) / 1_000 : nil
    let at: String
    let known = host.inspector?.instants[group]
    switch random.below(10) {
    case 0...1: at = "-\(1 + random.below(900))ms"
    case 2...3:
      at = known?.tags.isEmpty == false ? "checkpoint:\(random.pick(known?.tags ?? []))" : "latest"
    case 4...5:
      let seen = oracle.seenInstants(role) + world.branchInstants(of: group, host)
      at = seen.isEmpty ? "latest" : "\(random.pick(seen))"
    default: at = "latest"
    }
    return TestRequest(
      name: name, at: at, seconds: seconds, limitBytes: random.pick(plan.byteLimits))
  }

  private func checkRefusal(_ error: SiteError, of host: SiteHost, _ oracle: GroupOracle) {
    let why = "\(error)"
    if why.contains("there is a test") || why.contains("timed out") {
      oracle.violation("test \(name) cannot be started: \(why)")
    }
  }

  /// The test as the site lists it once it serves again; nil: it has none of this name.
  private func lookup(_ host: SiteHost, after what: String) -> TestStatus? {
    let limit = world.simulation.now + Self.patience
    while world.simulation.now < limit {
      Thread.sleep(milliseconds: 20)
      guard host.isServing else { continue }
      // Of a group that is closed, nobody knows which there are.
      guard case let tests?? = host.order(world, { site in Self.tests(of: site) }) else { continue }
      return tests.first { $0.name == name }
    }
    world.violation("nobody knows what has become of test \(name) at \(host.name) after \(what)")
  }

  /// Nil while a group is closed.
  private static func tests(of site: Site) -> [TestStatus]? {
    let isOpen = site.status().groups.allSatisfy { $0.closed == nil }
    let tests = site.tests()
    return isOpen ? tests : nil
  }

  private func adopt(_ status: TestStatus, _ group: Int, _ host: SiteHost) -> DrivenBranch {
    world.trace.note("brancher \(name): \(status.name) at \(status.instant) is \(status.state)")
    world.statistics.branches += 1
    let branch = DrivenBranch(status, group, host, world)
    world.branches.append(branch)
    return branch
  }

  // MARK: Using

  private func live(_ branch: DrivenBranch) {
    defer { world.branches.removeAll { $0 === branch } }
    var trouble: (since: UInt64, what: String)?
    while true {
      let isLast = world.isQuiet
      guard branch.host.isServing else {
        Thread.sleep(milliseconds: 5)
        continue
      }
      do throws(ClientError) {
        try BranchSession(branch, plan, world).run(isLast: isLast)
        trouble = nil
        if isLast || random.below(plan.sessions) == 0, stop(branch) { return }
        Thread.sleep(milliseconds: UInt64(random.below(300)))
      } catch {
        world.trace.note("brancher \(name): \(error)")
        if case .wrong(let what) = error { branch.violation(what) }
        if isOver(branch) { return }
        let since = isLast ? trouble?.since ?? world.simulation.now : world.simulation.now
        trouble = (since, "\(error)")
        if world.simulation.now - since > Self.patience {
          branch.violation("it cannot be used long after all faults have ended: \(error)")
        }
        Thread.sleep(milliseconds: UInt64(1 + random.below(100)))
      }
    }
  }

  /// It has ended by itself, or a stop that was under way has come to its end: then it is removed.
  private func isOver(_ branch: DrivenBranch) -> Bool {
    guard branch.host.isServing,
      case let tests?? = branch.host.order(world, { site in Self.tests(of: site) })
    else { return false }
    guard let status = tests.first(where: { $0.name == name }) else {
      if branch.isStopping { return true }
      branch.violation("it is gone")
    }
    guard status.state == "ended" else { return false }
    world.statistics.endedBranches += 1
    branch.checkEnding(status)
    return stop(branch)
  }

  /// False: not yet.
  private func stop(_ branch: DrivenBranch) -> Bool {
    world.trace.note("brancher \(name): stops it")
    branch.isStopping = true
    let name = name
    let answer = branch.host.order(world) { site in
      Result { () throws(SiteError) in try site.stopTest(name, check: nil, parked: false) }
    }
    switch answer {
    case .success?:
      world.trace.note("brancher \(name): stopped")
      return true
    case .failure(let error)?:
      world.trace.note("brancher \(name): not stopped: \(error)")
      Thread.sleep(milliseconds: 50)
      return false
    case nil: return lookup(branch.host, after: "a stop") == nil
    }
  }
}

extension SiteHost {
  private static let patience: UInt64 = .seconds(200)

  /// Has a thread of the site's process do what control would, and waits for it. Nil: the process
  /// has ended meanwhile, or is about to.
  func order<Answer>(_ world: World, _ body: @escaping @Sendable (Site) -> Answer) -> Answer? {
    guard isServing, let inspector else { return nil }
    let life = life
    let answer = Answered<Answer>()
    inspector.order { answer.value = body($0) }
    let limit = world.simulation.now + Self.patience
    while true {
      if let value = answer.value { return value }
      Thread.sleep(milliseconds: 2)
      if self.life != life || state == .down { return nil }
      if world.simulation.now > limit {
        world.violation("site \(name) does not answer a command: \(state)")
      }
    }
  }
}

/// Of one command. Confined to the simulation's thread.
private final class Answered<Value>: @unchecked Sendable {
  var value: Value?
}
