import CommandOptions
import JournalTools

/// What the journal commands have in common.
enum JournalArguments {
  static let folder = CommandArgument("DIR", help: "the journal folder of a group")
  static let json = CommandOption.flag("json", help: "print JSON")
  static let exitCodes = [
    ExitCodeHelp(0, "done"),
    ExitCodeHelp(1, "failed; standard error says why"),
    ExitCodeHelp(2, "the command line is wrong"),
  ]

  /// Reads the folder; says on standard error when a site is using it.
  static func open(_ invocation: Invocation) throws -> JournalFolder {
    let folder = try JournalFolder(invocation.argument("DIR") ?? "")
    if folder.isInUse {
      Output.error(
        "tapline: note: a site is using \(folder.path); this shows it as it was a moment ago")
    }
    return folder
  }

  /// Says on standard error that the state file cannot be used.
  static func warnOfState(_ folder: JournalFolder) {
    guard let problem = folder.stateReading.problem else { return }
    Output.error(
      "tapline: note: \(folder.path)/\(JournalFolder.stateName): \(problem); which segments are"
        + " part of the journal cannot be told")
  }

  static func number<Value: FixedWidthInteger>(
    _ option: String, _ invocation: Invocation, _ type: Value.Type = Value.self
  ) throws -> Value? {
    guard let text = invocation.value(of: option) else { return nil }
    guard text.utf8.allSatisfy({ (48...57).contains($0) }), let value = Value(text) else {
      throw CommandFailure(.usage, "--\(option): \(text.debugDescription) is not a number in range")
    }
    return value
  }
}
