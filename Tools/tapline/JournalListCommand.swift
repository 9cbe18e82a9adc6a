import CommandOptions
import Control
import JournalTools

/// `tapline journal ls`.
enum JournalListCommand {
  static let command = Command(
    "ls", summary: "list the segments of a journal in order",
    discussion: """
      STATE is 'kept' for a part of the journal, 'cut' for one whose tail is void, 'free' for a
      file that will be used again, 'unreachable' for one that comes after missing records,
      'unreadable' for a header that does not verify, 'new' for one that a running site opened
      meanwhile, 'foreign' for a segment of another group, and 'unknown' when the state file cannot
      be read.
      """,
    options: [JournalArguments.json], arguments: [JournalArguments.folder],
    exitCodes: JournalArguments.exitCodes)

  static func run(_ invocation: Invocation) throws -> ExitCode {
    let folder = try JournalArguments.open(invocation)
    JournalArguments.warnOfState(folder)
    let listing = try folder.listing()
    if invocation.hasFlag("json") {
      Output.write(try ControlJSON.pretty(listing) + "\n")
    } else {
      Output.write(table(listing).lines().joined(separator: "\n") + "\n")
    }
    return .success
  }

  private static func table(_ listing: [SegmentListing]) -> TextTable {
    var table = TextTable([
      ("SEGMENT", .right), ("EPOCH", .right), ("FIRST", .right), ("LAST", .right),
      ("FROM", .left), ("TO", .left), ("RECORDS", .right), ("BYTES", .right), ("STATE", .left),
      ("FILE", .left),
    ])
    for line in listing {
      table.add([
        text(line.number), text(line.epoch), text(line.firstSequence), text(line.lastSequence),
        line.firstInstant ?? "-", line.lastInstant ?? "-", String(line.records),
        String(line.usedBytes), line.state, line.file,
      ])
    }
    return table
  }

  private static func text(_ value: (some BinaryInteger)?) -> String {
    value.map { String($0) } ?? "-"
  }
}
