import Foundation
import TestSupport
import Testing

/// Proves that a disk opens as it was at any instant of its history, at both sites, against a plain
/// array of bytes; that disks of a group open at one cut; and that other instants are refused.
@Suite(.scratch) struct ViewTests {
  private static let size = 2 << 20

  private func pair(
    disks: KeyValuePairs<String, Int> = ["disk": size], history: String = "1h"
  ) throws -> SitePair {
    try SitePair(disks: disks, history: history) { east, _ in
      east.configuration.groups[0].history = history
    }
  }

  @Test func `every instant shows the disk as it was`() throws {
    let pair = try pair()
    let client = try pair.east.connect("disk")
    var history = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(1))
    var instants: [UInt64] = []
    for _ in 0..<8 {
      try history.drive(client, count: 15, maximumLength: 40_000, using: &generator)
      instants.append(quietInstant())
    }
    try history.drive(client, count: 5, maximumLength: 40_000, using: &generator)
    try pair.drain()
    for site in [pair.east, pair.west] {
      for instant in instants.shuffled(using: &generator) {
        let view = try site.image("disk@\(rfc3339(instant))")
        #expect(difference(view, history.image(at: instant)) == nil, "\(site.name)")
      }
      #expect(difference(try site.image("disk@latest"), history.image()) == nil)
    }
  }

  @Test func `a view stays as it is while writes and applying go on`() throws {
    let pair = try pair(history: "500ms")
    let client = try pair.east.connect("disk")
    var history = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(2))
    try history.drive(client, count: 30, maximumLength: 40_000, using: &generator)
    let instant = quietInstant()
    try pair.east.checkpoint("held").checked()
    try pair.drain()
    let view = try pair.west.connect("disk@\(rfc3339(instant))")
    let expected = history.image(at: instant)
    // Until the history window has passed twice over.
    let end = ContinuousClock.now + .milliseconds(1500)
    while ContinuousClock.now < end {
      try history.drive(client, count: 5, maximumLength: 40_000, using: &generator)
      let seen = try view.read(at: 0, count: Self.size)
      try #require(difference(seen, expected) == nil)
    }
  }

  @Test func `readers of views are spread over loops of their own, one a processor`() throws {
    let single = try SingleSite(history: "1h")
    try single.site.connect("disk").write([1], at: 0)
    let count = ProcessInfo.processInfo.activeProcessorCount
    let views = try (0..<count).map { _ in try single.site.connect("disk@latest") }
    let before = try single.site.sleeps(ofThreads: "views-")
    #expect(before.count == count)
    // Between two requests of one client its loop has nothing to do, and sleeps.
    for view in views {
      for _ in 0..<100 { _ = try view.read(at: 0, count: 4096) }
    }
    let after = try single.site.sleeps(ofThreads: "views-")
    for (name, sleeps) in after { #expect(sleeps >= before[name, default: 0] + 20, "\(after)") }
  }

  @Test func `a view is read-only`() throws {
    let pair = try pair()
    try pair.east.connect("disk").write([1, 2, 3], at: 0)
    try pair.drain()
    for site in [pair.east, pair.west] {
      let view = try NBDClient(site.uri("disk@latest"), checksRequests: false)
      #expect(view.isReadOnly)
      let failure = #expect(throws: NBDClient.Failure.self) { try view.write([9], at: 0) }
      #expect(failure?.errno == EPERM)
      #expect(try view.read(at: 0, count: 3) == [1, 2, 3])
    }
  }

  @Test func `a checkpoint is found by its tag at both sites and in the timeline`() throws {
    let pair = try pair()
    let client = try pair.east.connect("disk")
    try client.write([1, 1, 1], at: 100)
    try pair.east.checkpoint("before-upgrade").checked()
    try client.write([2, 2, 2], at: 100)
    try pair.drain()
    for site in [pair.east, pair.west] {
      let view = try site.connect("disk@checkpoint:before-upgrade")
      #expect(try view.read(at: 99, count: 5) == [0, 1, 1, 1, 0])
      #expect(try site.connect("disk@latest").read(at: 100, count: 3) == [2, 2, 2])
      let timeline = try site.tapline(
        TaplineContract.timeline(group: "g", site: site.configuration)
      ).checked()
      _ = try JSON(timeline.stdout)
      #expect(timeline.stdout.contains("before-upgrade"))
      #expect(throws: NBDClient.Failure.self) { try site.connect("disk@checkpoint:other") }
    }
  }

  /// INFO is a question: the client may never open what it asked about.
  @Test func `asking about a view makes none, and clients of one instant share one`() throws {
    let single = try SingleSite(history: "1h")
    try single.site.connect("disk").write([1, 2, 3], at: 0)
    let instant = rfc3339(quietInstant())
    let name = Array("disk@\(instant)".utf8)
    let data = [0, 0, 0, UInt8(name.count)] + name + [0, 0]
    let asking = try (0..<4).map { _ in
      let connection = try RawConnection(unix: single.site.socket)
      _ = try connection.receive(18)
      connection.send(
        [0, 0, 0, 3] + Array("IHAVEOPT".utf8) + [0, 0, 0, 6, 0, 0, 0, UInt8(data.count)] + data)
      // NBD_REP_INFO: the export's size and flags.
      let header = try connection.receive(20)
      #expect(header[12..<16] == [0, 0, 0, 3])
      return connection
    }
    #expect(try single.site.counter("open_views") == 0)
    let clients = try (0..<4).map { _ in try single.site.connect("disk@\(instant)") }
    #expect(try single.site.counter("open_views") == clients.count)
    for client in clients { #expect(try client.read(at: 0, count: 3) == [1, 2, 3]) }
    withExtendedLifetime(asking) {}
  }

  @Test func `a checkpoint of a group that is not there is refused`() throws {
    let pair = try pair()
    let finished = try pair.east.checkpoint("tag", group: "none")
    #expect(finished.status != 0)
    #expect(finished.stderr.contains("none"))
  }

  @Test(.requires("qemu-io"), arguments: ["1999-01-01T00:00:00Z", "2200-01-01T00:00:00Z", "-30d"])
  func `an instant outside the history is refused with the range there is`(instant: String) throws {
    let pair = try pair()
    try pair.east.connect("disk").write([1], at: 0)
    try pair.drain()
    for site in [pair.east, pair.west] {
      let io = try run(
        "qemu-io", ["-r", "-f", "raw", "-c", "quit", site.uri("disk@\(instant)")])
      #expect(io.status != 0)
      // qemu-io passes on what the server says.
      let instants = io.stderr.matches(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/)
      #expect(instants.filter { !$0.output.0.hasPrefix(instant.prefix(10)) }.count >= 2, "\(io)")
    }
  }

  @Test func `what leaves the history window reaches the target and is no longer an instant`()
    throws
  {
    let pair = try pair(history: "300ms")
    let client = try pair.east.connect("disk")
    var history = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(3))
    try history.drive(client, count: 30, maximumLength: 40_000, using: &generator)
    let old = quietInstant()
    try pair.drain()
    try eventually("the target is the disk") {
      // Time passes for a group only with records; without writes, with checkpoints.
      try pair.east.checkpoint("tick").checked()
      let file = try Data(contentsOf: URL(fileURLWithPath: pair.west.rawFile("disk")))
      return [UInt8](file) == history.image()
    }
    try eventually("the instant is refused") {
      (try? pair.west.connect("disk@\(rfc3339(old))")) == nil
    }
    #expect(difference(try pair.west.image("disk@latest"), history.image()) == nil)
  }

  @Test func `disks of a group open in the order in which they were written`() throws {
    let pair = try pair(disks: ["a": 1 << 20, "b": 1 << 20])
    let first = try pair.east.connect("a")
    let second = try pair.east.connect("b")
    var instants: [UInt64] = []
    for counter in UInt64(1)...300 {
      let bytes = (0..<8).map { UInt8(truncatingIfNeeded: counter >> (8 * $0)) }
      try first.write(bytes, at: 4096)
      if counter % 10 == 0 { instants.append(wallClockNanoseconds()) }
      try second.write(bytes, at: 4096)
      if counter % 10 == 5 { instants.append(wallClockNanoseconds()) }
    }
    try pair.drain()
    var seen: Set<UInt64> = []
    for site in [pair.east, pair.west] {
      for instant in instants {
        let a = try counter(site, "a@\(rfc3339(instant))")
        let b = try counter(site, "b@\(rfc3339(instant))")
        #expect(b == a || b + 1 == a, "\(site.name): a \(a), b \(b)")
        seen.insert(a)
      }
    }
    // The views are really of different instants.
    #expect(seen.count > instants.count / 3)
  }

  private func counter(_ site: Site, _ export: String) throws -> UInt64 {
    try site.connect(export).read(at: 4096, count: 8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
