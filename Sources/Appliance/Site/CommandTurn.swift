import SystemIO

/// Commands that change what a site has come one after the other: each takes its turn, and may
/// block meanwhile for long. Any thread but a loop's.
final class CommandTurn: Sendable {
  private let isTaken = Monitor(false)

  /// Blocks until nobody else has the turn.
  func take<Result, Failure: Error>(
    _ command: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    isTaken.wait { isTaken -> Void? in
      if isTaken { return nil }
      isTaken = true
      return ()
    }
    defer { isTaken.update { $0 = false } }
    return try command()
  }
}
