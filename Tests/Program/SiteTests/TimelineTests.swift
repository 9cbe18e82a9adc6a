import Foundation
import TestSupport
import Testing

/// Proves that the timeline is shown by pages which together have every checkpoint once.
@Suite(.scratch) struct TimelineTests {
  private func page(_ site: Site, _ options: String...) throws -> JSON {
    let command = TaplineContract.timeline(group: "g", site: site.configuration) + options
    return try JSON(try site.tapline(command).checked().stdout)
  }

  private func tags(_ page: JSON) -> [String] {
    (page["checkpoints"]?.elements ?? []).compactMap { $0["tag"]?.string }.filter { !$0.isEmpty }
  }

  @Test func `pages follow each other in both directions`() throws {
    let single = try SingleSite(history: "1h")
    let names = (0..<7).map { "tag-\($0)" }
    for name in names { try single.site.checkpoint(name).checked() }

    var backward: [String] = []
    var page = try self.page(single.site, "--limit", "3")
    #expect(page["later"] == nil)
    while true {
      backward.insert(contentsOf: tags(page), at: 0)
      guard let earlier = page["earlier"]?.string else { break }
      page = try self.page(single.site, "--limit", "3", "--to", earlier)
    }
    #expect(backward == names)

    var forward: [String] = []
    let start = try #require(page["start"]?.string)
    page = try self.page(single.site, "--limit", "3", "--from", start)
    while true {
      forward += tags(page)
      guard let later = page["later"]?.string else { break }
      page = try self.page(single.site, "--limit", "3", "--from", later)
    }
    #expect(forward == names)
    #expect(try tags(self.page(single.site, "--from", "checkpoint:tag-5")) == ["tag-5", "tag-6"])
    #expect(try tags(self.page(single.site, "--to", "checkpoint:tag-1")) == ["tag-0", "tag-1"])
    #expect(try single.site.counter("checkpoints") >= names.count)
  }

  @Test(arguments: [["--limit", "0"], ["--from", "yesterday"], ["--to", "checkpoint:none"]])
  func `a page that cannot be is refused`(options: [String]) throws {
    let single = try SingleSite(history: "1h")
    let command = TaplineContract.timeline(group: "g", site: single.site.configuration) + options
    let finished = try single.site.tapline(command)
    #expect(finished.status != 0)
    #expect(!finished.stderr.isEmpty)
  }
}
