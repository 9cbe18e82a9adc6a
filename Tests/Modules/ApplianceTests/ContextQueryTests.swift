import BlockModel
import Testing

@testable import Appliance

/// Proves which queries for metadata contexts name one, which only list, and that all others select
/// nothing.
@Suite struct ContextQueryTests {
  @Test(
    arguments: [
      ("base:allocation", .allocation),
      ("base:", .wildcard(["base:allocation"])),
      ("tapline:", .wildcard(["tapline:changed-since:"])),
      ("tapline:changed-since:", .wildcard(["tapline:changed-since:"])),
      ("tapline:changed-since:latest", .changedSince(.latest)),
      ("tapline:changed-since:-90s", .changedSince(.ago(nanoseconds: 90_000_000_000))),
      ("tapline:changed-since:checkpoint:a:b", .changedSince(.checkpoint(tag: "a:b"))),
      (
        "tapline:changed-since:1970-01-01T00:00:01Z",
        .changedSince(.at(Timestamp(nanoseconds: 1_000_000_000)))
      ),
      ("tapline:changed-since:yesterday", .unknown),
      ("tapline:changed-sinc", .unknown),
      ("base:allocation ", .unknown),
      ("qemu:dirty-bitmap:x", .unknown),
      ("base", .unknown),
      ("", .unknown),
    ] as [(String, ContextQuery)])
  func `a query means`(_ text: String, _ query: ContextQuery) {
    #expect(ContextQuery(parsing: text) == query)
  }
}
