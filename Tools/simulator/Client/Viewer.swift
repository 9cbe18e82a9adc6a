import BlockModel
import NBDProtocol
import SystemIO

/// Opens groups at instants, at both sites, and compares all of their disks with the oracle.
final class Viewer: @unchecked Sendable {
  private unowned let world: World
  private let number: Int

  init(_ number: Int, _ world: World) {
    self.number = number
    self.world = world
  }

  /// A thread of the clients' process.
  func run() {
    while !world.isQuiet {
      Thread.sleep(milliseconds: UInt64(20 + world.simulation.random.below(800)))
      let host = world.hosts[world.simulation.random.below(world.hosts.count)]
      let group = world.simulation.random.below(world.groups.count)
      guard host.isServing, let instants = host.inspector?.instants[group] else { continue }
      look(host, group, instants)
    }
    world.clientsLeft -= 1
  }

  /// Looks once, very soon, from a process of its own.
  func glance(_ host: SiteHost, _ group: Int, _ instants: Inspector.Instants) {
    start {
      Thread.sleep(milliseconds: self.world.simulation.random.pick([0, 0, 1, 2, 5, 20]))
      self.look(host, group, instants)
    }
  }

  /// Looks once at what was seen before, as soon as the site has been away and is back.
  func lookAgain(_ host: SiteHost, _ group: Int, at instant: Timestamp) {
    let life = host.life
    start {
      for _ in 0..<2_000 where host.life == life || !host.isServing {
        Thread.sleep(milliseconds: 2)
      }
      self.look(host, group) { view throws(ClientError) in try view.read(at: instant, rounds: 1) }
    }
  }

  /// Looks at what was seen before at the site, in the end.
  func lookBack(_ host: SiteHost, _ group: Int) {
    let role = world.role(of: group, at: host.index)
    let instants = world.groups[group].seenInstants(role).suffix(4)
    start {
      for instant in instants {
        self.look(host, group) { view throws(ClientError) in try view.read(at: instant, rounds: 1) }
      }
    }
  }

  /// In a process of its own.
  private func start(_ body: @escaping () -> Void) {
    world.clientsLeft += 1
    world.clientMachine.start("viewer") { [self] in
      body()
      world.clientsLeft -= 1
    }
  }

  private func look(_ host: SiteHost, _ group: Int, _ instants: Inspector.Instants) {
    look(host, group) { view throws(ClientError) in
      if world.simulation.random.chance(0.1) {
        return try view.expectRefusals(outside: instants)
      }
      if world.simulation.random.chance(0.4) { return try askChanges(view, instants) }
      let rounds = world.simulation.random.pick([1, 1, 1, 2, 5])
      let again =
        world.simulation.random.chance(0.3)
        ? view.seenBefore(from: instants.start) : nil
      try view.read(at: again ?? choose(instants, view.line), rounds: rounds)
    }
  }

  private func look(
    _ host: SiteHost, _ group: Int, _ body: (ViewReading) throws(ClientError) -> Void
  ) {
    let view = ViewReading(host, group, world)
    do throws(ClientError) { try body(view) } catch {
      world.trace.note("viewer \(number): \(error)")
      if case .wrong(let what) = error { view.oracle.violation("viewer \(number): \(what)") }
    }
  }

  /// What changed between two instants, or since one; the disk as it is only where it is served.
  private func askChanges(
    _ view: ViewReading, _ instants: Inspector.Instants
  ) throws(ClientError) {
    let chosen = [choose(instants, view.line), choose(instants, view.line)].sorted()
    let isLive = view.role == .protected && world.simulation.random.chance(0.5)
    let oracle = view.oracle
    let shown = chosen.map {
      view.line.shown(after: view.line.count(through: $0), of: oracle.disks)
    }
    let both = shown[0].filter(shown[1].contains)
    guard !both.isEmpty else { return }
    let disk = both[world.simulation.random.below(both.count)]
    try view.askChanges(
      since: chosen[0], until: isLive ? nil : chosen[1], disk: disk,
      rounds: world.simulation.random.pick([1, 1, 3]))
  }

