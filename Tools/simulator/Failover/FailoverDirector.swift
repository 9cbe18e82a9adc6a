import Appliance
import BlockModel
import SystemIO

/// Takes a `FailoverWorld` through its run: a first copy, load and faults and commands, then
/// healing and a decision, and then the question whether everything is where it should be.
final class FailoverDirector {
  private static let healingLimit: UInt64 = .seconds(200)

  private unowned let world: FailoverWorld
  private let faults: FailoverFaults

  init(_ world: FailoverWorld) {
    self.world = world
    faults = FailoverFaults(world)
  }

  /// A thread of the director's process.
  func run() {
    for site in world.sites { site.start() }
    wait("a first copy") { isConverged }
    startClients()
    faults.begin()
    Thread.sleep(milliseconds: world.plan.chaosNanoseconds / 1_000_000)
    world.trace.note("faults end")
    faults.end()
    if world.simulation.random.chance(0.5) { waitForFence() }
    world.isQuiet = true
    wait("clients") { world.clientsLeft == 0 }
    decide()
    wait("the end") {
      giveUpParked()
      return isConverged
    }
    world.trace.note("both sites are in step")
    compare()
    stop()
  }

  private func startClients() {
    let operators = FailoverOperator(world, faults)
    world.clientMachine.start("load") { [world] in
      let count = world.plan.load.connectionCount
      world.clientsLeft = count + world.plan.readerCount + 1
      for number in 0..<count {
        _ = Thread(name: "client") { FailoverClient(number, world).run() }
      }
      for _ in 0..<world.plan.readerCount {
        _ = Thread(name: "reader") { InstantReader.run(world) }
      }
      _ = Thread(name: "operator") { operators.run() }
      while world.clientsLeft > 0 { Thread.sleep(milliseconds: 100) }
    }
    while world.clientsLeft == 0 { Thread.sleep(milliseconds: 1) }
  }

  private func wait(_ what: String, until condition: () -> Bool) {
    let limit = world.simulation.now + Self.healingLimit
    while !condition() {
      Thread.sleep(milliseconds: 20)
      for site in world.sites where site.state == .down { site.start() }
      if world.simulation.now > limit {
        world.violation("\(what): not in step long after all faults have ended: \(situation)")
      }
    }
  }

  private var situation: String {
    world.sites.map { site in
      let status = site.status
      let marks = status.map {
        "\($0.duty ?? "") by term \($0.term ?? 0), \($0.watermarks), link "
          + "\($0.links?.first?.state ?? $0.link?.state ?? "none")"
      }
      return "\(site.name) (\(site.state)): \(marks ?? "closed"): \(status?.health ?? "")"
    }.joined(separator: "; ")
  }

  private var pending: FailoverSite? { world.sites.first { $0.oracle.ownership.isPending } }
  private var owners: [FailoverSite] { world.sites.filter { $0.oracle.ownership.isOwner } }

  /// Where one has taken over and the other owns still, the two must meet.
  private func waitForFence() {
    guard owners.count == 2 else { return }
    let sites = world.sites
    let lives = sites.map(\.life)
    wait("a fence") {
      owners.count < 2 || sites.map(\.life) != lives
        || sites.contains { $0.oracle.fencedSince != nil }
    }
  }

  /// What is pending is decided by somebody, or by itself.
  private func decide() {
    let operators = FailoverOperator(world, faults)
    let limit = world.simulation.now + Self.healingLimit
    while let site = pending {
      if world.simulation.now > limit {
        world.violation("a failover cannot be decided: \(situation)")
      }
      var isDone = false
      if site.isServing {
        world.clientMachine.start("decision") {
          operators.decide(at: site)
          isDone = true
        }
        while !isDone { Thread.sleep(milliseconds: 5) }
      }
      Thread.sleep(milliseconds: 50)
    }
  }

  /// What an owner has lost, its peer may have applied: then only a full copy helps, and somebody
  /// has to say that it may take away what is parked. So it is where that is built on what would
  /// leave for another owner.
  private func giveUpParked() {
    let operators = FailoverOperator(world, faults)
    for site in world.sites where site.isServing {
      let ownership = site.oracle.ownership
      let mustCopy = ownership.isFollower && world.oracle.lossCount > 0
      let names = site.obstacles.intersection(ownership.required)
      guard mustCopy || ownership.isObstructed, !names.isEmpty else { continue }
      site.obstacles = []
      var isDone = false
      world.clientMachine.start("decision") {
        for name in names.sorted() { operators.delete(name, at: site) }
        isDone = true
      }
      while !isDone { Thread.sleep(milliseconds: 5) }
    }
  }

  /// One owns, the other follows and has everything.
  private var isConverged: Bool {
    guard world.sites.allSatisfy({ $0.isServing && $0.showsParked }), owners.count == 1,
      pending == nil,
      let owner = owners.first, let here = owner.status
    else { return false }
    let follower = world.sites[1 - owner.index]
    guard let there = follower.status, here.journal != nil, there.journal != nil else {
      return false
    }
    let count = UInt64(owner.oracle.line.count)
    let marks = [here.watermarks.durable, there.watermarks.durable]
    let link = here.links?.first ?? here.link
    return marks == [count, count] && link?.state == "connected" && link?.peerDurable == count
      && follower.oracle.ownership.state?.baseline == .complete && here.fenced == nil
      && follower.instants?.end ?? .zero >= owner.oracle.line.lastTimestamp
  }

  // MARK: The end

  private func compare() {
    guard let owner = owners.first else { return }
    let follower = world.sites[1 - owner.index]
    if owner.oracle.tip !== follower.oracle.tip {
      world.violation("the sites are in step and have different records")
    }
    var isDone = false
    world.clientMachine.start("comparison") { [self] in
      do throws(ClientError) {
        let line = owner.oracle.line
        try InstantReader(owner, world).readLive(line, under: "")
        do throws(ClientError) {
          try InstantReader(follower, world).readLive(line, under: "@latest")
        } catch {
          // Its newest instant may be one at which the group changed hands.
          guard case .refused(let why) = error, Self.mayRefuse(why) else { throw error }
        }
        for site in world.sites {
          let reader = InstantReader(site, world)
          for _ in 0..<3 {
            // It may have left the history since the site was asked.
            do throws(ClientError) { try reader.readInstant() } catch {
              guard case .refused(let why) = error, Self.mayRefuse(why) else {
                throw error
              }
            }
          }
          for name in site.oracle.ownership.required.sorted() {
            guard let parked = site.oracle.ownership.parked[name],
              !site.oracle.ownership.deleted.contains(name)
            else { continue }
            // Apply may just come to what has no room any more.
            do throws(ClientError) { try reader.readParked(name, parked) } catch {
              guard case .refused(let why) = error, why.contains("had to be saved") else {
                throw error
              }
            }
          }
        }
      } catch { world.violation("in the end something cannot be read: \(error)") }
      isDone = true
    }
    while !isDone { Thread.sleep(milliseconds: 5) }
  }

  private static func mayRefuse(_ why: String) -> Bool {
    why.contains("outside of the history") || why.contains("is in a gap of the history")
  }

  /// After an orderly stop the raw files are what the state file says.
  private func stop() {
    for site in world.sites { site.stop() }
    while world.sites.contains(where: { $0.state != .down }) { Thread.sleep(milliseconds: 20) }
    for site in world.sites { site.checkBases() }
  }
}
