import CommandOptions
import Control
import JournalTools

/// `tapline journal verify`.
enum JournalVerifyCommand {
  static let command = Command(
    "verify", summary: "check every sum of a journal and name each damage",
    discussion: """
      Reads everything and changes nothing. A damage is a line on standard error with the file, the
      position in bytes, what is wrong there and whether records that were durable are affected; a
      line 'do:' says what to do about each kind. Counts go to standard output.
      """,
    options: [JournalArguments.json], arguments: [JournalArguments.folder],
    exitCodes: [
      ExitCodeHelp(0, "the journal is whole"),
      ExitCodeHelp(1, "it is damaged, or it could not be read; standard error says which"),
      ExitCodeHelp(2, "the command line is wrong"),
    ])

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let folder = try JournalArguments.open(invocation)
    let report = try folder.verify()
    for note in report.notes { Output.error("tapline: note: \(note)") }
    for damage in report.damages {
      let place = damage.position.map { "\(damage.file):\($0)" } ?? damage.file
      Output.error("\(folder.path)/\(place): \(damage.what)\(effect(damage))")
    }
    for remedy in JournalDamage.Remedy.allCases
    where report.damages.contains(where: { $0.remedy == remedy }) {
      Output.error("do: \(remedy.text)")
    }
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(report) + "\n")
    } else {
      Output.write(summary(report))
    }
    return report.damages.isEmpty ? .success : .failed
  }

  private static func effect(_ damage: JournalDamage) -> String {
    switch damage.isDurable {
    case true?: damage.what.contains("durable") ? "" : " (records that were durable)"
    case false?: " (not known to have been durable)"
    case nil: ""
    }
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
