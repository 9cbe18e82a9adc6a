import NBDProtocol
import SystemIO

/// One client's connection to one disk: sends requests of all kinds, several at a time, and takes
/// every reply to the oracle. Connects again when it is cut off.
final class LoadClient: @unchecked Sendable {
  private struct Outstanding {
    let request: ClientRequest
    let check: ReadCheck?
    let sentAt: UInt64
  }

  private static let patience: UInt64 = .seconds(25)

  private unowned let world: World
  private let number: Int
  private let group: Int
  private var disk: Int
  private let hotPart: Int
  private var outstanding: [UInt64: Outstanding] = [:]
  private var nextSend: UInt64 = 0

  init(_ number: Int, _ world: World) {
    self.number = number
    self.world = world
    group = world.simulation.random.below(world.groups.count)
    disk = world.simulation.random.below(world.groups[group].disks.firstCount)
    hotPart = world.simulation.random.below(4)
  }

  private var oracle: GroupOracle { world.groups[group] }
  private var load: LoadPlan { world.plan.load }
  private var now: UInt64 { world.simulation.now }

  /// A thread of the clients' process.
  func run() {
    while !world.isQuiet {
      let host = world.site(of: group, .protected)
      guard host.isServing else {
        Thread.sleep(milliseconds: 5)
        continue
      }
      do throws(ClientError) {
        try session(host)
      } catch {
        world.trace.note("client \(number): \(error)")
        if case .wrong(let what) = error { oracle.violation("client \(number): \(what)") }
        outstanding = [:]
        Thread.sleep(milliseconds: UInt64(1 + world.simulation.random.below(100)))
      }
    }
    world.clientsLeft -= 1
  }

  private func session(_ host: SiteHost) throws(ClientError) {
    if !oracle.disks.isFixed {
      let present = oracle.present
      guard !present.isEmpty else { throw .lost("the group has no disk yet") }
      disk = world.simulation.random.pick(present)
    }
    let client = try NBDClient(
      world.plan.nbdAddress(host.index), export: oracle.disks[disk].name,
      structured: world.simulation.random.chance(0.5))
    defer { client.close() }
    oracle.protected.serves(disk)
    world.trace.note("client \(number): connected to \(oracle.disks[disk].name)")
    nextSend = now
    while !world.isQuiet || !outstanding.isEmpty {
      if !world.isQuiet, outstanding.count < load.depth, now >= nextSend {
        if world.plan.isHostile, world.simulation.random.below(20) == 0 { try misbehave(client) }
        try send(client)
      }
      let pause = nextSend > now ? (nextSend - now) / 1_000_000 + 1 : 1
      let wait = outstanding.count < load.depth && !world.isQuiet ? min(pause, 50) : 50
      while let reply = try client.receive(milliseconds: outstanding.isEmpty ? 0 : Int32(wait)) {
        try take(reply)
        if now >= nextSend { break }
      }
      if outstanding.isEmpty, now < nextSend { Thread.sleep(milliseconds: min(pause, 50)) }
      if let oldest = outstanding.values.map(\.sentAt).min(), now - oldest > Self.patience {
        throw .lost("no reply for long")
      }
    }
  }

  // MARK: Requests

  private func send(_ client: NBDClient) throws(ClientError) {
    let request = makeRequest()
    nextSend = now + world.simulation.random.around(load.meanPause)
    if world.simulation.random.below(load.silenceOneIn) == 0 {
      nextSend += UInt64(world.simulation.random.below(1_500)) * 1_000_000
    }
    oracle.protected.sent(request)
    let check = request.command == .read ? ReadCheck(oracle, request) : nil
    outstanding[request.number] = Outstanding(request: request, check: check, sentAt: now)
    world.statistics.requests += 1
    world.trace.mix(request.number)
    world.trace.note("client \(number): sends \(request)")
    try client.send(request)
  }

