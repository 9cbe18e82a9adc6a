import Appliance
import CommandOptions
import Control

/// `tapline timeline`.
enum TimelineCommand {
  static let command = Command(
    "timeline", summary: "show the instants of a group that can be opened, and its checkpoints",
    discussion: """
      Of the checkpoints, the newest are shown, or with --from alone the oldest from there on. An \
      INSTANT is of RFC 3339, or -2h, or checkpoint:TAG, or latest.

      \(ControlAddress.discussion)
      """,
    options: [
      .value("from", "INSTANT", help: "no checkpoint before this instant"),
      .value("to", "INSTANT", help: "no checkpoint behind this instant"),
      .value("limit", "N", help: "at most so many checkpoints (\(TimelineQuery.defaultLimit))"),
      .flag("json", help: "print JSON"),
    ] + ControlAddress.options,
    arguments: [CommandArgument("GROUP", help: "the group's name")])

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let group = invocation.argument("GROUP") ?? ""
    let limit = try invocation.value(of: "limit").map { text in
      guard let limit = Int(text), (1...TimelineQuery.largestLimit).contains(limit) else {
        throw CommandFailure(.usage, "--limit: a number from 1 to \(TimelineQuery.largestLimit)")
      }
      return limit
    }
    let timeline = try ControlAddress.client(invocation).timeline(
      group: group, from: invocation.value(of: "from"), to: invocation.value(of: "to"),
      limit: limit)
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(timeline) + "\n")
    } else {
      Output.write(TimelineText.render(timeline))
    }
    return .success
  }
}
