import Foundation
import Testing

@testable import Appliance

/// Proves that `docs/monitor.md` lists exactly the conditions that there are, with the words of the
/// code. When it fails it prints the table as it should be.
@Suite struct ConditionTableTests {
  private static let page = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "docs/monitor.md")

  private static let rows = ConditionCode.allCases.map { code in
    let facts = code.facts
    return
      "| `\(code.rawValue)` | \(facts.severity.rawValue) | \(facts.meaning) | \(facts.remedy) |"
  }

  @Test func `the page lists every condition as it is`() throws {
    let lines = try String(contentsOf: Self.page, encoding: .utf8)
      .split(separator: "\n", omittingEmptySubsequences: false)
    let heading = try #require(lines.firstIndex(of: "| code | severity | means | to do |"))
    let table = lines[(heading + 2)...].prefix { $0.hasPrefix("|") }.map(String.init)
    #expect(table == Self.rows, "the table should be:\n\(Self.rows.joined(separator: "\n"))")
  }

  @Test func `codes are for programs, and come worst first`() {
    for code in ConditionCode.allCases {
      #expect(code.rawValue.wholeMatch(of: /[a-z]+(-[a-z]+)*/) != nil)
    }
    let severities = ConditionCode.allCases.map(\.severity)
    #expect(severities == severities.sorted(by: >))
  }
}
