import Foundation
import TestSupport
import Testing

/// Proves that clients keep their connections, and lose, repeat and reorder nothing, while new
/// processes take the place of old ones; and that a new process which cannot leaves the old one as
/// it was.
@Suite(.scratch) struct TakeOverTests {
  private static let sectors = 16384

  @Test func `writes go on through several hand-overs, at one site and at the other`() throws {
    let pair = try SitePair { east, west in
      // Several segments, and apply at work in most of the time.
      for site in [east, west] { site.configuration.groups[0].segmentSize = "1M" }
    }
    let history = WriteHistory(sectors: Self.sectors)
    var shape = WriteLoad.Shape()
    shape.seed = testSeed(1)
    let load = WriteLoad(pair.east.uri("disk"), history: history, shape: shape)
    var generator = SeededGenerator(seed: testSeed(2))
    for round in 0..<testRounds(6) {
      try load.makeProgress(Int.random(in: 1...600, using: &generator))
      try (round % 3 == 2 ? pair.west : pair.east).takeOver()
    }
    try load.makeProgress(100)
    try pair.expectNothingLost(by: load, history)
    // No process told the peer to drop what another one had sent.
    #expect(!pair.east.allLogs.contains("goes back"))
    // Each process that stamped is an incarnation of its own.
    #expect(try pair.east.counter("epoch") > 1)
  }

  @Test func `instants from before a hand-over open after it`() throws {
    let single = try SingleSite(size: 2 << 20, history: "1h")
    let client = try single.site.connect("disk")
    var history = PlainHistory(size: 2 << 20)
    var generator = SeededGenerator(seed: testSeed(3))
    var instants: [UInt64] = []
    for _ in 0..<3 {
      try history.drive(client, count: 20, maximumLength: 50_000, using: &generator)
      instants.append(quietInstant())
      try single.site.takeOver()
    }
    try history.drive(client, count: 5, maximumLength: 50_000, using: &generator)
    for instant in instants {
      let view = try single.site.image("disk@\(rfc3339(instant))")
      #expect(difference(view, history.image(at: instant)) == nil)
    }
  }

  @Test func `a crash after a hand-over loses nothing that was acknowledged`() throws {
    let single = try SingleSite()
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(single.uri, history: history)
    try load.makeProgress(200)
    try single.site.takeOver()
    try load.makeProgress(200)
    try single.site.crash()
    try load.stop()
    try single.site.start()
    #expect(history.violations(in: try single.site.image("disk")) == [])
    #expect(try single.site.counter("epoch") == 3)
  }

  @Test func `views stay open at their instant, at both sites`() throws {
    let pair = try SitePair(disks: ["disk": 2 << 20]) { east, _ in
      east.configuration.groups[0].history = "1h"
    }
    let client = try pair.east.connect("disk")
    var history = PlainHistory(size: 2 << 20)
    var generator = SeededGenerator(seed: testSeed(4))
    try history.drive(client, count: 30, maximumLength: 40_000, using: &generator)
    let instant = quietInstant()
    try pair.east.checkpoint("later").checked()
    try pair.drain()
    // Of each site's, on more than one loop.
    let views = try [pair.east, pair.west, pair.east, pair.west].map {
      try $0.connect("disk@\(rfc3339(instant))")
    }
    for site in [pair.east, pair.west] { try site.takeOver() }
    let expected = history.image(at: instant)
    try history.drive(client, count: 30, maximumLength: 40_000, using: &generator)
    for site in [pair.east, pair.west] { try site.takeOver() }
    for view in views {
      #expect(difference(try view.read(at: 0, count: 2 << 20), expected) == nil)
    }
    #expect(difference(try client.read(at: 0, count: 2 << 20), history.image()) == nil)
  }

  @Test func `a disk without a journal is handed over, too`() throws {
    let single = try SingleSite { site in
      site.configuration.groups[0].role = .plain
    }
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(single.uri, history: history)
    for _ in 0..<3 {
      try load.makeProgress(200)
      try single.site.takeOver()
    }
    try load.makeProgress(50)
    try load.stop()
    #expect(load.failure == nil)
    #expect(history.violations(in: try single.site.image("disk")) == [])
  }

  @Test(.requires("qemu-nbd"))
  func `a disk on a server that takes one client at a time is handed over`() throws {
    let scratch = try ScratchDirectory()
    let file = try scratch.sparseFile("upstream.raw", size: 8 << 20)
    let upstream = try scratch.socket("upstream.sock")
    let server = try ChildProcess(
      "qemu-nbd", ["-t", "-f", "raw", "-x", "disk", "-k", upstream, file], logs: scratch)
    try eventually("qemu-nbd listens") { RawConnection.isListening(unix: upstream) }
    let site = try Site("east", in: scratch)
    site.addDisk(
      "disk", size: 8 << 20, backing: "nbd+unix:///disk?socket=\(upstream)", role: .protected)
    try site.start()
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(site.uri("disk"), history: history)
    for _ in 0..<3 {
      try load.makeProgress(200)
      try site.takeOver()
    }
    try load.makeProgress(200)
    try load.stop()
    #expect(load.failure == nil)
    #expect(history.violations(in: try site.image("disk")) == [])
    try site.stop()
    try server.terminate()
  }

