/// A thread of the process that lets go of what may take long to end: the last descriptor of a
/// large file without a name, whose blocks the system then gives up.
public enum LateClosing {
  private static let pool = WorkerPool(name: "closing", threadLimit: 1, priority: .background)

  /// Runs it there. Does not block.
  public static func submit(_ job: @escaping @Sendable () -> Void) { pool.submit(job) }
}
