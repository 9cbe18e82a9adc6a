import Foundation
import SystemIO

/// SIGTERM, SIGINT and SIGHUP as events: blocked in every thread and taken by one that waits for
/// them.
/// SIGPIPE is ignored: a peer that goes away is an error of its own connection.
struct TerminationSignals: Sendable {
  /// Blocks the signals in the calling thread and in all that it starts from now on.
  init() {
    Socket.brokenPipesAreErrors
    var set = Self.set
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  /// The one that asks for the configuration to be read again.
  static let hangUp = "SIGHUP"

  /// Blocks until one of the signals arrives, and returns its name.
  func wait() -> String {
    var set = Self.set
    var number: Int32 = 0
    while unsafe sigwait(&set, &number) != 0 {}
    switch number {
    case SIGHUP: return Self.hangUp
    case SIGTERM: return "SIGTERM"
    default: return "SIGINT"
    }
  }

  /// Hands the names of all further signals to `log`, on a thread that ends with the process.
  func logFurther(_ log: @escaping @Sendable (String) -> Void) {
    _ = SystemIO.Thread(name: "signals") {
      while true { log(wait()) }
    }
  }

  private static var set: sigset_t {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    unsafe sigaddset(&set, SIGTERM)
    unsafe sigaddset(&set, SIGINT)
    unsafe sigaddset(&set, SIGHUP)
    return set
  }
}
