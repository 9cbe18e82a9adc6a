import BlockModel
import CommandOptions
import Control
import JournalTools

/// `tapline journal dump`.
enum JournalDumpCommand {
  static let command = Command(
    "dump", summary: "list the records of a journal",
    discussion: """
      A line a record: sequence, instant, kind, then disk, offset and length, or the tag of a
      checkpoint. With --json a line is a JSON object.
      """,
    options: [
      .value(
        "segment", "N", help: "only this segment, be it part of the journal or free"),
      .value("from", "SEQ", help: "begin with this sequence number"),
      .value("limit", short: "n", "N", help: "list at most so many records"),
      .flag("json", help: "print a JSON object a line"),
    ], arguments: [JournalArguments.folder], exitCodes: JournalArguments.exitCodes)

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let selection = RecordSelection(
      segment: try JournalArguments.number("segment", invocation),
      fromSequence: SequenceNumber(try JournalArguments.number("from", invocation) ?? 0),
      limit: try JournalArguments.number("limit", invocation))
    let isJSON = invocation.hasFlag("json")
    let folder = try JournalArguments.open(invocation)
    JournalArguments.warnOfState(folder)
    try folder.forEachRecord(selection) { record in
      let line = isJSON ? try? ControlJSON.line(record) : text(record)
      Output.write((line ?? "") + "\n")
    }
    if folder.isIncomplete, selection.segment == nil {
      Output.flush()
      Output.error(
        "tapline: note: the journal is damaged, and more records follow; verify names the damage,"
          + " and --segment lists what can be read of a segment")
    }
    return .success
  }

  private static func text(_ record: RecordListing) -> String {
    var line = "\(record.sequence) \(record.instant) \(record.kind)"
    if let disk = record.disk, let offset = record.offset, let length = record.length {
      line += " \(disk) \(offset) \(length)"
    }
    if let tag = record.tag { line += tag.isEmpty ? " (periodic)" : " \(tag)" }
    return line
  }
}
