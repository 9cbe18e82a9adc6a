import Appliance
import BlockModel
import SystemIO

/// Takes a world through its run: load and faults, then healing, and then the question whether
/// everything is where it should be.
final class Director {
  /// In virtual time. A stalled connection is given up after 15 s; after that little is to be done.
  private static let healingLimit: UInt64 = .seconds(150)

  private unowned let world: World
  private var chaos: Chaos { world.chaos }

  init(_ world: World) { self.world = world }

  /// A thread of the director's process.
  func run() {
    for host in world.hosts { host.start() }
    startClients()
    chaos.begin()
    world.ambushes.begin()
    world.indexChaos.begin()
    passChaos()
    world.trace.note("faults end")
    chaos.end()
    world.indexChaos.end()
    Thread.sleep(milliseconds: UInt64(world.simulation.random.below(500)))
    world.isQuiet = true
    wait("clients") { world.clientsLeft == 0 }
    if let orders = world.plan.diskOrders { finish(orders) }
    for group in world.groups.indices where world.groups[group].hasExchanged { settle(group) }
    for group in world.groups.indices { wait("group \(group)") { isConverged(group) } }
    world.trace.note("all sites are in step")
    if let plan = world.plan.restoration, !world.isDamaged {
      Restoration(
        plan, world, wait: wait(_:until:), isConverged: isConverged, hasDiverged: hasDiverged
      ).run()
    }
    checkRest()
    if world.simulation.random.chance(0.1) { checkSilence() }
    for group in world.groups.indices where world.groups[group].hasExchanged { lookBack(group) }
    for group in world.groups.indices { compareWhole(group) }
    stopAndCompare()
  }

  /// The time in which faults happen, and the orders of those who run the sites.
  private func passChaos() {
    let milliseconds = world.plan.chaosNanoseconds / 1_000_000
    for exchange in world.plan.exchange?.exchanges ?? [] {
      Thread.sleep(milliseconds: UInt64(Double(milliseconds) * exchange.after))
      RoleExchange(exchange, world).run()
    }
    let isExchanged = world.plan.exchange != nil
    guard let orders = world.plan.diskOrders?.orders else {
      return Thread.sleep(milliseconds: isExchanged ? milliseconds / 4 : milliseconds)
    }
    var versions = [0, 0]
    for order in orders {
      Thread.sleep(milliseconds: milliseconds / UInt64(orders.count))
      versions[order.site] += 1
      world.changeDisks(at: order.site, to: versions[order.site])
      follow(order)
    }
    Thread.sleep(milliseconds: milliseconds / 4)
  }

  /// The site starts with another list of disks.
  private func follow(_ order: DiskOrders.Order) {
    let host = world.hosts[order.site]
    switch order.ending {
    case .stop: if host.isServing { return chaos.restart(host) }
    case .kill: host.kill()
    case .powerCut: host.cutPower()
    }
    host.startLater()
  }

  /// Both sites have the last list.
  private func finish(_ orders: DiskOrders) {
    let sites = [world.site(of: 0, .recovery(0)), world.site(of: 0, .protected)]
    restart(sites[0], with: orders.wholeVersion)
    restart(sites[1], with: orders.finalVersion)
    for group in world.groups.indices { wait("the disks of group \(group)") { isConverged(group) } }
    restart(sites[0], with: orders.finalVersion)
  }

  private func restart(_ host: SiteHost, with version: Int) {
    world.changeDisks(at: host.index, to: version)
    if host.version != version { host.stop() }
    wait("the disks of \(host.name)") { host.isServing && host.version == version }
  }

  /// After an exchange of roles each site may have what the other lacks. Then both say so, and
  /// somebody decides.
  private func settle(_ group: Int) {
    let oracle = world.groups[group]
    wait("the end of group \(group)") {
      hasDiverged(group) || !oracle.isSplit && isConverged(group)
    }
    guard hasDiverged(group) else { return }
    guard oracle.isAhead else { oracle.violation("the sites say that they have diverged") }
    world.statistics.divergences += 1
    oracle.giveUp()
    world.site(of: group, .protected).inspector?.discards = [group]
    wait("group \(group), given up") { isConverged(group) }
  }

