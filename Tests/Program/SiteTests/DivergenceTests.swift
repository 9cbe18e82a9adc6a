import Foundation
import TestSupport
import Testing

/// Proves that a protected site which comes back as it was before, or a clone of it, is never taken
/// for the one that its peer knows: nothing is mixed, nothing is erased, both sites say so, and an
/// operator decides. And that an ordinary power cut needs no operator.
@Suite(.scratch) struct DivergenceTests {
  private static let size = 4 << 20
  private static let block = 4096

  /// Two sites, and a copy of what the protected one has on its disk.
  private final class Scene {
    let pair: SitePair
    private var copies: [String: URL] = [:]
    private var expected: [UInt8]

    init() throws {
      pair = try SitePair(disks: ["disk": DivergenceTests.size]) { east, west in
        for site in [east, west] { site.configuration.groups[0].segmentSize = "1M" }
      }
      expected = [UInt8](repeating: 0, count: DivergenceTests.size)
      try write(1, at: 0..<40)
      try pair.drain()
    }

    var east: Site { pair.east }
    var west: Site { pair.west }

    /// Full blocks of `byte`, and a flush.
    func write(_ byte: UInt8, at blocks: Range<Int>) throws {
      let client = try east.connect("disk")
      for block in blocks {
        let bytes = [UInt8](repeating: byte, count: DivergenceTests.block)
        try client.write(bytes, at: UInt64(block * DivergenceTests.block))
      }
      try client.flush()
    }

    private var folders: [String] { [east.configuration.data, east.rawFile("disk")] }

    /// A snapshot of its machine's disk, as it is now.
    func save(_ name: String) throws {
      let folder = URL(fileURLWithPath: try pair.scratch.subdirectory("copy-\(name)"))
      for path in folders {
        let target = folder.appending(path: (path as NSString).lastPathComponent)
        try run("cp", ["-a", "--sparse=always", path, target.path]).checked()
      }
      copies[name] = folder
    }

    /// - Parameter paths: of another machine; nil: where it was.
    func restore(_ name: String, to paths: [String]? = nil) throws {
      guard let folder = copies[name] else { throw RigError("no copy \(name)") }
      for (path, own) in zip(paths ?? folders, folders) {
        try? FileManager.default.removeItem(atPath: path)
        let source = folder.appending(path: (own as NSString).lastPathComponent)
        try run("cp", ["-a", "--sparse=always", source.path, path]).checked()
      }
    }

    /// Saves it as it is, and goes on; the peer has all of that. Returns what it shows then.
    func goOn(from name: String, writing blocks: Range<Int>) throws -> [UInt8] {
      try save(name)
      try east.start()
      try write(2, at: blocks)
      try pair.drain()
      return try west.image("disk@latest")
    }

    func link(_ site: Site) throws -> String {
      try site.status().first("groups")?.elements.first?["link"]?["state"]?.string ?? ""
    }

    func health(_ site: Site) throws -> String {
      try site.status().first("groups")?.elements.first?["health"]?.string ?? ""
    }

    /// Waits until both say so, and checks that they go on saying so and that the peer keeps what
    /// it has.
    func expectDivergence(keeping image: [UInt8]) throws {
      try eventually("both sites say that they have diverged") {
        try link(east) == "diverged" && link(west) == "diverged"
      }
      for site in [east, west] {
        let text = try health(site)
        #expect(text.contains("diverged"), "\(site.name): \(text)")
        #expect(text.contains("tapline sync g --discard-follower"))
      }
      Thread.sleep(forTimeInterval: 2.5)
      #expect(try link(east) == "diverged" && link(west) == "diverged")
      #expect(try west.image("disk@latest") == image)
      // Once, not with every connection.
      #expect(west.log.components(separatedBy: "diverged: ").count == 2, "\(west.log)")
    }

    func discard() throws {
      try east.tapline(
        TaplineContract.discardFollower(group: "g", site: east.configuration)
      ).checked()
      try pair.drain()
      try expectSame()
    }

    func expectSame() throws {
      let live = try east.image("disk")
      try eventually("the peer shows the same") { try west.image("disk@latest") == live }
      #expect(try link(east) == "connected")
    }
  }

  enum End: CaseIterable { case clean, killed }

  @Test(arguments: End.allCases)
  func `a site that was put back to an older snapshot`(end: End) throws {
    let scene = try Scene()
    func stop() throws { try end == .clean ? scene.east.stop() : scene.east.crash() }
    try stop()
    let image = try scene.goOn(from: "older", writing: 0..<30)
    try stop()
    try scene.restore("older")
    try scene.east.start()
    // As many records as were lost, and more.
    try scene.write(3, at: 100..<160)
    try scene.expectDivergence(keeping: image)
    try scene.discard()
  }

