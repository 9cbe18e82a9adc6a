import Appliance
import BlockModel
import SystemIO

/// Asks a running site how it is, again and again, and checks that what it says makes sense. On a
/// thread of the site's process.
final class Inspector: @unchecked Sendable {
  /// The instants of a group that could be opened when the site was last asked.
  struct Instants {
    let start: Timestamp
    let end: Timestamp
    let tags: [String]
    let gaps: [(from: Timestamp, to: Timestamp)]
    /// Of the site's line: when records have been taken back since, another start may hold.
    let generation: Int
  }

  private let site: Site
  private unowned let host: SiteHost
  private unowned let world: World
  /// By group.
  private(set) var instants: [Instants?]
  private(set) var statuses: [GroupStatus] = []
  /// Grows with every answer.
  private(set) var answerCount = 0
  /// Groups whose peer's records an operator gives up.
  var discards: [Int] = []
  private var runningOrders = 0
  private var orders: [@Sendable (Site) -> Void] = []
  private var watermarks: [WatermarkStatus?]
  private var resets: [Int]
  private var closings: [Int]
  /// The same when this life began.
  private let closingsBefore: [Int]
  /// Since when each group was seen open.
  private var openSince: [UInt64]
  /// What was durable, as far as is known, when each group failed last.
  private var durableBefore: [UInt64]

  init(_ site: Site, _ host: SiteHost, _ world: World) {
    self.site = site
    self.host = host
    self.world = world
    instants = world.groups.map { _ in nil }
    watermarks = instants.map { _ in nil }
    resets = instants.map { _ in 0 }
    closings = host.closings
    closingsBefore = host.closings
    openSince = host.closings.map { _ in world.simulation.now }
    durableBefore = host.closings.map { _ in .max }
  }

  private func role(_ group: Int) -> Role { world.role(of: group, at: host.index) }

  func stopSite() { site.stop() }

  /// Right after the start: where each group's order ends now. Blocks until all have answered that
  /// are open; the site says later when the others are.
  func waitForFirstAnswer() {
    var waiting = Set(world.groups.indices)
    while !waiting.isEmpty {
      for (group, status) in site.status().groups.enumerated() where waiting.contains(group) {
        if status.journal != nil {
          host.restarted(group, appended: status.watermarks.appended)
        } else if status.closed == nil {
          continue
        }
        waiting.remove(group)
      }
    }
  }

  /// Has a thread of the process do what control would.
  func order(_ command: @escaping @Sendable (Site) -> Void) { orders.append(command) }

  /// Before the site stops: as control does.
  func finishOrders() { while runningOrders > 0 { Thread.sleep(milliseconds: 5) } }

  private func pause(milliseconds: Int) {
    guard world.plan.branches != nil else {
      return Thread.sleep(milliseconds: UInt64(milliseconds))
    }
    for _ in 0...milliseconds / 5 {
      for command in orders {
        runningOrders += 1
        _ = Thread(name: "control") { [self] in
          command(site)
          runningOrders -= 1
        }
      }
      orders = []
      Thread.sleep(milliseconds: 5)
    }
  }

  /// Once; waits a while before it.
  func inspect() {
    pause(milliseconds: 10 + world.simulation.random.below(200))
    let resets = world.groups.map { $0.recoveries.map(\.resetCount) }
    let closings = host.closings
    let silences = world.groups.indices.map(silence)
    let status = site.status()
    for (group, groupStatus) in status.groups.enumerated() {
      // What was said of an opening that has ended says nothing of the next.
      if host.closings[group] != self.closings[group] {
        durableBefore[group] = watermarks[group]?.durable ?? 0
        watermarks[group] = nil
        openSince[group] = world.simulation.now
      }
      guard groupStatus.journal != nil, host.closings[group] == closings[group] else { continue }
      self.closings[group] = closings[group]
      check(group, groupStatus)
      let isSilent = silence(of: group) >= silences[group]
      checkHealth(group, groupStatus, isSilent ? silences[group] : 0)
      for (recovery, link) in peers(of: group, groupStatus) {
        let number = world.groups[group].recoveries.firstIndex { $0 === recovery }
        guard let number, recovery.resetCount == resets[group][number] else { continue }
        checkPeerDurable(group, recovery, link)
      }
    }
    for (group, oracle) in world.groups.enumerated() {
      let generation = oracle.line(role(group)).generation
      guard let timeline = try? site.timeline(group: oracle.name) else { continue }
      note(group, timeline, generation)
    }
    statuses = status.groups
    answerCount += 1
    if !world.isQuiet, world.simulation.random.chance(0.1) { makeCheckpoint() }
    discardFollowers()
  }

  private func discardFollowers() {
    let groups = discards
    discards = []
    for group in groups {
      let name = world.groups[group].name
      do { _ = try site.discardFollower(group: name) } catch {
        world.groups[group].violation("the peer's records cannot be given up: \(error)")
      }
    }
  }

  private func makeCheckpoint() {
    let group = world.simulation.random.below(world.groups.count)
    guard role(group) == .protected else { return }
    let tag = "tag-\(world.nextRequestNumber())"
    guard
      let made = try? site.checkpoint(group: world.groups[group].name, tag: tag)
    else { return }
    world.trace.note("\(host.name): checkpoint \(tag) is record \(made.sequence)")
    world.groups[group].protected.checkpointed(tag, sequence: made.sequence)
  }

  // MARK: Checks

