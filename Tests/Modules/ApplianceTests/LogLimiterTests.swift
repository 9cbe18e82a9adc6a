import Testing

@testable import Appliance

/// Proves that a client which repeats a mistake for ever costs a few lines, whatever it puts in it,
/// and keeps no line of another kind out.
@Suite struct LogLimiterTests {
  private var limiter = LogLimiter()
  private static let second: UInt64 = 1_000_000_000

  @Test mutating func `a kind is logged a few times in a period, and then counted`() {
    let lines = (0..<100).map { "a client announced \($0) bytes of payload" }
    let logged = lines.filter { limiter.lets($0, now: 0) }
    #expect(logged == Array(lines.prefix(LogLimiter.burst)))
    let early = limiter.endPeriods(now: 9 * Self.second)
    #expect(early == [])
    let told = limiter.endPeriods(now: 10 * Self.second)
    #expect(told == ["a client announced 99 bytes of payload (95 times more)"])
    let isLogged = limiter.lets(lines[0], now: 11 * Self.second)
    #expect(isLogged)
  }

  @Test mutating func `what a client chose makes no kind of its own`() {
    let logged = (0..<100).filter {
      limiter.lets("no disk \"\(String(repeating: "x", count: $0))\" at this site", now: 0)
    }
    #expect(logged.count == LogLimiter.burst)
  }

  @Test mutating func `another kind is logged all the same`() {
    for _ in 0..<100 { _ = limiter.lets("handshake: no magic", now: 0) }
    let isLogged = limiter.lets("a client sent something that is not a request", now: 0)
    #expect(isLogged)
  }

  @Test mutating func `kinds without end are one kind`() {
    let logged = (0..<10_000).filter { number in
      let letters = String(
        String.UnicodeScalarView(
          String(number).unicodeScalars.compactMap { Unicode.Scalar($0.value + 49) }))
      return limiter.lets("kind \(letters)", now: 0)
    }
    #expect(logged.count < 300)
  }
}
