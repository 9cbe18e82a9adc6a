import Foundation
import TestSupport
import Testing

/// Proves that a backing store that does not answer is the affair of its group: the others are
/// served as quickly as ever, and so are questions to the site; and that it comes to its end.
@Suite(.scratch, .requires("nbdkit")) struct HungUpstreamTests {
  private static let size = 64 << 20
  /// Far above what a busy machine needs, far below what waiting for the store would take.
  private static let limit = Duration.seconds(5)

  /// Two sites' worth of groups on one site: `slow` behind a server that is stopped, and `quick`.
  private struct Scene {
    let site: Site
    let upstream: Upstream

    init(role: SiteConfiguration.Group.Role) throws {
      let scratch = try ScratchDirectory()
      upstream = try Upstream(["memory", "\(HungUpstreamTests.size)"], in: scratch)
      site = try Site("east", in: scratch)
      // More groups than loops, so that some share one with the slow group.
      let others = ProcessInfo.processInfo.activeProcessorCount * 2
      site.addDisk(
        "slow", size: HungUpstreamTests.size, backing: upstream.uri, group: "slow", role: role)
      for number in 0..<others {
        try site.addDisk(
          "quick\(number)", size: 1 << 20, group: "quick\(number)", role: .protected)
        site.configuration.groups[number + 1].journalCapacity = "16M"
        site.configuration.groups[number + 1].segmentSize = "1M"
      }
      try site.start()
    }

    var quickDisks: [String] { site.configuration.groups.dropFirst().map { $0.disks[0].name } }
  }

  private func expectQuick(_ what: String, _ body: () throws -> Void) throws {
    let start = ContinuousClock.now
    try body()
    let elapsed = ContinuousClock.now - start
    #expect(elapsed < Self.limit, "\(what) took \(elapsed)")
  }

  private func expectOthersQuick(_ scene: Scene) throws {
    for disk in scene.quickDisks {
      try expectQuick("a client of \(disk)") {
        let client = try scene.site.connect(disk)
        try client.write([1], at: 0)
        try client.flush()
        try client.write([2], at: 4096, fua: true)
        #expect(try client.read(at: 0, count: 1) == [1])
      }
    }
    try expectQuick("a view") {
      let bytes = try scene.site.connect("quick0@latest").read(at: 0, count: 1)
      #expect(bytes == [1])
    }
    try expectQuick("status") { _ = try scene.site.status() }
  }

  @Test func `reads that hang in one group keep no other waiting`() throws {
    let scene = try Scene(role: .protected)
    let client = try scene.site.connect("slow")
    scene.upstream.signal(SIGSTOP)
    defer { scene.upstream.signal(SIGCONT) }
    let reads = try (0..<16).map { try client.submitRead(at: UInt64($0) << 20, count: 4096) }
    try expectOthersQuick(scene)
    #expect(try client.completions(of: Set(reads), within: .zero).isEmpty)
  }

  @Test func `changes of a plain disk that hang keep no other group waiting, and come to an end`()
    throws
  {
    let scene = try Scene(role: .plain)
    let client = try scene.site.connect("slow")
    try client.write([9], at: 0)
    scene.upstream.signal(SIGSTOP)
    let large = [UInt8](repeating: 7, count: 3 << 20)
    var waiting = Set(
      try (1..<20).map { try client.submitWrite([UInt8($0)], at: UInt64($0) << 20) })
    waiting.insert(try client.submitWrite(large, at: 40 << 20, fua: true))
    waiting.insert(try client.submitFlush())
    try expectOthersQuick(scene)
    #expect(try client.completions(of: waiting, within: .zero).isEmpty)

    scene.upstream.signal(SIGCONT)
    try eventually("all are answered", within: .seconds(60)) {
      for (request, failure) in try client.completions(of: waiting, within: .milliseconds(100)) {
        if let failure { throw failure }
        waiting.remove(request)
      }
      return waiting.isEmpty
    }
    for number in 1..<20 {
      #expect(try client.read(at: UInt64(number) << 20, count: 1) == [UInt8(number)])
    }
    #expect(try client.read(at: 40 << 20, count: large.count) == large)
    try client.zero(at: 40 << 20, count: large.count)
    #expect(try client.read(at: 40 << 20, count: large.count).allSatisfy { $0 == 0 })
  }

  @Test func `disks come and leave though a store hangs`() throws {
    let single = try SingleSite()
    let site = single.site
    let upstream = try Upstream(["memory", "\(1 << 20)"], in: single.scratch)
    try site.addDisk("leaves", size: 4096, role: .protected)
    site.addDisk("slow", size: 1 << 20, backing: upstream.uri, role: .protected)
    try site.reload().checked()
    let client = try site.connect("slow")
    upstream.signal(SIGSTOP)
    defer { upstream.signal(SIGCONT) }
    try client.write([1], at: 0, fua: true)
    // Apply is due after 0.2 s, and waits for it.
    Thread.sleep(forTimeInterval: 1)
    site.configuration.groups[0].disks.removeAll { $0.name == "leaves" }
    try site.addDisk("comes", size: 4096, role: .protected)
    #expect(try JSON(try site.reload().checked().stdout)["notes"]?.elements.count == 0)
    #expect((try? site.connect("leaves")) == nil)
    try site.connect("comes").write([1], at: 0, fua: true)
  }

  // MARK: Ends

  /// Far above the ten seconds that the server is waited for, far below one request's two minutes.
  private static let endLimit = Duration.seconds(40)

  private func expectSoon(_ what: String, _ body: () throws -> Void) throws {
    let start = ContinuousClock.now
    try body()
    let elapsed = ContinuousClock.now - start
    #expect(elapsed < Self.endLimit, "\(what) took \(elapsed)")
  }

  @Test(arguments: [SiteConfiguration.Group.Role.protected, .plain])
  func `site stops though a store hangs, and has what was acknowledged`(
    role: SiteConfiguration.Group.Role
  ) throws {
    let scene = try Scene(role: role)
    let client = try scene.site.connect("slow")
    try client.write([1], at: 0, fua: true)
    scene.upstream.signal(SIGSTOP)
    defer { scene.upstream.signal(SIGCONT) }
    // More than the store's threads take at a time.
    for number in 0..<16 { _ = try client.submitRead(at: UInt64(number + 16) << 20, count: 4096) }
    if role == .protected { try client.write([2], at: 4096, fua: true) }
    try expectSoon("the stop") { try scene.site.stop() }
    #expect(role == .plain || scene.site.log.contains("are not applied"))
    scene.upstream.signal(SIGCONT)
    try scene.site.start()
    let bytes = try scene.site.connect("slow").read(at: 0, count: 8192)
    #expect(bytes[0] == 1 && (role == .plain || bytes[4096] == 2))
  }

  @Test func `site stops though the store hangs that a test reads`() throws {
    let scene = try Scene(role: .protected)
    try scene.site.tapline([
      "test", "start", "slow", "--name", "x", "--control", scene.site.configuration.control,
    ]).checked()
    let client = try scene.site.connect("slow@x")
    scene.upstream.signal(SIGSTOP)
    defer { scene.upstream.signal(SIGCONT) }
    for number in 0..<16 { _ = try client.submitRead(at: UInt64(number) << 20, count: 4096) }
    try expectSoon("the stop") { try scene.site.stop() }
  }

  @Test func `site stops though the store hangs that a full copy reads`() throws {
    let scratch = try ScratchDirectory()
    let upstream = try Upstream(["memory", "\(Self.size)"], in: scratch)
    let pair = try SitePair(disks: [:], start: false) { east, west in
      east.addDisk("disk", size: Self.size, backing: upstream.uri, role: .protected)
      try west.addDisk("disk", size: Self.size, role: .recovery)
    }
    for (site, peer) in [(pair.east, pair.west), (pair.west, pair.east)] {
      site.configuration.groups[0].peer = (peer.name, peer.configuration.link)
    }
    try pair.east.start()
    upstream.signal(SIGSTOP)
    defer { upstream.signal(SIGCONT) }
    try pair.west.start()
    try eventually("the copy has begun") { pair.east.log.contains("the full copy to west begins") }
    try expectSoon("the stop") { try pair.east.stop() }
  }

  @Test(.canMount) func `group that has failed is opened again though its store hung`() throws {
    let scratch = try ScratchDirectory()
    let upstream = try Upstream(["memory", "\(Self.size)"], in: scratch)
    let mount = try Mount(ext4: 32 << 20, in: scratch)
    let site = try Site("east", in: scratch)
    site.configuration.data = mount.path + "/data"
    site.addDisk("slow", size: Self.size, backing: upstream.uri, role: .protected)
    site.configuration.groups[0].segmentSize = "256K"
    try site.start()
    let client = try site.connect("slow")
    try client.write([1], at: 0, fua: true)
    upstream.signal(SIGSTOP)
    defer { upstream.signal(SIGCONT) }
    _ = try client.submitRead(at: 16 << 20, count: 4096)
    try mount.failAsAfterAnError()
    #expect(throws: (any Error).self) { try client.write([2], at: 4096, fua: true) }
    // Nothing of it is open any more.
    try expectSoon("the group's end") {
      try eventually("it can be repaired", within: .seconds(60)) {
        (try? mount.repair()) != nil
      }
    }
    upstream.signal(SIGCONT)
    try eventually("the group is open", within: .seconds(120)) {
      (try? site.connect("slow").read(at: 0, count: 1)) == [1]
    }
  }
}