  /// Any instant, or the very one of a record, or the one right before it; or one that was not
  /// there yet when the site was asked.
  private func choose(_ instants: Inspector.Instants, _ line: Line) -> Timestamp {
    if world.simulation.random.chance(0.15) {
      return Timestamp(
        rawValue: instants.end.rawValue + world.simulation.random.next() % .seconds(3))
    }
    let first = line.count(through: instants.start)
    let last = line.count(through: instants.end)
    if last > first, world.simulation.random.chance(0.6) {
      let record = line.records[first + world.simulation.random.below(last - first)]
      let instant = record.header.timestamp
      let before = Timestamp(rawValue: instant.rawValue - 1)
      return before >= instants.start && world.simulation.random.chance(0.3) ? before : instant
    }
    let length = instants.end.rawValue - instants.start.rawValue
    return Timestamp(
      rawValue: instants.start.rawValue + world.simulation.random.next() % (length + 1))
  }
}

/// One group at one site, to be opened at an instant.
struct ViewReading {
  private static let chunkBytes = 32 << 10

  let host: SiteHost
  private let group: Int
  var role: Role { world.role(of: group, at: host.index) }
  /// Nobody knows what is right.
  var isUnsure: Bool { oracle.recovery(role)?.isUnsure ?? false }
  let world: World
  let oracle: GroupOracle

  init(_ host: SiteHost, _ group: Int, _ world: World) {
    self.host = host
    self.group = group
    self.world = world
    oracle = world.groups[group]
  }

  var line: Line { oracle.line(role) }

  /// One that was seen at the site, perhaps in an earlier life.
  func seenBefore(from start: Timestamp) -> Timestamp? {
    let all = oracle.seenInstants(role).filter { $0 >= start }
    return all.isEmpty ? nil : world.simulation.random.pick(all)
  }

  var mayHaveChanged: Bool { world.isDamaged || host.hadDiskErrors }

  private func open(_ disk: String, at instant: String) throws(ClientError) -> NBDClient {
    try NBDClient(
      world.plan.nbdAddress(host.index), export: "\(disk)@\(instant)",
      structured: world.simulation.random.chance(0.5))
  }

  /// Reads every disk whole, as often as asked for, and compares.
  func read(at instant: Timestamp, rounds: Int) throws(ClientError) {
    let shown = line.shown(after: line.count(through: instant), of: oracle.disks)
    for index in shown {
      let disk = oracle.disks[index].name
      let client: NBDClient
      let generation = line.generation
      do throws(ClientError) {
        client = try open(disk, at: "\(instant)")
      } catch {
        if case .refused(let why) = error { try checkRefusal(why, of: instant, disk: index) }
        throw error
      }
      defer { client.close() }
      world.statistics.views += 1
      world.trace.note("opened \(disk)@\(instant) at the \(role) site")
      // The answer may have been long on its way.
      guard line.generation == generation else { throw .lost("the order has gone back") }
      checkIsWhole(at: instant)
      if !mayHaveChanged, !isUnsure {
        oracle.checkSeen(role, instant)
        oracle.noteSeen(role, instant, wasOpened: true)
        world.ambushes.opened(host, role) { [world, host, group] in
          Viewer(world.nextViewerNumber(), world).lookAgain(host, group, at: instant)
        }
      }
      let last = line.last(through: instant)
      for round in 0..<rounds {
        if round > 0 {
          Thread.sleep(milliseconds: UInt64(world.simulation.random.below(1_500)))
        }
        try read(client, index, at: instant, last)
      }
    }
  }

  private func read(
    _ client: NBDClient, _ disk: Int, at instant: Timestamp, _ last: Record?
  ) throws(ClientError) {
    var offset = 0
    while offset < client.byteCount {
      let length = min(Self.chunkBytes, client.byteCount - offset)
      let request = ClientRequest(
        number: world.nextRequestNumber(), .read, [], disk: disk, offset: offset, length: length)
      try client.send(request)
      guard let reply = try client.receive(milliseconds: 25_000) else {
        throw .lost("no reply for long")
      }
      try check(reply, request, at: instant, last)
      offset += length
    }
  }

  /// - Parameter last: the record that was the last of the view when it was opened.
  private func check(
    _ reply: NBDClient.Reply, _ request: ClientRequest, at instant: Timestamp, _ last: Record?
  ) throws(ClientError) {
    if reply.error != 0 {
      guard host.hadDiskErrors else {
        oracle.violation("\(role): the view at \(instant): \(request): error \(reply.error)")
      }
      throw .lost("error \(reply.error)")
    }
    if isUnsure { throw .lost("nobody knows what is right") }
    let count = Int(last?.sequence ?? 0)
    // Records may have been lost since; then the view is lost, too.
    guard line.record(count) === last else { throw .lost("the order has gone back") }
    if let added = line.record(count + 1), added.header.timestamp <= instant {
      if added.isBackdated, mayHaveChanged { throw .lost("backdated records have arrived") }
      oracle.violation("\(role): \(added) is added before \(instant), already seen")
    }
    let image = line.disks(after: count)[request.disk]
    let expected = image.bytes(at: request.offset, count: request.length)
    let difference = oracle.difference(
      of: reply.data, from: expected, disk: request.disk, at: request.offset, role)
    if let difference {
      oracle.violation(
        "\(role): the view of disk \(request.disk) at \(instant), which is after record \(count): "
          + difference)
    }
    world.statistics.viewBytes += reply.data.count
  }