  @Test func `a snapshot of the running site, in the middle of a start`() throws {
    let scene = try Scene()
    scene.east.signal(SIGSTOP)
    try scene.save("older")
    scene.east.signal(SIGCONT)
    try scene.write(2, at: 0..<30)
    try scene.pair.drain()
    // The peer hears what is durable there, and writes it down.
    Thread.sleep(forTimeInterval: 2.5)
    let image = try scene.west.image("disk@latest")
    try scene.east.crash()
    try scene.restore("older")
    try scene.west.crash()
    try scene.west.start()
    try scene.east.start()
    try scene.write(3, at: 100..<160)
    try scene.expectDivergence(keeping: image)
    try scene.discard()
  }

  @Test func `a site that comes back with less erases nothing, and the original goes on`() throws {
    let scene = try Scene()
    try scene.east.stop()
    let image = try scene.goOn(from: "older", writing: 200..<400)
    try scene.east.stop()
    try scene.save("newer")
    // A clone takes its place.
    try scene.restore("older")
    try scene.east.start()
    try scene.expectDivergence(keeping: image)
    try scene.write(3, at: 100..<120)
    try scene.east.stop()
    // And the original comes back.
    try scene.restore("newer")
    try scene.east.start()
    try scene.write(4, at: 0..<10)
    try scene.pair.drain()
    try scene.expectSame()
  }

  @Test func `a clone that runs beside the original cannot reach its peer's history`() throws {
    let scene = try Scene()
    try scene.east.stop()
    let image = try scene.goOn(from: "clone", writing: 0..<30)
    // The original is cut off; the clone connects instead.
    try scene.east.crash()
    try scene.save("original")
    try scene.restore("clone")
    try scene.east.start()
    try scene.write(5, at: 0..<30)
    try scene.expectDivergence(keeping: image)
    try scene.east.crash()
    try scene.restore("original")
    try scene.east.start()
    try scene.pair.drain()
    try scene.expectSame()
  }

  @Test func `a clone that runs beside the original does not disturb its link`() throws {
    let scene = try Scene()
    try scene.east.stop()
    try scene.save("clone")
    try scene.east.start()
    try scene.write(2, at: 0..<30)
    try scene.pair.drain()
    let clone = try Site("east", in: try ScratchDirectory())
    clone.configuration.groups = scene.east.configuration.groups
    let raw = clone.scratch.file("east-disk.raw")
    clone.configuration.groups[0].disks[0].backing = "file:\(raw)"
    try scene.restore("clone", to: [clone.configuration.data, raw])
    try clone.start()
    try eventually("the clone is refused") { try scene.link(clone) == "refused" }
    #expect(try scene.health(clone).contains("is a clone, or was put back"))
    // Longer than it waits between two connections.
    Thread.sleep(forTimeInterval: 5)
    let link = try scene.east.status().first("groups")?.elements.first?["link"]
    #expect(link?["reconnects"]?.number == 0)
    try scene.write(4, at: 10..<20)
    try scene.pair.drain()
    try scene.expectSame()
    // Once it is alone it is told what it lacks.
    try scene.east.stop()
    try eventually("the clone hears of it") { try scene.link(clone) == "diverged" }
  }

  @Test func `a decision is refused where nothing has diverged`() throws {
    let scene = try Scene()
    let command = TaplineContract.discardFollower(group: "g", site: scene.east.configuration)
    let refused = try scene.east.tapline(command)
    #expect(refused.status == 1 && refused.stderr.contains("has not diverged"), "\(refused)")
  }

  /// The other way out: `docs/recover.md`.
  @Test func `the peer's copy can be made the protected site's`() throws {
    let scene = try Scene()
    try scene.east.stop()
    let image = try scene.goOn(from: "older", writing: 200..<300)
    try scene.east.stop()
    try scene.restore("older")
    try scene.east.start()
    try scene.expectDivergence(keeping: image)
    try scene.east.stop()
    let raw = scene.east.rawFile("disk")
    try run("nbdcopy", ["--flush", scene.west.uri("disk@latest"), raw]).checked()
    try FileManager.default.moveItem(
      atPath: "\(scene.east.configuration.data)/g", toPath: scene.pair.scratch.file("east-g"))
    try scene.west.stop()
    try FileManager.default.moveItem(
      atPath: "\(scene.west.configuration.data)/g", toPath: scene.pair.scratch.file("west-g"))
    try scene.west.start()
    try scene.east.start()
    #expect(try scene.east.image("disk") == image)
    try scene.write(6, at: 0..<10)
    try scene.pair.drain()
    try scene.expectSame()
  }
}
