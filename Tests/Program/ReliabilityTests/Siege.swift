import TestSupport

/// A protected site and its peer under load, to which things happen one after the other, and an
/// account of what was written that must come out right after each of them.
final class Siege {
  enum Event: String, CaseIterable {
    /// `kill -9` of one site or both.
    case kill
    /// The same by a power cut.
    case powerCut
    /// The link breaks at any byte, stays cut for a while and comes back.
    case linkCut
    /// A disk is compared, at both sites, with what it was at an earlier instant.
    case view
    /// The load stops, and both sites must hold the same.
    case agreement
  }

  struct Counts: CustomStringConvertible {
    var kills = 0
    var powerCuts = 0
    var linkCuts = 0
    var views = 0
    var expiredViews = 0
    var bytes = 0
    var writes = 0

    var description: String {
      "writes acknowledged \(writes), kills \(kills), power cuts \(powerCuts), "
        + "link cuts \(linkCuts), views compared \(views) (\(expiredViews) had left the history), "
        + "bytes verified \(bytes)"
    }
  }

  private static let sectors = 16384
  /// So many acknowledged writes at most come before an event.
  private static let writes = 1...300
  /// How much older than its submission a write's stamp may be, on a machine that is busy.
  private static let slack: UInt64 = 100_000_000
  /// An older instant may have left the history: the journal holds so much load only.
  private static let instantLimit = 10

  let pair: SitePair
  let history = WriteHistory(sectors: Siege.sectors)
  /// What went wrong, as lines to read.
  private(set) var lost: [String] = []
  private var tally = Counts()
  private var generator: SeededGenerator
  private var load: WriteLoad?
  /// Instants during the load, the newest last; those of before `agreed` are known to both sites.
  private var instants: [UInt64] = []
  private var agreed: UInt64 = 0
  /// Until the recovery site has told of a later record, it may hold what the protected site lost.
  private var lossMark = 0

  /// Starts both sites.
  /// - Parameters:
  ///   - volumes: what both are on; ordinary files when nil, and then without power cuts.
  ///   - peerEnvironment: additions to the environment of the recovery site.
  init(
    seed: UInt64, volumes: LossyVolume.Kind?, peerEnvironment: [String: String] = [:]
  ) throws {
    generator = SeededGenerator(seed: seed)
    pair = try SitePair(disks: ["disk": Self.sectors * TaggedSectors.size]) { east, west in
      for site in [east, west] {
        site.configuration.groups[0].history = "1h"
        site.configuration.groups[0].journalCapacity = "96M"
        site.configuration.groups[0].segmentSize = "1M"
        if let volumes {
          try site.move(to: try LossyVolume(volumes, named: site.name, in: east.scratch))
        }
      }
      west.environment = peerEnvironment
    }
  }

  var counts: Counts {
    var counts = tally
    counts.writes = history.acknowledgedCount
    return counts
  }

  /// - Throws: when it cannot go on; what is lost goes to `lost`.
  func happen(_ event: Event) throws {
    try endureLoad()
    switch event {
    case .kill:
      tally.kills += 1
      try crash { try $0.crash() }
    case .powerCut:
      tally.powerCuts += 1
      try crash(losesPower: true) { try $0.cutPower() }
    case .linkCut:
      tally.linkCuts += 1
      pair.cable.cut(afterBytes: Int.random(in: 0...1 << 20, using: &generator))
      try endureLoad()
      pair.cable.join()
    case .view: try compareViews()
    case .agreement: try agree()
    }
  }

  /// Lets the load go on for a random while, and starts it when there is none.
  private func endureLoad() throws {
    if load == nil {
      var shape = WriteLoad.Shape()
      shape.seed = generator.next()
      shape.maximumSectors = 32
      shape.flushEvery = [2, 10, 50].randomElement(using: &generator)!
      load = WriteLoad(pair.east.uri("disk"), history: history, shape: shape)
    }
    let count = Int.random(in: Self.writes, using: &generator)
    try load?.makeProgress(count / 2)
    instants = instants.suffix(Self.instantLimit - 1) + [wallClockNanoseconds()]
    try load?.makeProgress(count - count / 2)
  }

  private func stopLoad() throws {
    try load?.stop()
    load = nil
  }

  // MARK: Crashes

  private func crash(losesPower: Bool = false, _ end: (Site) throws -> Void) throws {
    var victims = [[pair.east], [pair.west], [pair.east, pair.west]]
      .randomElement(using: &generator)!
    if !victims.contains(where: { $0 === pair.east }) { return try crashPeer(end) }
    for victim in victims { try end(victim) }
    try stopLoad()
    victims.shuffle(using: &generator)
    for victim in victims { try victim.restart(despite: end, using: &generator) }
    let image = try image(pair.east, "disk")
    if losesPower {
      note(history.powerCutViolations(in: image), "protected site after a power cut")
      history.settleAfterPowerCut(with: image)
      lossMark = max(try pair.east.counter("stamped"), try pair.east.counter("peer_durable"))
    } else {
      note(history.violations(in: image), "protected site after a kill")
      history.settle(with: image)
    }
  }

  /// What the recovery site called durable must be there before anything is sent again.
  private func crashPeer(_ end: (Site) throws -> Void) throws {
    let promised = try pair.east.counter("peer_durable")
    try end(pair.west)
    pair.cable.cut()
    defer { pair.cable.join() }
    try pair.west.restart(despite: end, using: &generator)
    guard promised > lossMark else { return }
    let kept = try pair.west.counter("appended")
    if kept < promised { lost.append("recovery site: records \(kept + 1) to \(promised)") }
    note(history.cutViolations(in: try image(pair.west, "disk@latest")), "recovery site")
  }

  // MARK: Comparisons

  private func agree() throws {
    try stopLoad()
    try pair.drain()
    let east = try image(pair.east, "disk")
    let west = try image(pair.west, "disk@latest")
    note(history.violations(in: east), "protected site in the end")
    if let difference = difference(west, east) { lost.append("recovery site: \(difference)") }
    // Views of before the last agreement are not compared any more.
    let oldest = min(agreed, history.flushedInstant)
    history.forget(before: oldest)
    instants.removeAll { $0 < oldest + Self.slack }
    agreed = wallClockNanoseconds()
  }

  private func compareViews() throws {
    if instants.allSatisfy({ $0 > agreed }) {
      try pair.east.checkpoint("agreed").checked()
      try agree()
    }
    let candidates = instants.filter { $0 < agreed }
    guard let instant = candidates.randomElement(using: &generator) else { return }
    for site in [pair.east, pair.west] {
      let image: [UInt8]
      do {
        image = try self.image(site, "disk@\(rfc3339(instant))")
      } catch {
        let start = try TaplineContract.group("g", in: site.status()).first("history")?["start"]
        guard let start = start?.string, start > rfc3339(instant) else { throw error }
        tally.expiredViews += 1
        continue
      }
      note(
        history.violations(in: image, at: instant, slack: .nanoseconds(Self.slack)),
        "\(site.name) at \(rfc3339(instant))")
      tally.views += 1
    }
  }

  private func image(_ site: Site, _ export: String) throws -> [UInt8] {
    let image = try site.image(export)
    tally.bytes += image.count
    return image
  }

  private func note(_ violations: [String], _ place: String) {
    lost += violations.map { "\(place): \($0)" }
  }
}
