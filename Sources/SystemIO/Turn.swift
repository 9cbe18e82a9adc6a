/// Things that are done one after the other: each takes its turn, and may block meanwhile for long.
/// Any thread but a loop's.
public final class Turn: Sendable {
  private let isTaken = Monitor(false)

  public init() {}

  /// Blocks until nobody else has the turn.
  public func take<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    isTaken.wait { isTaken -> Void? in
      if isTaken { return nil }
      isTaken = true
      return ()
    }
    defer { isTaken.updateForOne { $0 = false } }
    return try body()
  }
}
