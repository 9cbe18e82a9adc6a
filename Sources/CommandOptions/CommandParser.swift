import BlockModel

extension Command {
  /// Reads the arguments of the process, without the program's name.
  ///
  /// The conventions are those of `getopt_long`: `--name VALUE` and `--name=VALUE`, `-c VALUE` and
  /// `-cVALUE`, letters of flags together, options before and after arguments, `--` before
  /// arguments that start with a dash, `-` alone as an argument. The value of an option may start
  /// with a dash. Options of a command that has subcommands stand before the subcommand.
  ///
  /// `--help` and `--version` count where they are met: nothing after them is checked.
  public func parse(
    _ arguments: [String], version: String
  ) throws(UsageError) -> CommandLineRequest {
    var parser = CommandParser(root: self, arguments: arguments, version: version)
    return try parser.parse()
  }
}

/// Walks over the words of a command line from left to right.
struct CommandParser {
  private let root: Command
  private let version: String
  private var words: ArraySlice<String>
  private var command: Command
  private var path: [String] = []
  private var exitCodes: [ExitCodeHelp]
  private var options: [String: [String]] = [:]
  private var positionals: [String] = []
  private var request: CommandLineRequest?

  init(root: Command, arguments: [String], version: String) {
    self.root = root
    self.version = version
    words = arguments[...]
    command = root
    exitCodes = root.exitCodes
    declareOptions()
  }

  mutating func parse() throws(UsageError) -> CommandLineRequest {
    while request == nil, let word = words.popFirst() {
      if word == "--" {
        if command.subcommands.isEmpty {
          positionals += words
          words = []
        }
      } else if word.hasPrefix("--") {
        try long(word.dropFirst(2))
      } else if word.hasPrefix("-"), word != "-" {
        try short(word.dropFirst())
      } else if command.subcommands.isEmpty {
        positionals.append(word)
      } else {
        try enter(word)
      }
    }
    if let request { return request }
    guard command.subcommands.isEmpty else { throw error("a command is missing") }
    try checkRequired()
    return .run(Invocation(command: path, options: options, arguments: try bindArguments()))
  }

  private var program: String { ([root.name] + path).joined(separator: " ") }

  private func error(_ reason: String) -> UsageError {
    UsageError(program: program, reason: reason)
  }

  private mutating func enter(_ name: String) throws(UsageError) {
    guard let next = command.subcommands.first(where: { $0.name == name }) else {
      let known = command.subcommands.map(\.name)
      throw error(
        "unknown command \(name.quotedForMessage)" + hint(nearestName(to: name, in: known)))
    }
    try checkRequired()
    command = next
    path.append(name)
    if !next.exitCodes.isEmpty { exitCodes = next.exitCodes }
    declareOptions()
  }

  private mutating func declareOptions() {
    for option in command.options { options[option.name] = options[option.name] ?? [] }
  }

  private mutating func long(_ word: Substring) throws(UsageError) {
    let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(parts[0])
    guard let option = command.allOptions.first(where: { $0.name == name }) else {
      let near = nearestName(to: name, in: command.allOptions.map(\.name))
      throw error("unknown option \("--\(name)".quotedForMessage)" + hint(near.map { "--\($0)" }))
    }
    let value = parts.count == 2 ? String(parts[1]) : nil
    if option.placeholder == nil, value != nil {
      throw error("option '--\(name)' takes no value")
    }
    try apply(option, attached: value, written: "--\(name)")
  }

  private mutating func short(_ letters: Substring) throws(UsageError) {
    var rest = letters
    while request == nil, let letter = rest.popFirst() {
      guard let option = command.allOptions.first(where: { $0.short == letter }) else {
        let hint = letter.isNumber ? "; write '--' before an argument that starts with '-'" : ""
        throw error("unknown option \("-\(letter)".quotedForMessage)" + hint)
      }
      let takesRest = option.placeholder != nil && !rest.isEmpty
      try apply(option, attached: takesRest ? String(rest) : nil, written: "-\(letter)")
      if takesRest { return }
    }
  }

  private mutating func apply(
    _ option: CommandOption, attached: String?, written: String
  ) throws(UsageError) {
    if option.name == "help" {
      request = .help(command.help(program: program, exitCodes: exitCodes))
    } else if option.name == "version" {
      request = .version("\(root.name) \(version)")
    } else if let placeholder = option.placeholder {
      guard let value = attached ?? words.popFirst() else {
        throw error("option '\(written)' needs a value: \(placeholder)")
      }
      if !option.isRepeatable, options[option.name]?.isEmpty == false {
        throw error("option '--\(option.name)' is given twice")
      }
      options[option.name, default: []].append(value)
    } else {
      options[option.name, default: []].append("")
    }
  }

  private func checkRequired() throws(UsageError) {
    for option in command.options where option.isRequired {
      guard options[option.name]?.isEmpty == false else {
        throw error("option '--\(option.name) \(option.placeholder ?? "")' is missing")
      }
    }
  }

  /// Gives the arguments their names, in order.
  private func bindArguments() throws(UsageError) -> [String: [String]] {
    var rest = positionals[...]
    var bound: [String: [String]] = [:]
    for argument in command.arguments {
      if argument.takesMany {
        bound[argument.name] = Array(rest)
        rest = []
      } else {
        bound[argument.name] = rest.popFirst().map { [$0] } ?? []
      }
      if argument.isRequired, bound[argument.name]?.isEmpty != false {
        throw error("the argument \(argument.name) is missing")
      }
    }
    if let extra = rest.first {
      throw error("unexpected argument \(extra.quotedForMessage)")
    }
    return bound
  }

  private func hint(_ near: String?) -> String { near.map { "; did you mean '\($0)'?" } ?? "" }
}
