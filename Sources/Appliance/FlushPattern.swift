/// Whether a FLUSH is about to come, judged by the ones before.
///
/// A client that commits (a database, a file system's log) sends the same number of writes before
/// each FLUSH. Once that has repeated, the sync can begin while the reply to the last write is
/// still on its way, so the FLUSH finds it under way or done. A wrong guess costs one sync that
/// nobody waited for; the pattern has to repeat again before the next guess.
struct FlushPattern {
  private static let repeatsBeforeGuess = 4

  private var turnsSinceFlush = 0
  private var usualTurns = 0
  private var repeats = 0

  /// A turn staged writes.
  mutating func wrote() {
    turnsSinceFlush += 1
    if turnsSinceFlush > usualTurns { repeats = 0 }
  }

  mutating func flushed() {
    repeats = turnsSinceFlush == usualTurns ? min(repeats + 1, Self.repeatsBeforeGuess) : 0
    usualTurns = turnsSinceFlush
    turnsSinceFlush = 0
  }

  /// After `wrote`: the next request should be a FLUSH.
  var expectsFlush: Bool {
    repeats >= Self.repeatsBeforeGuess && turnsSinceFlush == usualTurns && usualTurns > 0
  }
}
