import Foundation
import TestSupport
import Testing

/// Proves that `tapline test` opens a group's disks as they were, to be written to: that the group
/// goes on beneath and is not changed, that what was written survives whatever becomes of the site,
/// and that in the end a report is all that is left.
@Suite(.scratch) struct TestFailoverTests {
  private static let size = 6 << 20
  private static let capacity = 4 << 20

  private static func shrink(_ group: inout SiteConfiguration.Group) {
    group.journalCapacity = "\(capacity)"
    group.segmentSize = "1M"
  }

  private func site(disks: [String] = ["a", "b"]) throws -> (ScratchDirectory, Site) {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    for disk in disks { try site.addDisk(disk, size: Self.size, role: .protected) }
    Self.shrink(&site.configuration.groups[0])
    try site.start()
    return (scratch, site)
  }

  private func test(_ site: Site, _ words: String...) throws -> Finished {
    try site.tapline(["test"] + words + ["--control", site.configuration.control])
  }

  private func image(_ site: Site, _ export: String) throws -> [UInt8] {
    // A test is opened some moments after its group.
    try eventually("\(export) is open") { (try? site.connect(export)) != nil }
    return try site.image(export)
  }

  /// A disk that a client writes, and what it must show.
  private struct Written {
    let export: String
    var history: PlainHistory
    var client: NBDClient

    init(_ site: Site, _ export: String, base: [UInt8]) throws {
      self.export = export
      history = PlainHistory(base: base)
      client = try site.connect(export)
    }

    mutating func drive(_ count: Int, _ generator: inout SeededGenerator) throws {
      try history.drive(client, count: count, maximumLength: 60_000, using: &generator)
    }

    mutating func reconnect(_ site: Site) throws {
      try eventually("\(export) is open") { (try? site.connect(export)) != nil }
      client = try site.connect(export)
    }

    func check(_ when: String) throws {
      let seen = try client.read(at: 0, count: history.size)
      #expect(difference(seen, history.image()) == nil, "\(export) \(when)")
    }
  }

  private enum Ending: CaseIterable { case kill, stop, takeOver }

  @Test func `tests and their group are apart, and outlive kills, stops and take-overs`() throws {
    let (_, site) = try site()
    var generator = SeededGenerator(seed: testSeed(41))
    let empty = [UInt8](repeating: 0, count: Self.size)
    var disks = try ["a", "b"].map { try Written(site, $0, base: empty) }
    for index in disks.indices { try disks[index].drive(20, &generator) }
    // Two at one instant, and one later.
    try test(site, "start", "g", "--name", "one", "--limit", "64M").checked()
    let tests = try JSON(try test(site, "list", "--json").checked().stdout)
    let instant = try #require(tests.first("instant")?.string)
    try test(site, "start", "g", "--name", "two", "--at", instant, "--limit", "64M").checked()
    for (index, name) in [(0, "one"), (1, "one"), (0, "two")] {
      disks.append(
        try Written(
          site, "\(disks[index].export)@\(name)", base: disks[index].history.image()))
    }
    for ending in Ending.allCases {
      // The journal is used several times over.
      for _ in 0..<3 {
        for index in disks.indices { try disks[index].drive(25, &generator) }
        for disk in disks { try disk.check("before \(ending)") }
      }
      for disk in disks { try disk.client.flush() }
      switch ending {
      case .kill:
        try site.crash()
        try site.start()
      case .stop:
        try site.stop()
        try site.start()
      case .takeOver: try site.takeOver()
      }
      for index in disks.indices { try disks[index].reconnect(site) }
      for disk in disks { try disk.check("after \(ending)") }
    }
    try test(site, "stop", "one").checked()
    try test(site, "stop", "two").checked()
    for disk in disks.prefix(2) { try disk.check("in the end") }
    let left = site.configuration.data + "/g/branches"
    #expect(try FileManager.default.contentsOfDirectory(atPath: left).isEmpty)
  }

  @Test func `a client goes on with its test while another process takes the site`() throws {
    let (_, site) = try site()
    try test(site, "start", "g", "--name", "one").checked()
    let client = try site.connect("a@one")
    try client.write([1, 2, 3], at: 100)
    try site.takeOver()
    try client.write([4], at: 103)
    #expect(try client.read(at: 100, count: 5) == [1, 2, 3, 4, 0])
  }

