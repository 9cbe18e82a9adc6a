import Appliance

/// `tapline test` for people.
public enum TestText {
  /// Ends in a newline.
  public static func render(_ test: TestStatus) -> String {
    var lines = ["test \(test.name) of \(test.group) at \(test.instant): \(test.state)"]
    if let reason = test.reason { lines.append("  \(reason)") }
    for export in test.exports { lines.append("  \(export)") }
    if let expires = test.expires { lines.append("  ends by itself at \(expires)") }
    lines.append("  may take \(Quantity.bytes(test.limitBytes))")
    return lines.joined(separator: "\n") + "\n"
  }

  /// Ends in a newline.
  public static func render(_ tests: [TestStatus]) -> String {
    guard !tests.isEmpty else { return "no tests\n" }
    var table = TextTable([
      ("TEST", .left), ("KIND", .left), ("GROUP", .left), ("INSTANT", .left),
      ("STATE", .left), ("WRITTEN", .right), ("LIMIT", .right), ("CLIENTS", .right),
      ("BY", .left), ("NOTE", .left),
    ])
    for test in tests {
      table.add([
        test.name, test.kind, test.group, test.instant, test.state,
        Quantity.bytes(test.writtenBytes), Quantity.bytes(test.limitBytes),
        String(test.connections), test.user, test.note,
      ])
    }
    let ended = tests.compactMap { test in test.reason.map { "\(test.name): \($0)" } }
    return (table.lines() + ended).joined(separator: "\n") + "\n"
  }

  /// Ends in a newline.
  public static func render(_ report: TestReportStatus) -> String {
    "test \(report.name) of \(report.group) is over after \(Quantity.seconds(report.seconds));"
      + " \(Quantity.bytes(report.writtenBytes)) were written; \(outcome(report))\n"
  }

  static func outcome(_ report: TestReportStatus) -> String {
    guard let check = report.check else { return report.outcome }
    let said =
      check.exitCode == 0 ? "check passed" : "check failed with exit code \(check.exitCode)"
    return "\(said) in \(Quantity.seconds(check.seconds)): "
      + String(oneLine: check.command.utf8)
  }
}
