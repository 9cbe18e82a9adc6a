import Appliance

/// `tapline timeline` for people.
public enum TimelineText {
  /// Ends in a newline.
  public static func render(_ timeline: TimelineStatus) -> String {
    var lines: [String]
    if let start = timeline.start, let end = timeline.end {
      lines = ["group \(timeline.group): any instant from \(start) to \(end)"]
    } else {
      lines = ["group \(timeline.group): no instant can be opened yet"]
    }
    for gap in timeline.gaps {
      lines.append(
        "  except from \(gap.from) to \(gap.to), where order was lost or the group changed hands")
    }
    for parked in timeline.parked ?? [] {
      lines.append(
        "  parked as \(parked.name), any instant from \(parked.from) to \(parked.to): "
          + parked.exports.joined(separator: ", "))
    }
    if let earlier = timeline.earlier {
      lines.append("earlier checkpoints: with --to \(earlier)")
    }
    if timeline.checkpoints.isEmpty {
      lines.append("no checkpoints")
    } else {
      var table = TextTable([("CHECKPOINT", .left), ("SEQUENCE", .right), ("TAG", .left)])
      for checkpoint in timeline.checkpoints {
        table.add([checkpoint.instant, String(checkpoint.sequence), tag(checkpoint.tag)])
      }
      lines += table.lines()
    }
    if let later = timeline.later { lines.append("later checkpoints: with --from \(later)") }
    if let tests = timeline.tests { lines += self.tests(tests) }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func tests(_ tests: [TestReportStatus]) -> [String] {
    var table = TextTable([
      ("TEST", .left), ("INSTANT", .left), ("STARTED", .left), ("LASTED", .right),
      ("WRITTEN", .right), ("OUTCOME", .left), ("NOTE", .left),
    ])
    for test in tests {
      table.add([
        test.name, test.instant, test.started, Quantity.seconds(test.seconds),
        Quantity.bytes(test.writtenBytes), TestText.outcome(test), test.note,
      ])
    }
    return table.lines()
  }

  private static func tag(_ tag: String) -> String { tag.isEmpty ? "(periodic)" : tag }
}
