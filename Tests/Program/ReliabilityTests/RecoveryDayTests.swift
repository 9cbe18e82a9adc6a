import Foundation
import TestSupport
import Testing

/// Proves that failovers, commits, rollbacks, moves, kills and cuts, in any order and at either
/// site, leave one owner in the end, lose nothing that it acknowledged, and keep apart what the
/// other one did. `Tools/soak MINUTES --lineages` runs it for as long as one likes.
@Suite(.scratch) struct RecoveryDayTests {
  /// How likely each is beside the others.
  private static let weights: [(RecoveryDay.Event, Int)] = [
    (.write, 30), (.failOver, 8), (.failOverToThen, 8), (.commit, 6), (.rollBack, 6), (.move, 8),
    (.kill, 6), (.restart, 10), (.cut, 6), (.mend, 8), (.lookBack, 8), (.lookAtParked, 4),
    (.discardParked, 3), (.agreement, 8),
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
    var trail: [String] = []
    do {
      for step in 0...steps where day.lost.isEmpty {
        let event = step == steps ? .agreement : events.randomElement(using: &generator)!
        trail.append(event.rawValue)
        try day.happen(event)
      }
    } catch {
      Issue.record("seed \(seed), after \(trail): \(error)")
    }
    print("lineages: seed \(seed): \(day.counts)")
    #expect(day.lost == [], "seed \(seed), after \(trail); refused: \(day.refusals)")
  }
}
