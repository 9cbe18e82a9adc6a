import CommandOptions
import Control

/// `tapline timeline`.
enum TimelineCommand {
  static let command = Command(
    "timeline", summary: "show the instants of a group that can be opened, and its checkpoints",
    discussion: ControlAddress.discussion,
    options: [.flag("json", help: "print JSON")] + ControlAddress.options,
    arguments: [CommandArgument("GROUP", help: "the group's name")])

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let group = invocation.argument("GROUP") ?? ""
    let timeline = try ControlAddress.client(invocation).timeline(group: group)
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(timeline) + "\n")
    } else {
      Output.write(TimelineText.render(timeline))
    }
    return .success
  }
}