  /// Groups that nobody writes to get no records, once the last write has its checkpoint.
  private func checkRest() {
    func counts() -> [Int] { world.groups.map(\.protected.line.count) }
    Thread.sleep(milliseconds: 1_500)
    let before = counts()
    Thread.sleep(milliseconds: 2_000)
    if counts() != before {
      world.violation("idle groups get records: \(before), and then \(counts())")
    }
    for group in world.groups.indices { wait("group \(group)") { isConverged(group) } }
  }

  /// A peer that is connected and says nothing: long enough for `Inspector` to ask what people are
  /// told of it, and too short for the connection to be given up.
  private func checkSilence() {
    let owner = world.site(of: 0, .protected)
    let peer = world.receivers(of: 0)[world.receivers(of: 0).count - 1]
    world.simulation.network.partition(from: peer.name, to: owner.name)
    Thread.sleep(milliseconds: 13_500)
    world.simulation.network.heal()
    for group in world.groups.indices { wait("group \(group)") { isConverged(group) } }
  }

  private func startClients() {
    world.clientMachine.start("load") { [world] in
      let clients = (0..<world.plan.load.connectionCount).map { LoadClient($0, world) }
      let viewers = (0..<world.plan.viewerCount).map { Viewer($0, world) }
      let branchers = (0..<(world.plan.branches?.brancherCount ?? 0)).compactMap { number in
        world.plan.branches.map { Brancher(number, $0, world) }
      }
      world.clientsLeft = clients.count + viewers.count + branchers.count
      for client in clients { _ = Thread(name: "client") { client.run() } }
      for viewer in viewers { _ = Thread(name: "viewer") { viewer.run() } }
      for brancher in branchers { _ = Thread(name: "brancher") { brancher.run() } }
      while world.clientsLeft > 0 { Thread.sleep(milliseconds: 100) }
    }
    while world.clientsLeft == 0 { Thread.sleep(milliseconds: 1) }
  }

  private func wait(_ what: String, until condition: () -> Bool) {
    let limit = world.simulation.now + Self.healingLimit
    while !condition() {
      Thread.sleep(milliseconds: 20)
      for host in world.hosts where host.state == .down {
        if host.isDamaged, let refusal = host.refusal { world.endDamaged(refusal) }
        host.start()
      }
      if world.isDamaged, world.simulation.now > limit - Self.healingLimit / 4 * 3, let problem {
        world.endDamaged(problem)
      }
      guard world.simulation.now < limit else {
        world.violation("\(what): not in step long after all faults have ended: \(situation())")
      }
    }
  }

  /// Clocks come right long after all else.
  private static func isWell(_ status: GroupStatus) -> Bool {
    (status.conditions ?? []).allSatisfy {
      $0.severity == "info" || $0.code == ConditionCode.clockStepped.rawValue
        || $0.code == ConditionCode.groupReopened.rawValue
    }
  }

  /// What some site says is wrong with it, if there is something.
  private var problem: String? {
    world.hosts.lazy.compactMap { host in
      host.refusal
        ?? host.inspector?.statuses.first { !Self.isWell($0) || $0.link?.state == "waiting" }
        .map { "\(host.name): \($0.name): \($0.health)" }
    }.first
  }

  private func situation() -> String {
    world.hosts.map { host in
      let groups = host.inspector?.statuses.map { status in
        "\(status.name): \(status.health), \(Self.text(status.watermarks)), "
          + "\(status.history?.openViews ?? 0) views, \(status.journal?.segments ?? 0) segments in "
          + "\(status.journal?.usedBytes ?? 0) of \(status.journal?.capacityBytes ?? 0) bytes"
      }
      return "\(host.name) (\(host.state)): \(groups ?? [])"
    }.joined(separator: "; ")
  }

  /// Both sites of the group say that each has what the other lacks.
  private func hasDiverged(_ group: Int) -> Bool {
    let name = world.groups[group].name
    return [Role.protected, .recovery(0)].allSatisfy { role in
      let host = world.site(of: group, role)
      guard host.isServing else { return false }
      let status = host.inspector?.statuses.first { $0.name == name }
      return status?.link?.state == "diverged" && status?.health != "ok"
    }
  }

  private static func text(_ marks: WatermarkStatus) -> String {
    let peer = marks.peerReceived.map {
      ", peer \($0) ≥ \(marks.peerDurable ?? 0) ≥ \(marks.peerApplied ?? 0)"
    }
    return "\(marks.stamped) ≥ \(marks.appended) ≥ \(marks.durable) ≥ \(marks.applied)\(peer ?? "")"
  }

