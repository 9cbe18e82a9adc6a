import NBDProtocol
import SystemIO

/// One client's connections to a disk of whichever site serves it under its own name: changes it,
/// reads it, and takes every reply to the oracle.
final class FailoverClient: @unchecked Sendable {
  private struct Outstanding {
    let request: ClientRequest
    let check: ReadCheck?
    let sentAt: UInt64
    /// Of a FLUSH: what it covers.
    let floor: Record?
  }

  private static let patience: UInt64 = .seconds(25)

  private unowned let world: FailoverWorld
  private let number: Int
  private var disk = 0
  private var outstanding: [UInt64: Outstanding] = [:]
  private var nextSend: UInt64 = 0
  /// Writes of this connection that were refused since another site owns the group.
  private var refusals = 0

  init(_ number: Int, _ world: FailoverWorld) {
    self.number = number
    self.world = world
  }

  private var load: LoadPlan { world.plan.load }
  private var now: UInt64 { world.simulation.now }
  private func draw(_ share: Double) -> Bool { world.simulation.random.chance(share) }
  private func draw(below limit: Int) -> Int { world.simulation.random.below(limit) }

  /// A thread of the clients' process.
  func run() {
    while !world.isQuiet {
      let site = world.sites[draw(below: world.sites.count)]
      if site.isServing, !site.oracle.ownership.isFollower || draw(0.02) {
        do throws(ClientError) { try session(site) } catch {
          world.trace.note("client \(number): \(error)")
          if case .wrong(let what) = error { world.violation("client \(number): \(what)") }
        }
        outstanding = [:]
      }
      Thread.sleep(milliseconds: UInt64(5 + draw(below: 60)))
    }
    world.clientsLeft -= 1
  }

  private func session(_ site: FailoverSite) throws(ClientError) {
    disk = draw(below: world.plan.disks.count)
    let name = world.plan.disks[disk].name
    let (opening, wasFollower) = (site.oracle.opening, site.oracle.isOpenToFollow)
    let client = try NBDClient(
      world.plan.nbdAddress(site.index), export: name, structured: draw(0.5))
    defer { client.close() }
    if wasFollower, site.oracle.opening == opening {
      site.oracle.violation("serves \(name) as its own, and follows")
    }
    world.trace.note("client \(number): connected to \(name) at \(site.name)")
    nextSend = now
    refusals = 0
    while !world.isQuiet || !outstanding.isEmpty {
      if !world.isQuiet, outstanding.count < load.depth, now >= nextSend { try send(client, site) }
      let pause = nextSend > now ? (nextSend - now) / 1_000_000 + 1 : 1
      let wait = outstanding.count < load.depth && !world.isQuiet ? min(pause, 50) : 50
      while let reply = try client.receive(milliseconds: outstanding.isEmpty ? 0 : Int32(wait)) {
        try take(reply, site)
        if now >= nextSend { break }
      }
      if outstanding.isEmpty, now < nextSend { Thread.sleep(milliseconds: min(pause, 50)) }
      if let oldest = outstanding.values.map(\.sentAt).min(), now - oldest > Self.patience {
        throw .lost("no reply for long")
      }
      if refusals > 5, draw(0.3) { throw .lost("refused") }
    }
  }

  // MARK: Requests

  private func send(_ client: NBDClient, _ site: FailoverSite) throws(ClientError) {
    let request = makeRequest(site.oracle)
    nextSend = now + world.simulation.random.around(load.meanPause)
    site.oracle.sent(request)
    outstanding[request.number] = Outstanding(
      request: request, check: request.command == .read ? ReadCheck(site.oracle, request) : nil,
      sentAt: now, floor: site.oracle.line.record(Int(request.floor)))
    world.statistics.requests += 1
    world.trace.mix(request.number)
    world.trace.note("client \(number): sends \(request) to \(site.name)")
    try client.send(request)
  }

  private func makeRequest(_ oracle: SiteOracle) -> ClientRequest {
    let kind = Double(draw(below: 1_000)) / 1_000
    let number = world.nextRequestNumber()
    let flush = ClientRequest(number: number, .flush, [], disk: disk, offset: 0, length: 0)
    if kind < load.flushShare { return flush }
    let (offset, length) = makeRange()
    if kind < load.flushShare + load.readShare {
      return ClientRequest(number: number, .read, [], disk: disk, offset: offset, length: length)
    }
    let flags: NBDCommandFlags = draw(load.fuaShare) ? .fua : []
    let isZero = draw(load.zeroShare)
    let request = ClientRequest(
      number: number, isZero ? (draw(0.5) ? .trim : .writeZeroes) : .write, flags, disk: disk,
      offset: offset, length: length,
      payload: isZero ? [] : LoadClient.payload(number, length))
    return oracle.isAmbiguous(request) ? flush : request
  }

  private func makeRange() -> (offset: Int, length: Int) {
    let size = world.plan.disks[disk].byteCount
    let unit = draw(load.unalignedShare) ? 1 : draw(0.8) ? 4096 : 512
    let largest = UInt64(max(1, load.largestBytes / unit))
    let length = min(Int(world.simulation.random.pick(logarithmic: 1...largest)) * unit, size)
    let offset = draw(below: (size - length) / unit + 1) * unit
    return (min(offset, size - length), length)
  }

  // MARK: Replies

  private func take(_ reply: NBDClient.Reply, _ site: FailoverSite) throws(ClientError) {
    guard let answered = outstanding.removeValue(forKey: reply.cookie) else {
      throw .wrong("a reply to #\(reply.cookie), which nobody sent")
    }
    let request = answered.request
    world.trace.mix(reply.cookie)
    world.trace.note("client \(number): reply to \(request): \(reply.error)")
    switch NBDError(rawValue: reply.error) {
    case nil where reply.error == 0:
      if let check = answered.check {
        world.statistics.reads += 1
        check.check(reply.data, of: request)
      } else {
        site.oracle.acknowledged(request, sentAt: answered.sentAt, floor: answered.floor)
      }
    case .notPermitted? where request.changesDisk:
      world.statistics.refusedWrites += 1
      refusals += 1
    case .shutdown?: throw .lost("the group changes hands")
    default: site.oracle.violation("\(request) fails with error \(reply.error)")
    }
  }
}
