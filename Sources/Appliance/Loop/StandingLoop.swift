import SystemIO

/// A loop that stands still between two turns until it is released: nothing there can change what
/// was found while it stands.
struct StandingLoop: Sendable {
  private let released: Wakeup

  /// Stops the loop if `look`, which is called on it, finds something; nil when it does not, or
  /// when the loop does not answer in time. Blocks until the loop has finished what it does. Any
  /// thread but a loop's.
  static func stop<Found: Sendable>(
    _ loop: EventLoop, timeoutMilliseconds: Int32, _ look: @escaping @Sendable () -> Found?
  ) throws(Errno) -> (loop: StandingLoop, found: Found)? {
    let released = try Wakeup()
    let answer: Found?? = loop.ask(timeoutMilliseconds: timeoutMilliseconds) { give in
      let found = look()
      give(found)
      if found != nil { released.wait(timeoutMilliseconds: -1) }
    }
    guard let found = answer ?? nil else {
      // Should the loop come to it later, it does not stand.
      released.signal()
      return nil
    }
    return (StandingLoop(released: released), found)
  }

  /// Must be called in the end: the loop waits for it without a bound.
  func release() { released.signal() }
}
