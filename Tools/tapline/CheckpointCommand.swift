import BlockModel
import CommandOptions
import Control

/// `tapline checkpoint`.
enum CheckpointCommand {
  static let command = Command(
    "checkpoint", summary: "name the present instant of a group",
    discussion: """
      The checkpoint is durable when the command ends. Open a disk at it as
      DISK@checkpoint:TAG.

      \(ControlAddress.discussion)
      """,
    options: [
      .value("tag", short: "t", "TAG", required: true, help: "the checkpoint's name"),
      .flag("json", help: "print JSON"),
    ] + ControlAddress.options,
    arguments: [CommandArgument("GROUP", help: "the group's name")])

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let group = invocation.argument("GROUP") ?? ""
    let tag = invocation.value(of: "tag") ?? ""
    guard CheckpointTag.isValid(tag) else {
      throw CommandFailure(
        .usage,
        "--tag: a tag has 1 to \(CheckpointTag.maximumBytes) bytes and no control characters")
    }
    let client = try ControlAddress.client(invocation)
    let checkpoint = try client.checkpoint(group: group, tag: tag)
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(checkpoint) + "\n")
    } else {
      Output.write(
        "checkpoint \(checkpoint.tag) of \(group) at \(checkpoint.instant), sequence"
          + " \(checkpoint.sequence)\n")
    }
    return .success
  }
}
