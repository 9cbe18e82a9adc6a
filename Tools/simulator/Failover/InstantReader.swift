import BlockModel
import SystemIO

/// Opens instants of the group, and of what is parked, at both sites, and compares what they show.
final class InstantReader: @unchecked Sendable {
  private static let chunkBytes = 32 << 10

  private unowned let world: FailoverWorld
  private let site: FailoverSite

  init(_ site: FailoverSite, _ world: FailoverWorld) {
    self.site = site
    self.world = world
  }

  private var oracle: SiteOracle { site.oracle }

  /// A thread of the clients' process.
  static func run(_ world: FailoverWorld) {
    while !world.isQuiet {
      Thread.sleep(milliseconds: UInt64(20 + world.simulation.random.below(400)))
      let site = world.sites[world.simulation.random.below(world.sites.count)]
      guard site.isServing else { continue }
      let reader = InstantReader(site, world)
      do throws(ClientError) {
        if world.simulation.random.chance(0.6) {
          try reader.readInstant()
        } else {
          try reader.readParked()
        }
      } catch {
        world.trace.note("reader: \(error)")
        if case .refused = error { world.statistics.refusedViews += 1 }
        if case .wrong(let what) = error { world.violation("reader: \(what)") }
      }
    }
    world.clientsLeft -= 1
  }

  /// One that the site has offered.
  func readInstant() throws(ClientError) {
    guard let known = site.instants, known.generation == oracle.line.generation, !oracle.isUnsure
    else { return }
    let records = oracle.line.records.filter {
      $0.header.timestamp >= known.start && $0.header.timestamp <= known.end
    }
    let picked = records.isEmpty ? nil : world.simulation.random.pick(records)
    let instant = world.simulation.random.chance(0.3) ? known.end : picked?.header.timestamp
    guard let instant, instant >= known.start else { return }
    world.statistics.views += 1
    try read("\(instant)", oracle.line, oracle.line.count(through: instant)) { [oracle] in
      oracle.line.generation == known.generation
    }
  }

  /// Something that is parked, as it was last, or at an instant of it.
  func readParked() throws(ClientError) {
    let names = oracle.ownership.required.subtracting(oracle.ownership.deleted).sorted()
    guard !names.isEmpty, !oracle.isUnsure else { return }
    let name = world.simulation.random.pick(names)
    guard let parked = oracle.ownership.parked[name] else { return }
    try readParked(name, parked)
    guard let after = oracle.ownership.base(of: name),
      parked.line.count > after, world.simulation.random.chance(0.5)
    else { return }
    let record = world.simulation.random.pick(Array(parked.line.records[after...]))
    try readParked(name, parked, at: record)
  }

  /// - Parameter record: the last that it shows; nil: all.
  func readParked(
    _ name: String, _ parked: ParkedRecords, at record: Record? = nil
  ) throws(ClientError) {
    world.statistics.parkedViews += 1
    let instant = record.map { "\($0.header.timestamp)" } ?? "latest"
    let count = record.map { Int($0.sequence) } ?? parked.line.count
    try read("\(name)@\(instant)", parked.line, count) { [oracle] in
      oracle.ownership.parked[name]?.tip === parked.tip && !oracle.ownership.deleted.contains(name)
    }
  }

  /// - Parameter isCurrent: whether what is expected still is.
  private func read(
    _ instant: String, _ line: Line, _ count: Int, _ isCurrent: () -> Bool
  ) throws(ClientError) {
    let images = line.disks(after: count)
    for (number, disk) in world.plan.disks.enumerated() {
      let client = try NBDClient(
        world.plan.nbdAddress(site.index), export: "\(disk.name)@\(instant)", structured: true)
      defer { client.close() }
      var offset = 0
      while offset < client.byteCount {
        let length = min(Self.chunkBytes, client.byteCount - offset)
        let request = ClientRequest(
          number: world.nextRequestNumber(), .read, [], disk: number, offset: offset,
          length: length)
        try client.send(request)
        guard let reply = try client.receive(milliseconds: 25_000) else {
          throw .lost("no reply for long")
        }
        guard isCurrent() else { throw .lost("the order has gone back") }
        if reply.error == 108 { throw .lost("the group changes hands") }
        // It ends as soon as its group has looked.
        if reply.error == 5, instant.contains("@"), site.mayRunOut {
          throw .refused("what had to be saved for it has no room")
        }
        let expected = images[number].bytes(at: offset, count: length)
        if reply.error != 0 { oracle.violation("\(disk.name)@\(instant): error \(reply.error)") }
        if let difference = difference(of: reply.data, from: expected, at: offset) {
          oracle.violation(
            "\(disk.name)@\(instant), which is after record \(count): \(difference)")
        }
        offset += length
      }
    }
  }

  /// The disks as they are now, while nobody writes.
  func readLive(_ expected: Line, under suffix: String) throws(ClientError) {
    let images = expected.disks(after: expected.count)
    for (number, disk) in world.plan.disks.enumerated() {
      let export = disk.name + suffix
      let client = try NBDClient(
        world.plan.nbdAddress(site.index), export: export, structured: false)
      defer { client.close() }
      let request = ClientRequest(
        number: world.nextRequestNumber(), .read, [], disk: number, offset: 0,
        length: client.byteCount)
      try client.send(request)
      guard let reply = try client.receive(milliseconds: 10_000), reply.error == 0 else {
        oracle.violation("in the end \(export) cannot be read")
      }
      if let difference = difference(of: reply.data, from: images[number].bytes) {
        oracle.violation("in the end \(export) is wrong: \(difference)")
      }
    }
  }
}
