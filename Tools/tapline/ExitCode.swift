import CommandOptions

/// What the process ends with.
enum ExitCode: Int32 {
  case success = 0
  case failed = 1
  /// The command line or the configuration is wrong.
  case usage = 2
  /// No site answers at the control address.
  case unreachable = 3
  /// A salvage wrote its file, and records are missing in it.
  case incomplete = 4

  static let help = [
    ExitCodeHelp(0, "done"),
    ExitCodeHelp(1, "failed; standard error says why"),
    ExitCodeHelp(2, "the command line or the configuration is wrong"),
    ExitCodeHelp(3, "no site answers at the control address"),
  ]
}

/// Ends a command with a message on standard error.
struct CommandFailure: Error {
  var code: ExitCode
  var message: String

  init(_ code: ExitCode, _ message: String) {
    self.code = code
    self.message = message
  }
}
