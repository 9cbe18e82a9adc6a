import BlockModel
import CommandOptions
import Control
import JournalTools
import SystemIO

/// `tapline journal export`.
enum JournalExportCommand {
  static let command = Command(
    "export", summary: "write a disk as it was at an instant to a raw file",
    discussion: """
      Replays the journal's records of the disk, up to the instant, onto a copy of --base, or onto
      zeros without it, and says what range of the journal the file covers. With the disk's backing
      store as --base the file is the whole disk, for any instant that the store is not past. FILE
      appears when it is complete and durable.

      INSTANT is written as 2026-11-21T10:03:07.512Z, -90s, latest or checkpoint:TAG.

      A journal that is damaged before the instant is refused. With --salvage the file is the disk
      up to the damage, which is a state that it had, and what follows is named. With --past-damage
      whole records behind the damage are written, too: newer, but no state that the disk ever had.
      Neither needs the state file; without it --disk '#0' names the first disk of the group.
      """,
    options: [
      .value("disk", short: "d", "NAME", required: true, help: "the disk"),
      .value("to", short: "o", "FILE", required: true, help: "the raw file to write"),
      .value("at", "INSTANT", help: "the instant; default: latest"),
      .value("base", short: "b", "FILE", help: "a file or block device with the disk's contents"),
      .flag("salvage", help: "export what is whole before the first damage, and say what is not"),
      .flag("past-damage", help: "with --salvage: also write the whole records behind damage"),
      .flag("force", short: "f", help: "replace FILE if it exists"),
      JournalArguments.json,
    ], arguments: [JournalArguments.folder],
    exitCodes: JournalArguments.exitCodes + [
      ExitCodeHelp(4, "exported with --salvage, and something is missing or not certain")
    ])

  static func run(_ invocation: Invocation) throws -> ExitCode {
    var request = ExportRequest(
      disk: invocation.value(of: "disk") ?? "", target: invocation.value(of: "to") ?? "",
      base: invocation.value(of: "base"), replacesTarget: invocation.hasFlag("force"))
    if let text = invocation.value(of: "at") {
      do { request.instant = try InstantExpression(parsing: text) } catch {
        throw CommandFailure(.usage, "--at: \(error)")
      }
    }
    let isSalvage = invocation.hasFlag("salvage")
    let goesOn = invocation.hasFlag("past-damage")
    guard isSalvage || !goesOn else {
      throw CommandFailure(.usage, "--past-damage goes with --salvage")
    }
    let folder = try JournalArguments.open(invocation)
    let now = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
    let outcome =
      isSalvage
      ? try folder.salvage(request, goesOn ? .pastDamage : .upToDamage, now: now)
      : try folder.export(request, now: now)
    for note in outcome.notes { Output.error("tapline: note: \(note)") }
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(outcome) + "\n")
    } else {
      Output.write(summary(outcome, request.target))
    }
    return outcome.salvage?.isComplete == false ? .incomplete : .success
  }

  private static func summary(_ outcome: ExportOutcome, _ target: String) -> String {
    var text =
      "\(target): \(outcome.sizeBytes) bytes, \(outcome.records) records of \(outcome.disk) with"
      + " \(outcome.writtenBytes) bytes of data\n"
    if let first = outcome.firstSequence, let last = outcome.lastSequence,
      let from = outcome.firstInstant, let to = outcome.lastInstant
    {
      text += "covers sequence \(first) to \(last), \(from) to \(to)\n"
    } else {
      text += "covers no records: the file is the base alone\n"
    }
    if let salvage = outcome.salvage { text += SalvageText.lines(salvage, outcome.disk) }
    return text
  }
}
