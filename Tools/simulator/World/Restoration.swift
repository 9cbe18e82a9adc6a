import BlockModel
import Journal
import NBDProtocol
import SystemIO

/// Puts an older copy of the protected site's disk in place of the one its peer knows, and sees
/// to it that the two sites say so, that the peer keeps all that it has until somebody decides, and
/// that both agree again afterwards.
final class Restoration {
  /// A machine's disk, and the records in it by group.
  private struct Copy {
    let disk: DiskCopy
    let records: [[Record]]
  }

  private unowned let world: World
  private let plan: RestorationPlan
  private let host: SiteHost
  private let wait: (String, () -> Bool) -> Void
  private let isConverged: (Int) -> Bool
  private let hasDiverged: (Int) -> Bool

  init(
    _ plan: RestorationPlan, _ world: World, wait: @escaping (String, () -> Bool) -> Void,
    isConverged: @escaping (Int) -> Bool, hasDiverged: @escaping (Int) -> Bool
  ) {
    self.plan = plan
    self.world = world
    self.wait = wait
    self.isConverged = isConverged
    self.hasDiverged = hasDiverged
    host = world.site(of: 0, .protected)
  }

  /// On the director's thread, when all groups are in step and nobody writes.
  func run() {
    world.trace.note("restoration: \(plan.taken), then \(plan.wayOut)")
    if plan.taken != .running { end(kill: plan.taken == .afterKill) }
    let older = take()
    start()
    awaitStep()
    work()
    awaitStep()
    // What is durable here is told to the peer, and written down there.
    Thread.sleep(milliseconds: 3_000)
    awaitStep()
    end(kill: world.simulation.random.chance(0.5))
    let newer = take()
    put(older)
    start()
    let forked = world.groups.indices.filter {
      newer.records[$0].count > older.records[$0].count
    }
    work(mayStall: true)
    for group in forked { wait("divergence of group \(group)") { hasDiverged(group) } }
    switch plan.wayOut {
    case .discard:
      for group in forked {
        world.groups[group].isDiverged = false
        world.groups[group].isGivenUp = true
      }
      host.inspector?.discards = forked
    case .original:
      end(kill: world.simulation.random.chance(0.5))
      put(newer)
      for group in forked { world.groups[group].isDiverged = false }
      start()
    }
    awaitStep()
    world.trace.note("restoration: in step again")
  }

  // MARK: The machine

  private func end(kill: Bool) {
    if kill { host.kill() } else { host.stop() }
    // Not `wait`, which starts what is down.
    while host.state != .down { Thread.sleep(milliseconds: 20) }
  }

  private func start() {
    host.start()
    wait("start of \(host.name)") { host.isServing }
  }

  private func take() -> Copy {
    Copy(
      disk: host.machine.copyDisk(), records: world.groups.map { $0.protected.line.records })
  }

  private func put(_ copy: Copy) {
    world.trace.note("restoration: the disk of \(host.name) is another")
    for (group, records) in zip(world.groups, copy.records) {
      if group.protected.line.count > records.count { group.isDiverged = true }
      group.protected.restored(records)
    }
    host.restoreDisk(copy.disk)
  }

  // MARK: What is asked of the sites

  private func awaitStep() {
    for group in world.groups.indices { wait("group \(group)") { isConverged(group) } }
  }

  /// A few writes to each group, each acknowledged before the next.
  ///
  /// - Parameter mayStall: the journal may be full of what the peer may not have, and nobody
  ///   asks it before an operator has decided.
  private func work(mayStall: Bool = false) {
    var isDone = false
    world.clientMachine.start("work") { [self] in
      for group in world.groups.indices {
        do throws(ClientError) { try write(to: group) } catch {
          world.trace.note("a write after a restoration: \(error)")
          if !mayStall { world.groups[group].violation("a write after a restart: \(error)") }
        }
      }
      isDone = true
    }
    while !isDone { Thread.sleep(milliseconds: 5) }
  }

  private func write(to group: Int) throws(ClientError) {
    let oracle = world.groups[group]
    let client = try NBDClient(
      world.plan.nbdAddress(host.index), export: oracle.disks[0].name,
      structured: true)
    defer { client.close() }
    for _ in 0..<world.simulation.random.pick([1, 3, 8]) {
      let number = world.nextRequestNumber()
      let offset = world.simulation.random.below(client.byteCount / 512) * 512
      let request = ClientRequest(
        number: number, .write, [], disk: 0, offset: offset, length: 512,
        payload: LoadClient.payload(number, 512))
      oracle.protected.sent(request)
      world.statistics.requests += 1
      try client.send(request)
      guard let reply = try client.receive(milliseconds: 25_000) else {
        throw .lost("no reply for long")
      }
      guard reply.error == 0 else { throw .lost("error \(reply.error)") }
      oracle.protected.acknowledged(request)
    }
  }
}
