import Foundation
import TestSupport
import Testing

/// Proves that a hand-over in which either process is killed, at any moment, loses nothing that was
/// acknowledged and never leaves two processes with one site. `TAPLINE_ROUNDS` sets how many are
/// made.
@Suite(.scratch) struct TakeOverCrashTests {
  private static let sectors = 16384

  @Test func `kills of either process at any moment of a hand-over`() throws {
    let pair = try SitePair { east, west in
      for site in [east, west] { site.configuration.groups[0].segmentSize = "1M" }
    }
    let history = WriteHistory(sectors: Self.sectors)
    var generator = SeededGenerator(seed: testSeed(1))
    var loads = 0
    func newLoad() -> WriteLoad {
      loads += 1
      var shape = WriteLoad.Shape()
      shape.seed = testSeed(2) &+ UInt64(loads)
      return WriteLoad(pair.east.uri("disk"), history: history, shape: shape)
    }
    var load = newLoad()
    for round in 0..<testRounds(8) {
      try load.makeProgress(Int.random(in: 1...200, using: &generator))
      let victim = TakeOverVictim.allCases.randomElement(using: &generator)!
      // Most of the time is spent before the site changes hands; the moment itself is short.
      let longest = [20_000, 100_000, 400_000].randomElement(using: &generator)!
      let delay = Duration.microseconds(Int.random(in: 0...longest, using: &generator))
      try pair.east.takeOver(killing: victim, after: delay)
      if pair.east.isRunning, load.failure == nil { continue }
      try load.stop()
      if !pair.east.isRunning { try pair.east.start() }
      let image = try pair.east.image("disk")
      #expect(history.violations(in: image) == [], "round \(round): \(victim) after \(delay)")
      history.settle(with: image)
      #expect(history.cutViolations(in: try pair.west.image("disk@latest")) == [])
      load = newLoad()
    }
    try load.makeProgress(50)
    try pair.expectNothingLost(by: load, history)
    #expect(!pair.east.allLogs.contains("goes back"))
  }
}