  /// For how long nothing has come from the site of which least was heard.
  private func silence(of group: Int) -> UInt64 {
    let others =
      role(group) == .protected ? world.receivers(of: group) : [world.site(of: group, .protected)]
    return others.map { world.simulation.network.silence(from: $0.name, to: host.name) }.max() ?? 0
  }

  /// Those who receive the group from here, with what is said of them.
  private func peers(
    of group: Int, _ status: GroupStatus
  ) -> [(recovery: RecoveryOracle, link: LinkStatus)] {
    guard role(group) == .protected else { return [] }
    return (status.links ?? []).compactMap { link in
      let number = world.receivers(of: group).firstIndex { $0.name == link.peerSite }
      return number.map { (world.groups[group].recoveries[$0], link) }
    }
  }

  /// A peer's acknowledgements stop to count after ten seconds, and a while is for the telling.
  private static let silenceLimit: UInt64 = .milliseconds(11_500)

  /// What people must be told, whatever the sockets are like now.
  private func checkHealth(_ group: Int, _ status: GroupStatus, _ silence: UInt64) {
    guard status.health == "ok" else { return }
    let oracle = world.groups[group]
    let age = world.simulation.now - openSince[group]
    if min(silence, age) > Self.silenceLimit, role(group) == .protected {
      oracle.violation("health is ok though nothing has come from the peer for \(silence) ns")
    }
    if host.closings[group] > closingsBefore[group], age < .seconds(290),
      status.watermarks.durable <= durableBefore[group]
    {
      oracle.violation("health is ok though the group had failed in this life")
    }
  }

  private func check(_ group: Int, _ status: GroupStatus) {
    let oracle = world.groups[group]
    let role = role(group)
    let marks = status.watermarks
    func fail(_ reason: String) -> Never {
      oracle.violation("\(role): \(reason): \(marks)")
    }
    guard marks.stamped >= marks.appended, marks.appended >= marks.durable,
      marks.durable >= marks.applied
    else { fail("watermarks cross") }
    let recovery = oracle.recovery(role)
    let isGoingBack = recovery?.isGoingBack ?? false
    guard isGoingBack || marks.appended <= oracle.line(role).count else {
      fail("more is appended than was written")
    }
    if let recovery {
      recovery.isDurable(through: marks.durable)
    } else {
      for (_, link) in peers(of: group, status) { checkPeer(marks, link, fail) }
      oracle.protected.noteDurable(through: marks.durable)
    }
    checkProgress(group, marks, recovery?.resetCount ?? 0, fail)
  }

  private func checkPeer(
    _ marks: WatermarkStatus, _ link: LinkStatus, _ fail: (String) -> Never
  ) {
    guard let received = link.peerReceived, let durable = link.peerDurable,
      let applied = link.peerApplied
    else { return }
    if received > marks.appended || durable > marks.appended { fail("the peer has too much") }
    // While a full copy is under way, nothing there is of use yet.
    if durable == 0 { return }
    // Before the first connection only what the state file says is known.
    if received > 0, durable > received { fail("more is durable at the peer than there is") }
    if applied > durable { fail("more is applied at the peer than is durable") }
  }

  /// What the peer is said to have durable, it has: nothing else keeps it from being recycled here.
  private func checkPeerDurable(_ group: Int, _ recovery: RecoveryOracle, _ link: LinkStatus) {
    let oracle = world.groups[group]
    guard let durable = link.peerDurable, durable > 0, !recovery.isGoingBack, !recovery.isDamaged,
      let record = oracle.protected.line.record(Int(durable)),
      recovery.line.record(Int(durable)) !== record
    else { return }
    oracle.violation(
      "\(record) is said to be durable at the peer, which does not have it: \(link)")
  }

  /// Within a life nothing goes back, but where a full copy or a cut has begun anew.
  private func checkProgress(
    _ group: Int, _ marks: WatermarkStatus, _ resetCount: Int, _ fail: (String) -> Never
  ) {
    let isGoingBack = world.groups[group].recovery(role(group))?.isGoingBack ?? false
    defer {
      watermarks[group] = isGoingBack ? nil : marks
      resets[group] = resetCount
    }
    guard let before = watermarks[group], resets[group] == resetCount else { return }
    if marks.appended < before.appended || marks.durable < before.durable
      || marks.applied < before.applied
    {
      fail("watermarks go back, from \(before)")
    }
  }

  private func note(_ group: Int, _ timeline: TimelineStatus, _ generation: Int) {
    let oracle = world.groups[group]
    guard let start = timeline.start.flatMap({ Timestamp(rfc3339: $0) }),
      let end = timeline.end.flatMap({ Timestamp(rfc3339: $0) })
    else {
      instants[group] = nil
      return
    }
    let gaps = timeline.gaps.compactMap { gap -> (from: Timestamp, to: Timestamp)? in
      guard let from = Timestamp(rfc3339: gap.from), let to = Timestamp(rfc3339: gap.to) else {
        return nil
      }
      return (from, to)
    }
    for gap in gaps where gap.to > start {
      oracle.violation("\(role(group)): the gap until \(gap.to) can be opened from \(start) on")
    }
    let tags = timeline.checkpoints.map(\.tag).filter { !$0.isEmpty }
    if !host.hadDiskErrors, !world.isDamaged, oracle.line(role(group)).generation == generation {
      oracle.noteSeen(role(group), end, wasOpened: false)
    }
    instants[group] = Instants(
      start: start, end: end, tags: tags, gaps: gaps, generation: generation)
  }
}
