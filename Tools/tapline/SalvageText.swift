import JournalTools

/// What `tapline journal export --salvage` says about what is missing in the file.
enum SalvageText {
  /// Damages that are listed; --json lists more.
  private static let listLimit = 20

  static func lines(_ report: SalvageReport, _ disk: String) -> String {
    guard !report.isComplete else { return "nothing is missing\n" }
    var lines = [
      report.isConsistent
        ? "consistent: the disk as it was after the last record that is covered"
        : "NOT CONSISTENT: this may be no state that the disk ever had; check what is in it"
    ]
    if report.leftOut.isEmpty { return lines[0] + "\n" }
    lines.append("left out: \(report.leftOutRecords) records of the group")
    lines += report.leftOut.prefix(listLimit).map(line)
    if report.leftOut.count > listLimit { lines.append("  … (--json lists more)") }
    lines.append(
      "out of date: \(report.staleRanges) ranges of \(disk) with \(report.staleBytes) bytes"
        + (report.stale.isEmpty ? "" : " (--json lists them)"))
    if report.recordsWithoutRange > 0 {
      lines.append(
        "not known: the disks and ranges of \(report.recordsWithoutRange) of the records left out")
    }
    if report.leftOut.contains(where: { $0.kind == "behind" }) {
      lines.append("--past-damage writes the whole records that are left out, too")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func line(_ entry: SalvageReport.LeftOut) -> String {
    var text = "  " + records(entry)
    switch entry.kind {
    case "behind": text += " whole, behind the damage"
    default:
      text += " lost"
      if let file = entry.file {
        text += ", \(file)" + (entry.position.map { ":\($0)" } ?? "")
      }
    }
    switch (entry.after, entry.before) {
    case (let after?, let before?): text += ", between \(after) and \(before)"
    case (let after?, nil): text += ", after \(after)"
    case (nil, let before?): text += ", before \(before)"
    case (nil, nil): break
    }
    return text
  }

  private static func records(_ entry: SalvageReport.LeftOut) -> String {
    let (first, last) = (entry.firstSequence, entry.lastSequence)
    if last < first { return "an unknown number of records before \(first):" }
    return first == last ? "record \(first):" : "records \(first) to \(last):"
  }
}
