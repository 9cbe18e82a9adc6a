import Foundation

/// What a test waits for takes as long as the machine needs, which may be busy: this limit is for
/// what hangs, and nothing may be concluded from it about speed.
public let hangLimit = Duration.seconds(180)

/// Waits until `condition` holds, asking every few milliseconds.
///
/// Blocks the calling thread. What `condition` throws is passed on at once.
/// - Throws: `RigError` naming `what` when `limit` has passed.
public func eventually(
  _ what: String, within limit: Duration = hangLimit, _ condition: () throws -> Bool
) throws {
  let deadline = ContinuousClock.now + limit
  while try !condition() {
    guard ContinuousClock.now < deadline else { throw RigError("not within \(limit): \(what)") }
    Thread.sleep(forTimeInterval: 0.002)
  }
}

/// The wall clock in nanoseconds since 1970: the clock that sites stamp records with.
public func wallClockNanoseconds() -> UInt64 {
  var time = timespec()
  unsafe clock_gettime(CLOCK_REALTIME, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Returns an instant with at least `margin` of silence before and after it, provided that the
/// caller writes nothing meanwhile. Records stamped earlier are before it, later ones after it.
public func quietInstant(margin: Duration = .milliseconds(3)) -> UInt64 {
  pause(margin)
  let instant = wallClockNanoseconds()
  pause(margin)
  return instant
}

/// Lets the wall clock advance by `duration`. Separates stamps of two events; nothing may be
/// concluded from it about work that runs meanwhile.
private func pause(_ duration: Duration) {
  let end = ContinuousClock.now + duration
  while ContinuousClock.now < end { Thread.sleep(forTimeInterval: 0.001) }
}

/// An instant as RFC 3339 in UTC with nanoseconds, as names of views take it.
public func rfc3339(_ nanoseconds: UInt64) -> String {
  var seconds = time_t(nanoseconds / 1_000_000_000)
  var parts = unsafe tm()
  unsafe gmtime_r(&seconds, &parts)
  func digits(_ value: Int32, _ count: Int) -> String { digits(UInt64(value), count) }
  func digits(_ value: UInt64, _ count: Int) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, count - text.count)) + text
  }
  let date = unsafe [
    digits(parts.tm_year + 1900, 4), digits(parts.tm_mon + 1, 2), digits(parts.tm_mday, 2),
  ]
  let time = unsafe [digits(parts.tm_hour, 2), digits(parts.tm_min, 2), digits(parts.tm_sec, 2)]
  let fraction = digits(nanoseconds % 1_000_000_000, 9)
  return "\(date.joined(separator: "-"))T\(time.joined(separator: ":")).\(fraction)Z"
}

extension Duration {
  /// Seconds, for interfaces of the C library and Foundation.
  var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