  @Test func `a name that another process has handed over is free when its test is over`() throws {
    let (_, site) = try site()
    try test(site, "start", "g", "--name", "one").checked()
    try (try site.connect("a@one")).write([1], at: 0, fua: true)
    try site.takeOver()
    for value in 2...3 as ClosedRange<UInt8> {
      try test(site, "stop", "one").checked()
      try test(site, "start", "g", "--name", "one").checked()
      let client = try site.connect("a@one")
      #expect(try client.read(at: 0, count: 1) == [0])
      try client.write([value], at: 0)
    }
  }

  @Test func `a test at the recovery site holds up neither the link nor what others see`() throws {
    let pair = try SitePair(disks: ["disk": Self.size]) { east, west in
      east.configuration.groups[0].segmentSize = "1M"
      Self.shrink(&west.configuration.groups[0])
    }
    var generator = SeededGenerator(seed: testSeed(42))
    var disk = try Written(
      pair.east, "disk", base: [UInt8](repeating: 0, count: Self.size))
    try disk.drive(30, &generator)
    try pair.drain()
    let instant = rfc3339(quietInstant())
    let image = disk.history.image()
    try disk.drive(10, &generator)
    try pair.drain()
    try test(pair.west, "start", "g", "--name", "x", "--at", instant, "--limit", "64M").checked()
    var tried = try Written(pair.west, "disk@x", base: image)
    try tried.check("at its beginning")
    for _ in 0..<12 {
      try disk.drive(20, &generator)
      try tried.drive(5, &generator)
    }
    try pair.drain()
    try tried.check("after its group's journal was overrun")
    #expect(difference(try pair.west.image("disk@latest"), disk.history.image()) == nil)
    try pair.west.crash()
    try pair.west.start()
    try tried.reconnect(pair.west)
    try disk.drive(20, &generator)
    try pair.drain()
    try tried.check("after a kill")
    try test(pair.west, "stop", "x").checked()
    #expect(difference(try pair.west.image("disk@latest"), disk.history.image()) == nil)
  }

  @Test func `a check runs while the test is open, and its result stays on the timeline`() throws {
    let (_, site) = try site()
    try (try site.connect("a")).write([9], at: 0)
    let probe = "echo $TAPLINE_EXPORTS; nbdinfo --size 'nbd+unix:///a@test?socket=\(site.socket)'"
    let passed = try test(site, "start", "g", "--note", "it's monday", "--check", probe).checked()
    #expect(passed.stdout.contains("a@test b@test\n\(Self.size)\n"))
    let failed = try test(site, "start", "g", "--name", "bad", "--check", "exit 3")
    #expect(failed.status == 1 && failed.stdout.contains("check failed with exit code 3"))
    #expect(try test(site, "list").checked().stdout == "no tests\n")
    // A restart forgets none.
    try site.crash()
    try site.start()
    let timeline = try JSON(
      try site.tapline(TaplineContract.timeline(group: "g", site: site.configuration)).checked()
        .stdout)
    let tests = try #require(timeline.first("tests"))
    #expect(tests.elements.count == 2)
    #expect(tests.elements.first?.first("note")?.string == "it's monday")
    #expect(tests.elements.last?.first("exit_code")?.number == 3)
  }

