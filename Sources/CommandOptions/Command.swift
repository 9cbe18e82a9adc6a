/// An option of a command, such as `-c, --config FILE` or `--json`.
public struct CommandOption: Sendable {
  /// The long name without its dashes.
  public let name: String
  public let short: Character?
  /// What help calls the value; nil for a flag.
  public let placeholder: String?
  public let isRequired: Bool
  public let isRepeatable: Bool
  public let help: String

  /// An option that is there or not.
  public static func flag(
    _ name: String, short: Character? = nil, help: String
  ) -> CommandOption {
    CommandOption(
      name: name, short: short, placeholder: nil, isRequired: false, isRepeatable: true,
      help: help)
  }

  /// An option with a value. Given twice it is refused, unless it is repeatable.
  public static func value(
    _ name: String, short: Character? = nil, _ placeholder: String, required: Bool = false,
    repeatable: Bool = false, help: String
  ) -> CommandOption {
    CommandOption(
      name: name, short: short, placeholder: placeholder, isRequired: required,
      isRepeatable: repeatable, help: help)
  }

  static let builtIn: [CommandOption] = [
    .flag("help", short: "h", help: "print this help and exit"),
    .flag("version", short: "V", help: "print the version and exit"),
  ]
}

/// A positional argument of a command.
public struct CommandArgument: Sendable {
  public enum Arity: Sendable {
    case one
    case optional
    case zeroOrMore
    case oneOrMore
  }

  /// In capitals, as help shows it.
  public let name: String
  public let arity: Arity
  public let help: String

  public init(_ name: String, _ arity: Arity = .one, help: String) {
    self.name = name
    self.arity = arity
    self.help = help
  }

  var isRequired: Bool { arity == .one || arity == .oneOrMore }
  var takesMany: Bool { arity == .zeroOrMore || arity == .oneOrMore }
}

/// A line of the section on exit codes.
public struct ExitCodeHelp: Sendable {
  public let code: Int32
  public let help: String

  public init(_ code: Int32, _ help: String) {
    self.code = code
    self.help = help
  }
}

/// A program or one of its subcommands, declared once for the parser and for the help text.
///
/// Every command also has `--help`, `-h` and `--version`, `-V`.
public struct Command: Sendable {
  public let name: String
  /// One line, for the list of commands.
  public let summary: String
  /// Paragraphs between blank lines; help wraps them.
  public let discussion: String
  public let options: [CommandOption]
  public let arguments: [CommandArgument]
  public let subcommands: [Command]
  /// Empty for those of the command above.
  public let exitCodes: [ExitCodeHelp]

  /// - Precondition: names are unique and not those of the built-in options; a command has
  ///   arguments or subcommands, not both; required arguments come first, and only the last one
  ///   takes many values.
  public init(
    _ name: String, summary: String, discussion: String = "", options: [CommandOption] = [],
    arguments: [CommandArgument] = [], subcommands: [Command] = [],
    exitCodes: [ExitCodeHelp] = []
  ) {
    self.name = name
    self.summary = summary
    self.discussion = discussion
    self.options = options
    self.arguments = arguments
    self.subcommands = subcommands
    self.exitCodes = exitCodes
    let all = options + CommandOption.builtIn
    precondition(Set(all.map(\.name)).count == all.count, "\(name): two options of one name")
    let shorts = all.compactMap(\.short)
    precondition(Set(shorts).count == shorts.count, "\(name): two options of one letter")
    precondition(Set(subcommands.map(\.name)).count == subcommands.count)
    precondition(Set(arguments.map(\.name)).count == arguments.count)
    precondition(arguments.isEmpty || subcommands.isEmpty)
    precondition(arguments.dropLast().allSatisfy { !$0.takesMany })
    precondition(
      !zip(arguments, arguments.dropFirst()).contains { !$0.isRequired && $1.isRequired })
  }

  var allOptions: [CommandOption] { options + CommandOption.builtIn }
}
