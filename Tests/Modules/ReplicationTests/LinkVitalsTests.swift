import Replication
import Testing

/// Proves that what is said of a link follows from what went well last and how long ago that was,
/// and that a link which reconnects again and again does not look well in between.
@Suite struct LinkVitalsTests {
  private static let second: UInt64 = 1_000_000_000
  private var vitals = LinkVitals(now: 0)

  private func verdict(_ seconds: UInt64) -> LinkVitals.Verdict {
    vitals.verdict(now: seconds * Self.second)
  }

  @Test mutating func `a peer that is away is told of after some seconds, and for how long`() {
    #expect(verdict(4) == .well)
    #expect(verdict(5) == .away(nanoseconds: 5 * Self.second))
    vitals.began(now: 6 * Self.second)
    vitals.succeeded(now: 6 * Self.second)
    #expect(verdict(6) == .well)
    vitals.ended(now: 7 * Self.second)
    #expect(verdict(11) == .well)
    // An attempt that fails is no news.
    vitals.ended(now: 11 * Self.second)
    #expect(verdict(12) == .away(nanoseconds: 5 * Self.second))
  }

  @Test mutating func `a peer that was away is back when it acknowledges`() {
    for attempt in UInt64(10)..<20 {
      vitals.began(now: attempt * Self.second)
      #expect(verdict(attempt) == .away(nanoseconds: attempt * Self.second))
      vitals.ended(now: attempt * Self.second)
    }
    vitals.began(now: 20 * Self.second)
    #expect(verdict(29) == .away(nanoseconds: 29 * Self.second))
    #expect(verdict(30) == .stalled(nanoseconds: 30 * Self.second))
    vitals.succeeded(now: 31 * Self.second)
    #expect(verdict(31) == .unstable(losses: 5))
    #expect(verdict(75) == .stalled(nanoseconds: 44 * Self.second))
  }

  @Test mutating func `a peer that takes everything and acknowledges nothing is told of`() {
    vitals.began(now: 0)
    vitals.succeeded(now: 1 * Self.second)
    #expect(verdict(10) == .well)
    #expect(verdict(11) == .stalled(nanoseconds: 10 * Self.second))
    // A new session alone is no success.
    vitals.ended(now: 16 * Self.second)
    vitals.began(now: 16 * Self.second)
    #expect(verdict(17) == .stalled(nanoseconds: 16 * Self.second))
    vitals.succeeded(now: 18 * Self.second)
    #expect(verdict(18) == .well)
  }

  @Test mutating func `a link that breaks again and again is told of, though it is up`() {
    vitals.began(now: 0)
    for second in UInt64(1)...5 {
      #expect(verdict(second) == .well)
      vitals.ended(now: second * Self.second)
      vitals.began(now: second * Self.second)
      vitals.succeeded(now: second * Self.second)
    }
    #expect(verdict(6) == .unstable(losses: 5))
    vitals.succeeded(now: 60 * Self.second)
    #expect(verdict(60) == .unstable(losses: 5))
    #expect(verdict(61) == .well)
  }
}
