import BlockModel
import NBDProtocol
import SystemIO

/// A client's connections to all disks of a branch: writes in bursts, flushes, reads and compares.
/// By one fiber.
struct BranchSession {
  private static let chunkBytes = 32 << 10
  private static let patience: Int32 = 25_000

  private let branch: DrivenBranch
  private let plan: BranchPlan
  private let world: World
  private var model: BranchModel { branch.model }

  init(_ branch: DrivenBranch, _ plan: BranchPlan, _ world: World) {
    self.branch = branch
    self.plan = plan
    self.world = world
  }

  /// - Parameter isLast: only compares.
  func run(isLast: Bool) throws(ClientError) {
    let opening = branch.present
    var clients: [Int: NBDClient] = [:]
    defer { for (_, client) in clients { client.close() } }
    for disk in model.disks {
      clients[disk] = try NBDClient(
        world.plan.nbdAddress(branch.host.index), export: branch.export(disk),
        structured: world.simulation.random.chance(0.5))
    }
    guard let isNew = branch.connected(opening) else { throw .lost("opened again meanwhile") }
    if isNew {
      try compareAfterStart(clients)
    } else if isLast || world.simulation.random.chance(0.3) {
      for disk in model.disks { try compare(disk, clients) }
    }
    if isLast { return }
    for _ in 0..<world.simulation.random.pick([1, 5, 20, 60]) {
      if world.isQuiet { break }
      Thread.sleep(milliseconds: world.simulation.random.around(plan.meanPause) / 1_000_000)
      try step(clients)
    }
  }

  private func step(_ clients: [Int: NBDClient]) throws(ClientError) {
    let kind = Double(world.simulation.random.below(1_000)) / 1_000
    if kind < plan.flushShare {
      let disk = world.simulation.random.pick(model.disks)
      _ = try ask(.flush, [], disk, 0, 0, clients)
      model.flushed()
    } else if kind < plan.flushShare + 0.2 {
      try compare(world.simulation.random.pick(model.disks), clients)
    } else {
      try write(clients)
    }
  }

  // MARK: Writing

  private func write(_ clients: [Int: NBDClient]) throws(ClientError) {
    let isFUA = world.simulation.random.chance(0.1)
    let count = isFUA ? 1 : 1 + world.simulation.random.below(plan.burst)
    var burst: [BranchModel.Write] = []
    var requests: [UInt64: ClientRequest] = [:]
    for _ in 0..<count {
      let request = makeWrite(isFUA)
      let isZero = request.command != .write
      let write = BranchModel.Write(
        disk: request.disk, offset: request.offset,
        bytes: isZero ? [UInt8](repeating: 0, count: request.length) : request.payload)
      if burst.contains(where: { $0.touches(write) }) || model.isLoose(write) { continue }
      burst.append(write)
      requests[request.number] = request
    }
    if burst.isEmpty { return }
    model.send(burst)
    for number in requests.keys.sorted() {
      guard let request = requests[number] else { continue }
      world.trace.note("branch \(branch.name): sends \(request)")
      try clients[request.disk]?.send(request)
    }
    for number in requests.keys.sorted() {
      guard let request = requests[number] else { continue }
      try takeReply(clients, request.disk, &requests)
    }
    model.answered()
    world.statistics.branchWrites += burst.count
    if isFUA { model.flushed() }
  }

  /// Of one of the requests to this disk.
  private func takeReply(
    _ clients: [Int: NBDClient], _ disk: Int, _ requests: inout [UInt64: ClientRequest]
  ) throws(ClientError) {
    guard let reply = try clients[disk]?.receive(milliseconds: Self.patience) else {
      throw .lost("no reply for long")
    }
    guard let request = requests.removeValue(forKey: reply.cookie) else {
      throw .wrong("a reply to #\(reply.cookie), which nobody sent")
    }
    try check(reply, request)
  }

  private func makeWrite(_ isFUA: Bool) -> ClientRequest {
    let disk = world.simulation.random.pick(model.disks)
    let size = world.groups[branch.group].disks[disk].byteCount
    let unit = world.simulation.random.pick([1, 512, 4096, 4096])
    let largest = UInt64(max(1, plan.largestBytes / unit))
    let length = min(
      Int(world.simulation.random.pick(logarithmic: 1...largest)) * unit, size)
    let offset = min(world.simulation.random.below(size / unit + 1) * unit, size - length)
    let number = world.nextRequestNumber()
    var flags: NBDCommandFlags = isFUA ? .fua : []
    switch world.simulation.random.below(10) {
    case 0:
      return ClientRequest(number: number, .trim, flags, disk: disk, offset: offset, length: length)
    case 1:
      if world.simulation.random.chance(0.5) { flags.insert(.noHole) }
      return ClientRequest(
        number: number, .writeZeroes, flags, disk: disk, offset: offset, length: length)
    default:
      return ClientRequest(
        number: number, .write, flags, disk: disk, offset: offset, length: length,
        payload: LoadClient.payload(number, length))
    }
  }

  // MARK: Asking

  private func ask(
    _ command: NBDCommand, _ flags: NBDCommandFlags, _ disk: Int, _ offset: Int, _ length: Int,
    _ clients: [Int: NBDClient]
  ) throws(ClientError) -> [UInt8] {
    let request = ClientRequest(
      number: world.nextRequestNumber(), command, flags, disk: disk, offset: offset, length: length)
    world.trace.note("branch \(branch.name): sends \(request)")
    try clients[disk]?.send(request)
    guard let reply = try clients[disk]?.receive(milliseconds: Self.patience) else {
      throw .lost("no reply for long")
    }
    guard reply.cookie == request.number else {
      throw .wrong("a reply to #\(reply.cookie), not to \(request)")
    }
    try check(reply, request)
    return reply.data
  }

  private func check(
    _ reply: NBDClient.Reply, _ request: ClientRequest
  ) throws(ClientError) {
    world.trace.mix(reply.cookie)
    guard reply.error != 0 else { return }
    branch.fails("\(request) fails with error \(reply.error)")
    throw .lost("\(request) fails with error \(reply.error)")
  }

  // MARK: Comparing

  private func contents(
    of disk: Int, _ clients: [Int: NBDClient],
    _ take: (_ bytes: [UInt8], _ offset: Int) throws(ClientError) -> Void
  ) throws(ClientError) {
    let size = world.groups[branch.group].disks[disk].byteCount
    guard clients[disk]?.byteCount == size else { throw .wrong("disk \(disk) has another size") }
    for offset in stride(from: 0, to: size, by: Self.chunkBytes) {
      let length = min(Self.chunkBytes, size - offset)
      let bytes = try ask(.read, [], disk, offset, length, clients)
      world.statistics.branchBytes += bytes.count
      try take(bytes, offset)
    }
  }

  private func compare(_ disk: Int, _ clients: [Int: NBDClient]) throws(ClientError) {
    try contents(of: disk, clients) { bytes, offset throws(ClientError) in
      if let difference = model.difference(of: bytes, disk: disk, at: offset) {
        throw .wrong("disk \(disk): \(difference)")
      }
    }
  }

  private func compareAfterStart(_ clients: [Int: NBDClient]) throws(ClientError) {
    var found: [Int: [UInt8]] = [:]
    for disk in model.disks {
      try contents(of: disk, clients) { bytes, _ in found[disk, default: []] += bytes }
    }
    branch.restarted(found)
  }
}