  /// Both sites serve, the peer has everything and could take over.
  private func isConverged(_ group: Int) -> Bool {
    let name = world.groups[group].name
    func status(_ host: SiteHost) -> GroupStatus? {
      guard host.isServing else { return nil }
      return host.inspector?.statuses.first { $0.name == name }
    }
    let receivers = world.receivers(of: group)
    let there = receivers.compactMap(status)
    guard let here = status(world.site(of: group, .protected)), there.count == receivers.count
    else { return false }
    // A failure of apply is told until the next step, which may be far off; what a failed sync has
    // cost, as long as the group is open.
    let isWell = ([here] + there).allSatisfy {
      Self.isWell($0) || $0.health.hasPrefix("apply is stopped")
        || $0.health.contains("were lost with the failed journal")
    }
    let owner = world.site(of: group, .protected).index
    let names = world.plan.disks(of: world.plan.groups[group], at: owner).map(\.name)
    guard world.groups[group].hasSettled(on: names) else { return false }
    let durable = UInt64(world.groups[group].protected.line.count)
    let isThere = (here.links ?? []).allSatisfy {
      $0.state == "connected" && $0.peerDurable == durable
    }
    return isWell && isThere && here.links?.count == receivers.count
      && here.watermarks.durable == durable
      && there.allSatisfy { $0.watermarks.durable == durable }
  }

  // MARK: The end

  /// Roles were exchanged: what was seen before at either site can be opened there again.
  private func lookBack(_ group: Int) {
    world.groups[group].isInStep()
    for host in world.hosts { Viewer(world.nextViewerNumber(), world).lookBack(host, group) }
    wait("a look back") { world.clientsLeft == 0 }
  }

  /// Reads the live disks, and the last instant at the recovery sites.
  private func compareWhole(_ group: Int) {
    let oracle = world.groups[group]
    for recovery in oracle.recoveries where !oracle.protected.line.agrees(with: recovery.line) {
      oracle.violation("the sites are in step and have different records")
    }
    oracle.checkKept()
    var isDone = false
    world.clientMachine.start("comparison") { [self] in
      for disk in oracle.present {
        let name = oracle.disks[disk].name
        let live = contents(of: name, at: world.site(of: group, .protected), oracle)
        let expected = oracle.protected.line.disks(after: oracle.protected.line.count)[disk].bytes
        if let difference = oracle.difference(
          of: live, from: expected, disk: disk, at: 0, .protected)
        {
          oracle.violation("in the end \(name) is wrong: \(difference)")
        }
        for number in oracle.recoveries.indices {
          let role = Role.recovery(number)
          let there = contents(of: "\(name)@latest", at: world.site(of: group, role), oracle)
          if let difference = oracle.difference(
            of: there, from: expected, disk: disk, at: 0, role)
          {
            oracle.violation("in the end \(name) is wrong at the recovery site: \(difference)")
          }
        }
      }
      isDone = true
    }
    while !isDone { Thread.sleep(milliseconds: 5) }
  }

  private func contents(of export: String, at host: SiteHost, _ oracle: GroupOracle) -> [UInt8] {
    do throws(ClientError) {
      let client = try NBDClient(
        world.plan.nbdAddress(host.index), export: export, structured: true)
      defer { client.close() }
      let request = ClientRequest(
        number: world.nextRequestNumber(), .read, [], disk: 0, offset: 0, length: client.byteCount)
      try client.send(request)
      guard let reply = try client.receive(milliseconds: 10_000), reply.error == 0 else {
        if host.isDamaged { world.endDamaged("\(export) cannot be read") }
        oracle.violation("in the end \(export) cannot be read")
      }
      return reply.data
    } catch {
      if host.isDamaged { world.endDamaged("\(export) cannot be read: \(error)") }
      oracle.violation("in the end \(export) cannot be read: \(error)")
    }
  }

  /// After an orderly stop the raw files of a protected group are the whole, current disks.
  private func stopAndCompare() {
    // The sender first: its peer then has everything.
    for host in world.hosts { host.stop() }
    while world.hosts.contains(where: { $0.state != .down }) { Thread.sleep(milliseconds: 20) }
    for group in world.groups.indices {
      // Where something is damaged, it may not all be applied.
      let count = world.isDamaged ? nil : world.groups[group].protected.line.count
      world.site(of: group, .protected).compareBases(of: group, with: count)
      for receiver in world.receivers(of: group) { receiver.compareBases(of: group) }
    }
  }
}
