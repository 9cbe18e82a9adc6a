import CommandOptions
import Control
import JournalTools

/// `tapline journal verify`.
enum JournalVerifyCommand {
  static let command = Command(
    "verify", summary: "check every sum of a journal and name each damage",
    discussion: """
      Reads everything. A damage is a line on standard error with the file, the position in bytes
      and what is wrong there; counts go to standard output.
      """,
    options: [JournalArguments.json], arguments: [JournalArguments.folder],
    exitCodes: [
      ExitCodeHelp(0, "the journal is whole"),
      ExitCodeHelp(1, "it is damaged, or it could not be read"),
      ExitCodeHelp(2, "the command line is wrong"),
    ])

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let folder = try JournalArguments.open(invocation)
    let report = try folder.verify()
    for note in report.notes { Output.error("tapline: note: \(note)") }
    for damage in report.damages {
      let place = damage.position.map { "\(damage.file):\($0)" } ?? damage.file
      Output.error("\(folder.path)/\(place): \(damage.what)")
    }
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(report) + "\n")
    } else {
      Output.write(summary(report))
    }
    return report.damages.isEmpty ? .success : .failed
  }

  private static func summary(_ report: JournalReport) -> String {
    var text =
      "\(report.keptSegments) of \(report.segmentFiles) segment files in use, \(report.records)"
      + " records, \(report.usedBytes) bytes"
    if let first = report.firstSequence, let last = report.lastSequence,
      let from = report.firstInstant, let to = report.lastInstant
    {
      text += "\nsequence \(first) to \(last), \(from) to \(to)"
    }
    let count = report.damages.count
    text += count == 0 ? "\nno damage" : "\n\(count) damage\(count == 1 ? "" : "s")"
    return text + "\n"
  }
}
