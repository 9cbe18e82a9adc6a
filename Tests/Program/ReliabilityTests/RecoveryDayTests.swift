import Foundation
import TestSupport
import Testing

/// Proves that failovers, commits, rollbacks and moves at three sites, in any order, with kills in
/// the middle, restarts and cuts of the links, leave one owner in the end, lose nothing that it
/// acknowledged, and keep apart what the others did. `Tools/soak MINUTES --lineages` runs it for as
/// long as one likes.
@Suite(.scratch) struct RecoveryDayTests {
  /// How likely each is beside the others.
  private static let weights: [(RecoveryDay.Event, Int)] = [
    (.write, 30), (.failOver, 8), (.failOverToThen, 7), (.takeBack, 3), (.commit, 7),
    (.rollBack, 6), (.move, 8), (.kill, 5), (.restart, 8), (.handOver, 3), (.reload, 2),
    (.freeze, 4), (.cut, 4), (.isolate, 3), (.mend, 9), (.lookBack, 6), (.lookAtParked, 3),
    (.discardParked, 2), (.agreement, 7),
  ]

  private static let seconds = ProcessInfo.processInfo.environment["TAPLINE_SOAK_SECONDS"]
    .flatMap(Int.init)

  @Test(arguments: [1, 2, 3] as [UInt64])
  func `people and faults do what they like`(seed: UInt64) throws {
    if Self.seconds == nil { return try run(testSeed(seed), steps: 40) }
    guard seed == 1 else { return }
    let end = ContinuousClock.now + .seconds(Self.seconds!)
    var seed = testSeed(.random(in: 1...999_999))
    while ContinuousClock.now < end {
      try run(seed, steps: 60)
      seed += 1
    }
  }

  private func run(_ seed: UInt64, steps: Int) throws {
    var generator = SeededGenerator(seed: seed)
    let events = Self.weights.flatMap { event, weight in
      [RecoveryDay.Event](repeating: event, count: weight)
    }
    let day = try RecoveryDay(seed: generator.next())
    do {
      for step in 0...steps where day.lost.isEmpty {
        try day.happen(step == steps ? .agreement : events.randomElement(using: &generator)!)
      }
    } catch {
      Issue.record("seed \(seed), after \(day.trail): \(error); refused: \(day.refusals)")
    }
    print("lineages: seed \(seed): \(day.counts)")
    #expect(day.lost == [], "seed \(seed), after \(day.trail); refused: \(day.refusals)")
  }
}
