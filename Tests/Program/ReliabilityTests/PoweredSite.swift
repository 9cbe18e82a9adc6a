import TestSupport

/// A protected site without a peer, whose power is cut under load, round after round.
final class PoweredSite {
  /// What the journal does with records besides keeping them.
  enum Journal: String, CaseIterable, Sendable {
    /// The smallest there is, applied at once: its segments are used again and again. No block of
    /// the disk has yet to be allocated, so nothing makes the file system commit its log.
    case recycling
    /// Everything stays in it, in many segments.
    case growing
  }

  private static let sectors = 16384
  /// So many acknowledged writes at most come before a cut.
  private static let writes = 1...300

  let scratch: ScratchDirectory
  let site: Site
  let history = WriteHistory(sectors: PoweredSite.sectors)
  private var generator: SeededGenerator

  init(
    _ kind: LossyVolume.Kind, _ journal: Journal, seed: UInt64, environment: [String: String] = [:]
  ) throws {
    generator = SeededGenerator(seed: seed)
    scratch = try ScratchDirectory()
    site = try Site("east", in: scratch)
    site.environment = environment
    try site.addDisk("disk", size: Self.sectors * TaggedSectors.size, role: .protected)
    switch journal {
    case .recycling:
      site.configuration.groups[0].journalCapacity = "1M"
      site.configuration.groups[0].segmentSize = "256K"
      site.configuration.groups[0].applyEvery = "20ms"
    case .growing:
      site.configuration.groups[0].history = "1h"
      site.configuration.groups[0].segmentSize = "256K"
    }
    try site.move(
      to: try LossyVolume(kind, named: "east", in: scratch), sparseDisks: journal == .growing)
    try site.start()
    if journal == .recycling {
      // Written in peace: files that are needed at once are only allocated, and every sync of those
      // commits the file system's log.
      // The first record takes one into use, and makes room for another.
      try site.connect("disk").write([0], at: 0, fua: true)
      let last = "\(site.configuration.data)/g/segment-00003"
      try eventually("the journal has its files") { try run("test", ["-e", last]).status == 0 }
    }
  }

  /// One round: load for a while, a power cut, a restart. Returns what was lost, as lines to read.
  /// - Throws: when the load cannot go on, which no cut excuses.
  func round() throws -> [String] {
    let load = WriteLoad(site.uri("disk"), history: history, shape: shape())
    try load.makeProgress(Int.random(in: Self.writes, using: &generator))
    try site.cutPower()
    try load.stop()
    do {
      try site.restart(despite: { try $0.cutPower() }, using: &generator)
    } catch {
      return ["does not start again: \(error)"]
    }
    let image = try site.image("disk")
    let violations = history.powerCutViolations(in: image)
    if violations.isEmpty { history.settleAfterPowerCut(with: image) }
    return violations
  }

  private func shape() -> WriteLoad.Shape {
    var shape = WriteLoad.Shape()
    shape.seed = generator.next()
    shape.depth = [1, 8, 32].randomElement(using: &generator)!
    shape.maximumSectors = [8, 64].randomElement(using: &generator)!
    // With 1 every write has FUA, with 2 every second one and the others are flushed.
    shape.flushEvery = [1, 2, 10, 50].randomElement(using: &generator)!
    return shape
  }
}