  private func makeRequest() -> ClientRequest {
    let kind = Double(world.simulation.random.below(1_000)) / 1_000
    let number = world.nextRequestNumber()
    if kind < load.flushShare {
      return ClientRequest(number: number, .flush, [], disk: disk, offset: 0, length: 0)
    }
    let (offset, length) = makeRange()
    if kind < load.flushShare + load.readShare {
      return ClientRequest(
        number: number, .read, [], disk: disk, offset: offset, length: length)
    }
    var flags: NBDCommandFlags = world.simulation.random.chance(load.fuaShare) ? .fua : []
    if world.simulation.random.chance(load.zeroShare) {
      let isTrim = world.simulation.random.chance(0.5)
      if !isTrim, world.simulation.random.chance(0.5) { flags.insert(.noHole) }
      let request = ClientRequest(
        number: number, isTrim ? .trim : .writeZeroes, flags, disk: disk, offset: offset,
        length: length)
      if !oracle.protected.isAmbiguous(request) { return request }
      flags.remove(.noHole)
    }
    let request = ClientRequest(
      number: number, .write, flags, disk: disk, offset: offset, length: length,
      payload: Self.payload(number, length))
    if !oracle.protected.isAmbiguous(request) { return request }
    return ClientRequest(number: number, .flush, [], disk: disk, offset: 0, length: 0)
  }

  /// Sends whole requests and then something else, in one piece, and leaves: the requests may be in
  /// the order, and what follows them may not.
  private func misbehave(_ client: NBDClient) throws(ClientError) {
    var bytes: [UInt8] = []
    for _ in 0..<1 + world.simulation.random.below(4) {
      let request = makeRequest()
      guard request.changesDisk else { continue }
      oracle.protected.sent(request)
      bytes += NBDClient.message(request)
      world.trace.note("client \(number): sends \(request)")
    }
    let ending = HostileEnding.allCases[
      world.simulation.random.below(HostileEnding.allCases.count)]
    world.trace.note("client \(number): ends with \(ending)")
    try client.send(raw: bytes + ending.bytes(disk: disk))
    if world.simulation.random.chance(0.5) {
      Thread.sleep(milliseconds: UInt64(1 + world.simulation.random.below(20)))
    }
    throw .lost("misbehaved")
  }

  private func makeRange() -> (offset: Int, length: Int) {
    let size = oracle.disks[disk].byteCount
    let isUnaligned = world.simulation.random.chance(load.unalignedShare)
    let unit = isUnaligned ? 1 : world.simulation.random.chance(0.8) ? 4096 : 512
    let largest = UInt64(max(1, load.largestBytes / unit))
    let count = Int(world.simulation.random.pick(logarithmic: 1...largest)) * unit
    let length = min(count, size)
    let part = load.isHot ? max(unit, (size - length) / 4) : size - length
    let start = load.isHot ? hotPart * part : 0
    let offset = start + world.simulation.random.below(part / unit + 1) * unit
    return (min(offset, size - length), length)
  }

  /// Hardly two writes are the same, not even in parts: the number of the request is in every 64
  /// bytes of it, its lowest byte first. Some of them can be compressed.
  static func payload(_ number: UInt64, _ length: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: number) | 1, count: length)
    var word = number
    for index in 0..<length {
      if index % 64 < 8 {
        bytes[index] = UInt8(truncatingIfNeeded: number >> UInt64(index % 64 * 8))
      } else if number % 3 != 0 {
        word = word &* 0x5851_F42D_4C95_7F2D &+ 0x1405_7B7E_F767_814F
        bytes[index] = UInt8(truncatingIfNeeded: word >> 56)
      }
    }
    return bytes
  }

  // MARK: Replies

  private func take(_ reply: NBDClient.Reply) throws(ClientError) {
    guard let answered = outstanding.removeValue(forKey: reply.cookie) else {
      throw .wrong("a reply to #\(reply.cookie), which nobody sent")
    }
    let request = answered.request
    world.trace.mix(reply.cookie)
    world.trace.note("client \(number): reply to \(request): \(reply.error)")
    if reply.error == NBDError.io.rawValue, oracle.protected.tellsOfLoss(request) { return }
    if reply.error != 0 {
      guard request.command == .read, reply.error == NBDError.io.rawValue,
        world.site(of: group, .protected).hadDiskErrors
      else { oracle.violation("\(request) fails with error \(reply.error)") }
      return
    }
    if let check = answered.check {
      world.statistics.reads += 1
      check.check(reply.data, of: request)
    } else {
      oracle.protected.acknowledged(request)
    }
  }
}
