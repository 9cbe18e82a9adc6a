import Foundation
import Testing

@testable import Configuration

/// Proves that the reader, the comparison of a reload and `docs/configure.md` know the same keys.
/// When the page is wrong it prints the table as it should be.
@Suite struct ConfigurationKeysTests {
  private static let page = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "docs/configure.md")

  private static let rows = ConfigurationPaths.all.map {
    "| `\($0.name)` | \($0.isTakenOver ? "taken over" : "restart") |"
  }

  @Test func `the page lists every key, and what a reload does with it`() throws {
    let lines = try String(contentsOf: Self.page, encoding: .utf8)
      .split(separator: "\n", omittingEmptySubsequences: false)
    let heading = try #require(lines.firstIndex(of: "| key | at a reload |"))
    let table = lines[(heading + 2)...].prefix { $0.hasPrefix("|") }.map(String.init)
    #expect(table == Self.rows, "the table should be:\n\(Self.rows.joined(separator: "\n"))")
  }

  /// Every value of a configuration, each other than before: a comparison that forgot one would
  /// say that nothing has changed.
  @Test func `every limit that changes is named`() throws {
    func read(_ limits: String) throws -> SiteConfiguration {
      try SiteConfiguration(
        yaml: Array("site: east\ndata: /d\nlisten: {}\nlimits: \(limits)\ngroups: []\n".utf8),
        file: "east.yaml")
    }
    let old = try read("{}")
    let new = try read(
      "{ connections: 9, connections_per_disk: 8, requests: 7, bytes: 2M, handshake: 3s }")
    #expect(
      old.differences(to: new) == [
        "limits.connections: 1024 -> 9", "limits.connections_per_disk: 256 -> 8",
        "limits.requests: 1024 -> 7", "limits.bytes: 8M -> 2M", "limits.handshake: 10s -> 3s",
      ])
    #expect(old.takingOver(from: new) == old)
  }

  /// Whatever makes two configurations unequal is named by some line.
  @Test func `no stored value is without a key`() {
    func count(_ value: Any) -> Int { Mirror(reflecting: value).children.count }
    let journal = JournalConfiguration()
    #expect(count(journal) == JournalConfiguration.keys.count)
    #expect(count(ClientLimits()) == ClientLimits.keys.count)
    #expect(count(ListenConfiguration()) == ListenConfiguration.keys.count)
    #expect(count(PeerConfiguration(site: "west")) == PeerConfiguration.keys.count)
    let group = GroupConfiguration(name: "g", role: .plain, disks: [])
    // `peer` is the short form of `peers`.
    #expect(count(group) + 1 == GroupConfiguration.keys.count)
    let disk = DiskConfiguration(name: "d", backing: .file(path: "/d"))
    #expect(count(disk) == DiskConfiguration.keys.count)
  }
}