  @Test func `a test ends with words at its limits, and its group goes on`() throws {
    let (_, site) = try site()
    try test(site, "start", "g", "--name", "small", "--limit", "1M").checked()
    try test(site, "start", "g", "--name", "short", "--for", "1s").checked()
    let client = try site.connect("a@small")
    #expect(throws: (any Error).self) {
      for index in 0..<40 {
        try client.write([UInt8](repeating: 7, count: 100_000), at: UInt64(index * 100_000))
      }
    }
    try eventually("both have ended") {
      (try? test(site, "list").stdout.components(separatedBy: "  ended ").count == 3) ?? false
    }
    let listed = try test(site, "list").checked().stdout
    #expect(listed.contains("small: 1M were written to it, which is its limit"))
    #expect(listed.contains("short: its time was up at "))
    #expect(try site.refusal(of: "a@small")?.contains("which is its limit") == true)
    let live = try site.connect("a")
    try live.write([1], at: 0)
    try live.flush()
    let over = try test(site, "stop", "small").checked().stdout
    #expect(over.contains("which is its limit") && !over.contains("; 0 B were written"))
    try site.crash()
    try site.start()
    #expect(try test(site, "stop", "short").checked().stdout.contains("its time was up"))
  }

  @Test func `what cannot be is refused, and leaves nothing`() throws {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("a", size: Self.size, role: .protected)
    try site.addDisk("p", size: Self.size, group: "plain", role: .plain)
    try site.start()
    try test(site, "start", "g", "--name", "one").checked()
    for (words, answer) in [
      (["start", "g", "--name", "one"], "there is a test one already"),
      (["start", "g", "--name", "latest"], "is no name for a test"),
      (["start", "g", "--name", "2nd"], "is no name for a test"),
      (["start", "g", "--at", "2001-01-01T00:00:00Z"], "is outside of the history"),
      (["start", "g", "--at", "noon"], "is not an instant"),
      (["start", "g", "--limit", "100K"], "is at least 256K"),
      (["start", "g", "--note", "\u{1b}[31m"], "no control characters"),
      (["start", "plain"], "a plain group has no instants"),
      (["start", "nobody"], "no group 'nobody'"),
      (["stop", "two"], "no test 'two' at this site; there are: one"),
    ] as [([String], String)] {
      let refused = try site.tapline(
        ["test"] + words + ["--control", site.configuration.control])
      #expect(refused.status == 1 && refused.stderr.contains(answer), "\(words)")
    }
    let planned = try test(site, "start", "g", "--name", "two", "--dry-run").checked()
    #expect(planned.stdout.contains("planned"))
    let listed = try JSON(try test(site, "list", "--json").checked().stdout)
    #expect(listed.elements.count == 1)
    let folder = site.configuration.data + "/g/branches"
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["one"])
    let absent = try site.refusal(of: "a@two")
    #expect(absent?.contains("no branch 'a@two' at this site") == true)
  }

  /// Files of a test are of no use to its group: whatever becomes of them, it is served.
  @Test func `damaged tests keep neither their group nor other tests from their clients`() throws {
    let (_, site) = try site()
    let files = FileManager.default
    let folder = site.configuration.data + "/g/branches"
    try (try site.connect("a")).write([5], at: 0)
    for name in ["unsaved", "damaged", "copied", "good"] {
      try test(site, "start", "g", "--name", name, "--limit", "1M").checked()
    }
    try site.crash()
    try files.removeItem(atPath: folder + "/unsaved/saved")
    try Data("no branch".utf8).write(to: URL(fileURLWithPath: folder + "/damaged/branch"))
    try files.copyItem(atPath: folder + "/copied", toPath: folder + "/copy")
    try site.start()
    #expect(try site.connect("a").read(at: 0, count: 1) == [5])
    for export in ["a@good", "a@copied"] { #expect(try image(site, export).first == 5) }
    try eventually("it has ended") {
      try test(site, "list").stdout.contains("unsaved: ")
    }
    let listed = try JSON(try test(site, "list", "--json").checked().stdout)
    #expect(
      Set(listed.elements.compactMap { $0.first("name")?.string }) == ["unsaved", "copied", "good"])
    #expect(site.log.contains("/copy is a copy of branch copied"))
    // What was written to it may be whole.
    let refused = try test(site, "start", "g", "--name", "damaged")
    #expect(refused.status == 1 && refused.stderr.contains("cannot be opened now"))
    #expect(files.fileExists(atPath: folder + "/damaged/saved"))
    for name in ["unsaved", "copied", "good"] { try test(site, "stop", name).checked() }
    #expect(try Set(files.contentsOfDirectory(atPath: folder)) == ["damaged", "copy"])
  }

  @Test(.requires("prlimit"))
  func `a site that starts may open as many files as its tests need`() throws {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("a", size: Self.size, role: .protected)
    Self.shrink(&site.configuration.groups[0])
    site.launcher = ["prlimit", "--nofile=1024:"]
    try site.start()
    try test(site, "start", "g", "--limit", "2G").checked()
    let needed = try site.openFileLimit()
    try site.crash()
    try site.start()
    #expect(try site.openFileLimit() == needed)
  }

  @Test func `a test that is over leaves no file open`() throws {
    let (_, site) = try site()
    let client = try site.connect("a")
    let before = try site.descriptorCounts().others
    for index in 0..<12 {
      try client.write([UInt8](repeating: UInt8(index), count: 500_000), at: 0)
      try test(site, "start", "g", "--name", "x", "--limit", "1M").checked()
      try (try site.connect("a@x")).write([1], at: 0)
      try test(site, "stop", "x").checked()
    }
    // Of each there were several; some of the group's own come and go.
    try eventually("they are closed") { try site.descriptorCounts().others < before + 8 }
  }
}
