import TestSupport
import Testing

/// Proves that a write acknowledged survives `kill -9` of either daemon, that a write without an
/// answer is there as a whole or not at all and for good, and that both sites agree afterwards.
/// `TAPLINE_ROUNDS` sets how many kills a test makes.
@Suite(.scratch) struct CrashTests {
  private static let sectors = 16384

  private func load(_ pair: SitePair, _ history: WriteHistory, round: Int) -> WriteLoad {
    var shape = WriteLoad.Shape()
    shape.seed = testSeed(1) &+ UInt64(round)
    return WriteLoad(pair.east.uri("disk"), history: history, shape: shape)
  }

  @Test func `kills of the protected site during writes`() throws {
    let pair = try SitePair()
    let history = WriteHistory(sectors: Self.sectors)
    var generator = SeededGenerator(seed: testSeed(2))
    for round in 0..<testRounds(4) {
      let load = load(pair, history, round: round)
      try load.makeProgress(Int.random(in: 1...400, using: &generator))
      try pair.east.crash()
      try load.stop()
      try pair.east.start()
      let image = try pair.east.image("disk")
      #expect(history.violations(in: image) == [], "round \(round)")
      history.settle(with: image)
      #expect(history.cutViolations(in: try pair.west.image("disk@latest")) == [])
    }
    try pair.drain()
    let east = try pair.east.image("disk")
    #expect(history.violations(in: east) == [])
    #expect(difference(try pair.west.image("disk@latest"), east) == nil)
  }

  @Test func `kills of the recovery site during writes`() throws {
    let pair = try SitePair()
    let history = WriteHistory(sectors: Self.sectors)
    var generator = SeededGenerator(seed: testSeed(3))
    let load = load(pair, history, round: 0)
    for _ in 0..<testRounds(4) {
      try load.makeProgress(Int.random(in: 1...400, using: &generator))
      try pair.west.crash()
      try load.makeProgress(Int.random(in: 1...400, using: &generator))
      try pair.west.start()
      #expect(history.cutViolations(in: try pair.west.image("disk@latest")) == [])
    }
    try load.stop()
    #expect(load.failure == nil)
    try pair.drain()
    let west = try pair.west.image("disk@latest")
    #expect(history.violations(in: west) == [])
    #expect(difference(west, try pair.east.image("disk")) == nil)
  }

  @Test func `kills of both sites at once`() throws {
    let pair = try SitePair()
    let history = WriteHistory(sectors: Self.sectors)
    var generator = SeededGenerator(seed: testSeed(4))
    for round in 0..<testRounds(3) {
      let load = load(pair, history, round: round)
      try load.makeProgress(Int.random(in: 1...400, using: &generator))
      try pair.east.crash()
      try pair.west.crash()
      try load.stop()
      if round % 2 == 0 {
        try pair.east.start()
        try pair.west.start()
      } else {
        try pair.west.start()
        try pair.east.start()
      }
      let image = try pair.east.image("disk")
      #expect(history.violations(in: image) == [], "round \(round)")
      history.settle(with: image)
    }
    try pair.drain()
    #expect(history.violations(in: try pair.west.image("disk@latest")) == [])
  }

  @Test func `instants of before a kill open after it at both sites`() throws {
    let pair = try SitePair(disks: ["disk": 2 << 20]) { east, _ in
      east.configuration.groups[0].history = "1h"
    }
    var history = PlainHistory(size: 2 << 20)
    var generator = SeededGenerator(seed: testSeed(5))
    var instants: [UInt64] = []
    for round in 0..<testRounds(3) {
      try history.drive(
        pair.east.connect("disk"), count: 20, maximumLength: 30_000, using: &generator)
      instants.append(quietInstant())
      if round % 2 == 0 { try pair.east.crash() } else { try pair.west.crash() }
      if round % 2 == 0 { try pair.east.start() } else { try pair.west.start() }
    }
    // Instants lie in the history only when something was stamped after them.
    try pair.east.checkpoint("end").checked()
    try pair.drain()
    for site in [pair.east, pair.west] {
      for instant in instants {
        let view = try site.image("disk@\(rfc3339(instant))")
        #expect(difference(view, history.image(at: instant)) == nil, "\(site.name)")
      }
    }
  }
}