  // MARK: Listeners

  @Test func `clients that come at any time are let in`() throws {
    let single = try SingleSite()
    let visitor = Visitor(single.uri)
    for _ in 0..<3 {
      try visitor.makeProgress(20)
      try single.site.takeOver()
    }
    try visitor.makeProgress(20)
    try visitor.stop()
    #expect(visitor.failure == nil)
  }

  @Test func `listeners follow the new configuration`() throws {
    let single = try SingleSite { site in
      site.configuration.nbd.append("unix:\(try site.scratch.socket("second.sock"))")
    }
    let site = single.site
    let second = try site.scratch.socket("second.sock")
    let third = try site.scratch.socket("third.sock")
    #expect(RawConnection.isListening(unix: second))
    site.configuration.nbd[1] = "unix:\(third)"
    try site.takeOver()
    #expect(!FileManager.default.fileExists(atPath: second))
    #expect(RawConnection.isListening(unix: third))
    #expect(RawConnection.isListening(unix: site.socket))
    try site.stop()
    #expect(!FileManager.default.fileExists(atPath: site.socket))
  }

  @Test func `a client that may do less now must connect again`() throws {
    let single = try SingleSite()
    let client = try single.site.connect("disk")
    try client.write([1], at: 0)
    single.site.configuration.groups[0].disks[0].access =
      "[{ uid: \(getuid()), allow: read-only }]"
    try single.site.takeOver()
    #expect(throws: (any Error).self) { try client.write([2], at: 0) }
    let again = try single.site.connect("disk")
    #expect(again.isReadOnly)
    #expect(try again.read(at: 0, count: 1) == [1])
  }

  @Test(.requires("openssl"))
  func `a client with TLS is sent away and can come again`() throws {
    let port = try unusedPort()
    var pki = ""
    let single = try SingleSite { site in
      let authority = try Certificates(in: site.scratch)
      pki = try authority.client("host1")
      site.configuration.nbd.append(
        "{ address: \"tcp:127.0.0.1:\(port)\", tls: required, "
          + "certificates: \"\(try authority.server())\" }")
    }
    let uri = "nbds://localhost:\(port)/disk?tls-certificates=\(pki)"
    let client = try NBDClient(uri)
    let plain = try single.site.connect("disk")
    try client.write([7], at: 9)
    try single.site.takeOver()
    #expect(throws: (any Error).self) { try client.read(at: 9, count: 1) }
    #expect(try plain.read(at: 9, count: 1) == [7])
    #expect(try NBDClient(uri).read(at: 9, count: 1) == [7])
  }

  // MARK: When it cannot be

  @Test func `without a running site it starts as usual`() throws {
    let single = try SingleSite()
    try single.site.connect("disk").write([5], at: 100)
    try single.site.crash()
    try single.site.start(takingOver: true)
    #expect(try single.site.connect("disk").read(at: 100, count: 1) == [5])
  }

  private static let unfit: [(String, @Sendable (Site) throws -> Void)] = [
    ("protected now and plain", { $0.configuration.groups[0].role = .plain }),
    ("the configuration does not", { $0.configuration.groups[0].name = "other" }),
    (
      "the disks of group g differ",
      { site in
        let file = try site.scratch.sparseFile("other.raw", size: 8 << 20)
        site.configuration.groups[0].disks[0].backing = "file:\(file)"
      }
    ),
    ("a disk cannot be made smaller", { $0.configuration.groups[0].disks[0].size = 1 << 20 }),
    ("which this configuration does not name", { $0.configuration.data += "-elsewhere" }),
    ("of site west", { $0.configuration.site = "west" }),
    (
      "cannot listen on",
      { site in
        // Found only when the running site stands still already.
        let path = site.scratch.file("nowhere/east.sock")
        site.configuration.nbd.append("unix:\(path)")
      }
    ),
  ]

  @Test(arguments: unfit.indices)
  func `a process that does not fit is refused, and the old one goes on`(index: Int) throws {
    let single = try SingleSite(history: "1h")
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(single.uri, history: history)
    try load.makeProgress(100)
    let before = single.site.configuration
    let (reason, change) = Self.unfit[index]
    try change(single.site)
    let refused = try single.site.failToTakeOver()
    #expect(refused.status == 1)
    #expect(refused.stderr.contains(reason), "\(refused)")
    single.site.configuration = before
    try load.makeProgress(100)
    #expect(load.failure == nil)
    // And a crash of it is still recognised as one.
    try single.site.crash()
    try load.stop()
    try single.site.start()
    #expect(history.violations(in: try single.site.image("disk")) == [])
    #expect(try single.site.counter("epoch") == 2)
  }
}
