import TestSupport
import Testing

@testable import Analyzer

/// Proves that the ranges written most are found among noise with rates that bracket the truth,
/// that heat fades, and that memory stays bounded.
@Suite struct HotRangesTests {
  private static let mebibyte: UInt64 = 1 << 20

  private func note(_ ranges: inout HotRanges, range: UInt64, times: Int = 1) {
    for _ in 0..<times {
      ranges.note(start: range * Self.mebibyte, end: range * Self.mebibyte + 4096)
    }
  }

  @Test func hottestComeFirst() {
    var ranges = HotRanges()
    ranges.advance(toSecond: 1000)
    note(&ranges, range: 7, times: 300)
    note(&ranges, range: 3, times: 500)
    note(&ranges, range: 9, times: 100)
    let hottest = ranges.hottest(2, secondsIntoCurrent: 1)
    #expect(hottest.map(\.startBytes) == [3 * Self.mebibyte, 7 * Self.mebibyte])
    #expect(hottest.map(\.writesPerSecond) == [500, 300])
    #expect(hottest.map(\.certainWritesPerSecond) == [500, 300])
  }

  @Test func longWriteHeatsEveryRangeItTouches() {
    var ranges = HotRanges()
    ranges.note(start: 5 * Self.mebibyte - 1, end: 7 * Self.mebibyte)
    let starts = ranges.hottest(10, secondsIntoCurrent: 1).map { $0.startBytes / Self.mebibyte }
    #expect(starts == [4, 5, 6])
  }

  @Test func hotRangesAreFoundAmongScatteredWrites() {
    var ranges = HotRanges()
    ranges.advance(toSecond: 1000)
    var generator = SeededGenerator(seed: 3)
    let hot: [UInt64] = [11, 222, 3333, 44_444]
    for _ in 0..<50_000 {
      for range in hot { note(&ranges, range: range) }
      for _ in 0..<16 {
        note(&ranges, range: UInt64.random(in: 100_000..<1_000_000, using: &generator))
      }
    }
    let hottest = ranges.hottest(4, secondsIntoCurrent: 1)
    #expect(Set(hottest.map { $0.startBytes / Self.mebibyte }) == Set(hot))
    for reading in hottest {
      #expect(reading.certainWritesPerSecond <= 50_000)
      #expect(reading.writesPerSecond >= 50_000)
    }
  }

  @Test func countsBracketTheTruthWhenRangesDisplaceEachOther() {
    var ranges = HotRanges()
    ranges.advance(toSecond: 1000)
    var generator = SeededGenerator(seed: 5)
    var truth: [UInt64: Double] = [:]
    for _ in 0..<20_000 {
      // The square makes low ranges likelier than high ones.
      let uniform = Double.random(in: 0..<1, using: &generator)
      let range = UInt64(uniform * uniform * 2000)
      note(&ranges, range: range)
      truth[range * Self.mebibyte, default: 0] += 1
    }
    let readings = ranges.hottest(.max, secondsIntoCurrent: 1)
    #expect(readings.count == HotRanges.setCount * HotRanges.countersPerSet)
    for reading in readings {
      #expect(reading.certainWritesPerSecond > 0)
      #expect(reading.certainWritesPerSecond <= truth[reading.startBytes]!)
      #expect(reading.writesPerSecond >= truth[reading.startBytes]!)
    }
  }

  @Test func steadyRateIsReportedAsItIs() {
    var ranges = HotRanges()
    for second in 0..<300 as Range<UInt64> {
      ranges.advance(toSecond: 1000 + second)
      note(&ranges, range: 1, times: 250)
    }
    let reading = ranges.hottest(1, secondsIntoCurrent: 1)[0]
    #expect(abs(reading.writesPerSecond - 250) < 1e-6)
  }

  @Test func heatHalvesInAMinuteAndEnds() {
    var ranges = HotRanges()
    for second in 0..<1000 as Range<UInt64> {
      ranges.advance(toSecond: second)
      note(&ranges, range: 1, times: 100)
    }
    ranges.advance(toSecond: 1060)
    let faded = ranges.hottest(1, secondsIntoCurrent: 0)[0].writesPerSecond
    #expect(abs(faded - 50) < 1)
    ranges.advance(toSecond: 2000)
    #expect(ranges.hottest(1, secondsIntoCurrent: 0).isEmpty)
  }

  @Test(arguments: [5000, UInt64.max])
  func longSilenceForgetsEverything(second: UInt64) {
    var ranges = HotRanges()
    ranges.advance(toSecond: 0)
    note(&ranges, range: 1, times: 1_000_000)
    ranges.advance(toSecond: second)
    #expect(ranges.hottest(10, secondsIntoCurrent: 0).isEmpty)
  }

  @Test func earlierSecondChangesNothing() {
    var ranges = HotRanges()
    ranges.advance(toSecond: 1000)
    note(&ranges, range: 1, times: 10)
    ranges.advance(toSecond: 10)
    #expect(ranges.hottest(1, secondsIntoCurrent: 1)[0].writesPerSecond == 10)
  }
}
