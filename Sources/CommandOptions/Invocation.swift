/// What a command line asks for.
public enum CommandLineRequest: Equatable, Sendable {
  case run(Invocation)
  /// Print this text on standard output and exit with 0.
  case help(String)
  /// Print this line on standard output and exit with 0.
  case version(String)
}

/// A command with the options and arguments that it was given.
///
/// Asking for an option or an argument that the command does not declare is a mistake of the
/// program and traps.
public struct Invocation: Equatable, Sendable {
  /// The names of the subcommands without the program's, such as `["journal", "ls"]`.
  public let command: [String]
  private let optionValues: [String: [String]]
  private let argumentValues: [String: [String]]

  /// Every declared name has an entry. A flag has one empty value for each time it was given.
  init(command: [String], options: [String: [String]], arguments: [String: [String]]) {
    self.command = command
    optionValues = options
    argumentValues = arguments
  }

  public func hasFlag(_ option: String) -> Bool { !values(of: option).isEmpty }

  /// Nil when the option was not given; never nil for a required option.
  public func value(of option: String) -> String? { values(of: option).last }

  /// In the order in which they were given.
  public func values(of option: String) -> [String] {
    guard let values = optionValues[option] else {
      preconditionFailure("\(command) declares no option --\(option)")
    }
    return values
  }

  /// Nil when an optional argument was not given; never nil for a required one.
  public func argument(_ name: String) -> String? { arguments(name).first }

  /// The values of an argument that takes many.
  public func arguments(_ name: String) -> [String] {
    guard let values = argumentValues[name] else {
      preconditionFailure("\(command) declares no argument \(name)")
    }
    return values
  }
}

/// A command line that does not fit the declaration.
public struct UsageError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The program and the subcommands as far as they were understood: `tapline journal`.
  public let program: String
  public let reason: String

  public init(program: String, reason: String) {
    self.program = program
    self.reason = reason
  }

  /// Two lines for standard error: the reason, and where help is.
  public var description: String { "\(program): \(reason)\nTry '\(program) --help'." }
}
