import CommandOptions
import Control

/// `tapline sync`.
enum SyncCommand {
  static let command = Command(
    "sync", summary: "decide between two sites that have diverged",
    discussion: """
      When a protected site comes back older than its peer, or a clone of it is started, each of the
      two may have records that the other lacks. Nothing is sent or overwritten then, and the health
      of the group says at both sites what each of them has.

      With --discard-follower the records of this site, where the group is protected, stay, and what
      its peer has more is given up: it is cut off there, or a full copy is made.
      Where the group has several peers, --peer names the one that is meant.
      It holds for just what the peer was seen to have. To keep the peer's copy instead, see
      docs/recover.md.

      \(ControlAddress.discussion)
      """,
    options: [
      .flag("discard-follower", help: "give up what the peer has more"),
      .value("peer", "SITE", help: "the peer; needed where the group has several"),
      .flag("json", help: "print JSON"),
    ] + ControlAddress.options,
    arguments: [CommandArgument("GROUP", help: "the group's name")])

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let group = invocation.argument("GROUP") ?? ""
    guard invocation.hasFlag("discard-follower") else {
      throw CommandFailure(
        .usage,
        "sync: nothing is decided without --discard-follower, which gives up what the peer has "
          + "more")
    }
    let status = try ControlAddress.client(invocation).discardFollower(
      group: group, peer: invocation.value(of: "peer"))
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(status) + "\n")
    } else {
      Output.write(
        "\(status.group): what \(status.peer) has more, up to its record"
          + " \(status.discardedThrough), is given up"
          + (status.isDone ? "" : " as soon as the link connects") + "\n")
    }
    return .success
  }
}