  /// At the recovery site no record may be missing before an instant that can be opened.
  private func checkIsWhole(at instant: Timestamp) {
    guard let recovery = oracle.recovery(role),
      oracle.protected.line.agrees(with: recovery.line)
    else { return }
    let there = oracle.protected.line.count(through: instant)
    let here = recovery.line.count(through: instant)
    if here < there, !(mayHaveChanged && oracle.protected.line.records[here].isBackdated) {
      oracle.violation(
        "\(role): \(instant) can be opened with \(here) records; it has \(there)")
    }
  }

  // MARK: Refusals

  /// An instant may have left the history since the site was asked for it.
  private func checkRefusal(
    _ why: String, of instant: Timestamp, disk: Int
  ) throws(ClientError) {
    world.statistics.refusedViews += 1
    // What a site has noted of a disk's markers may be a little later than these.
    if line.records.contains(where: { $0.change?.number.index == disk }) { return }
    // After a full copy a disk that had left may be gone.
    if !oracle.disks.isFixed, role.isRecovery, why.contains("no disk") { return }
    let mayBe = [
      "no instant can be opened yet", "has failed", "keeps no history", "is not open",
      // It waited for a sync when its peer had the site go back.
      "is being set back",
    ]
    if host.hadDiskErrors || mayBe.contains(where: why.contains) { return }
    guard let range = Self.range(in: why), instant < range.start || instant > range.end else {
      oracle.violation("\(role): \(instant) is refused: \(why)")
    }
    if instant > range.end, oracle.owes(role, instant) {
      oracle.violation("\(role): \(instant) was offered before, and is refused now: \(why)")
    }
  }

  /// A view has the disks of its instant and no others.
  private func expectRefusals(at instant: Timestamp) throws(ClientError) {
    for (number, disk) in oracle.disks.disks.enumerated() {
      let (count, generation) = (line.count(through: instant), line.generation)
      guard let disk, !oracle.mayShow(role, number, after: count) else { continue }
      do throws(ClientError) { try open(disk.name, at: "\(instant)").close() } catch {
        guard case .refused = error else { throw error }
        continue
      }
      if line.generation == generation, line.count(through: instant) == count, !isUnsure {
        oracle.violation("\(role): \(instant) shows disk \(disk.name), which it does not have")
      }
    }
  }

  func expectRefusals(outside instants: Inspector.Instants) throws(ClientError) {
    if !oracle.disks.isFixed {
      let length = instants.end.rawValue - instants.start.rawValue
      try expectRefusals(
        at: Timestamp(
          rawValue: instants.start.rawValue + world.simulation.random.next() % (length + 1)))
    }
    let hour: UInt64 = .seconds(3_600)
    var outside = [
      Timestamp(rawValue: instants.start.rawValue - 1),
      Timestamp(rawValue: instants.end.rawValue + 24 * hour),
    ]
    outside += instants.gaps.filter { $0.from < $0.to }.map(\.from)
    for instant in outside {
      do throws(ClientError) {
        try open(oracle.disks[0].name, at: "\(instant)").close()
      } catch {
        guard case .refused = error else { throw error }
        world.statistics.refusedViews += 1
        continue
      }
      guard line.generation == instants.generation else { return }
      if instant < instants.start {
        oracle.violation("\(role): \(instant) can be opened, before \(instants.start)")
      } else {
        oracle.violation("\(role): \(instant) can be opened, long after \(instants.end)")
      }
    }
  }

  /// From "… which reaches from START to END".
  private static func range(in text: String) -> (start: Timestamp, end: Timestamp)? {
    let words = text.split(separator: " ").map(String.init)
    guard let from = words.lastIndex(of: "from"), from + 3 < words.count,
      let start = Timestamp(rfc3339: words[from + 1]), let end = Timestamp(rfc3339: words[from + 3])
    else { return nil }
    return (start, end)
  }
}
