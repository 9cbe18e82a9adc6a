import BlockModel
import Testing

@testable import Analyzer

/// Proves that windows hold what happened inside them and nothing else, whatever the clock does,
/// and that rates are counts over the time they came in.
@Suite struct WindowedRatesTests {
  private func writes(_ rates: WindowedRates) -> [UInt64] {
    rates.readings().map(\.counters.writes)
  }

  private func countWrite(_ rates: inout WindowedRates, at seconds: Double) {
    _ = rates.advance(to: instant(seconds))
    rates.total.writes += 1
  }

  @Test(arguments: zip(0..<4, [1.0, 10, 60, 600]))
  func windowForgetsAWriteOfItsOwnAge(window: Int, seconds: Double) {
    var rates = WindowedRates()
    countWrite(&rates, at: 0)
    _ = rates.advance(to: instant(seconds - 1e-6))
    #expect(writes(rates)[window] == 1)
    _ = rates.advance(to: instant(seconds))
    #expect(writes(rates)[window] == 0)
    #expect(rates.total.writes == 1)
  }

  @Test func windowSlidesWithoutLosingOrKeepingMore() {
    var rates = WindowedRates()
    for millisecond in 0..<5000 { countWrite(&rates, at: Double(millisecond) / 1000) }
    // The newest slot holds 4.95 ..< 5.00, so the shortest window reaches back to 4.00.
    #expect(writes(rates) == [1000, 5000, 5000, 5000])
    _ = rates.advance(to: instant(5.4))
    // 4.45 ..< 5.45
    #expect(writes(rates) == [550, 5000, 5000, 5000])
  }

  @Test func rateIsTheCountOverTheCoveredTime() {
    var rates = WindowedRates()
    for millisecond in 0..<20_000 { countWrite(&rates, at: Double(millisecond) / 1000) }
    _ = rates.advance(to: instant(20))
    let readings = rates.readings()
    #expect(readings.map(\.coveredSeconds) == [0.95, 9.5, 20, 20])
    #expect(
      readings.map { Double($0.counters.writes) / $0.coveredSeconds } == [
        1000, 1000, 1000, 1000,
      ])
  }

  @Test func firstInstantCoversOneTick() {
    var rates = WindowedRates()
    countWrite(&rates, at: 0)
    #expect(rates.readings().map(\.coveredSeconds) == [0.05, 0.05, 0.05, 0.05])
  }

  @Test func earlierInstantCountsAsTheNewest() {
    var rates = WindowedRates()
    countWrite(&rates, at: 5)
    countWrite(&rates, at: 1)
    countWrite(&rates, at: 5.01)
    #expect(writes(rates) == [3, 3, 3, 3])
    _ = rates.advance(to: instant(5.5))
    #expect(writes(rates) == [3, 3, 3, 3])
    _ = rates.advance(to: instant(6))
    #expect(writes(rates) == [0, 3, 3, 3])
  }

  @Test(arguments: [Timestamp.zero, Timestamp(nanoseconds: 1), .distantFuture])
  func extremeInstantsAreHarmless(extreme: Timestamp) {
    var rates = WindowedRates()
    countWrite(&rates, at: 0)
    _ = rates.advance(to: extreme)
    _ = rates.advance(to: extreme)
    countWrite(&rates, at: 0)
    #expect(rates.total.writes == 2)
    #expect(rates.readings().allSatisfy { $0.coveredSeconds > 0 })
  }
}
