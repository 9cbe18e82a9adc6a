import Foundation
import TestSupport
import Testing

/// Proves that a disk's name alone does not make a backing store its own: another store under the
/// name is another disk, and a store that was moved, or is called by another path, is the same.
@Suite(.scratch) struct DiskBackingTests {
  enum Way: CaseIterable { case start, reload }

  /// Gives the name to another file, as an administrator does at either site.
  private func replace(
    _ name: String, at site: Site, _ role: SiteConfiguration.Group.Role,
    between: () throws -> Void
  ) throws {
    site.configuration.groups[0].disks.removeAll { $0.name == name }
    try between()
    try site.addDisk("again", size: 4096, role: role)
    let place = site.configuration.groups[0].disks.count - 1
    site.configuration.groups[0].disks[place].name = name
  }

  private func firstByte(_ site: Site, _ export: String) throws -> UInt8 {
    try site.connect(export).read(at: 0, count: 1)[0]
  }

  @Test(arguments: Way.allCases)
  func `at a recovery site another file under a name is another disk`(way: Way) throws {
    let pair = try SitePair(history: "0s") { east, _ in
      east.configuration.groups[0].checkpointEvery = "0s"
    }
    try pair.west.addDisk("new", size: 4096, role: .recovery)
    try pair.west.reload().checked()
    try pair.east.addDisk("new", size: 4096, role: .protected)
    try pair.east.reload().checked()
    try pair.east.connect("new").write([1], at: 0, fua: true)
    try pair.drain()
    try eventually("the byte is applied") {
      try Data(contentsOf: URL(filePath: pair.west.rawFile("new"))).first == 1
    }
    switch way {
    case .start:
      try pair.west.stop()
      try replace("new", at: pair.west, .recovery) {}
    case .reload:
      try replace("new", at: pair.west, .recovery) { try pair.west.reload().checked() }
      let notes = try JSON(try pair.west.reload().checked().stdout)["notes"]
      #expect(notes?.elements.first?.string?.contains("waits until that disk has left") == true)
      try pair.west.stop()
    }
    try pair.west.start()
    try pair.drain()
    // The old one goes on.
    #expect(try firstByte(pair.west, "new@latest") == 1)
    #expect(pair.west.log.contains("goes on here on file:\(pair.west.rawFile("new"))"))
    try replace("new", at: pair.east, .protected) {
      try pair.east.reload().checked()
      try eventually("it has left") { (try? pair.east.connect("new")) == nil }
    }
    try pair.east.reload().checked()
    try pair.east.connect("new").write([2], at: 0, fua: true)
    try eventually("the other one is there") {
      (try? firstByte(pair.west, "new@latest")) == 2
    }
    try pair.drain()
  }

  @Test func `the only disk of a recovery site goes on, too`() throws {
    let pair = try SitePair(history: "0s")
    try pair.east.connect("disk").write([1], at: 0, fua: true)
    try pair.drain()
    let old = pair.west.rawFile("disk")
    try eventually("the byte is applied") {
      try Data(contentsOf: URL(filePath: old)).first == 1
    }
    try pair.west.stop()
    let disks = pair.west.configuration.groups[0].disks
    try replace("disk", at: pair.west, .recovery) {}
    try pair.west.start()
    try pair.drain()
    #expect(try firstByte(pair.west, "disk@latest") == 1)
    // Which of them is meant when this site owns the group, only its administrator knows.
    try pair.east.stop()
    try pair.west.stop()
    pair.west.configuration.groups[0].role = .protected
    pair.west.configuration.groups[0].peer?.address = "tcp:127.0.0.1:1"
    let refused = try pair.west.launch()
    try eventually("it does not guess") { !refused.isRunning }
    #expect(pair.west.log.contains("was file:\(old) as long as this site followed"))
    pair.west.configuration.groups[0].disks = disks
    try pair.west.start()
    #expect(try firstByte(pair.west, "disk") == 1)
  }

  @Test func `the rules of another disk are not those of the one that has its name still`() throws {
    let pair = try SitePair()
    try pair.west.addDisk("own", size: 4096, role: .recovery)
    try pair.west.reload().checked()
    let others = "[{uid: \(getuid() + 1), allow: read-only}]"
    func limit(_ name: String) throws {
      for place in pair.west.configuration.groups[0].disks.indices
      where pair.west.configuration.groups[0].disks[place].name == name {
        pair.west.configuration.groups[0].disks[place].access = others
      }
    }
    try limit("own")
    try replace("disk", at: pair.west, .recovery) { try pair.west.reload().checked() }
    try pair.west.reload().checked()
    #expect(throws: (any Error).self) { _ = try pair.west.connect("disk@latest") }
    pair.west.configuration.groups[0].disks[0].access = nil
    try pair.west.reload().checked()
    _ = try pair.west.connect("disk@latest")
  }

  /// As a test of a restore does: it must not write to the disks of the original.
  @Test func `a copy of a whole recovery site uses its own disks`() throws {
    let pair = try SitePair()
    try pair.east.connect("disk").write([1], at: 0, fua: true)
    try pair.drain()
    try pair.west.stop()
    let copy = try Site("west", in: try ScratchDirectory())
    copy.configuration.groups = pair.west.configuration.groups
    let raw = copy.scratch.file("west-disk.raw")
    copy.configuration.groups[0].disks[0].backing = "file:\(raw)"
    try run("cp", ["-a", pair.west.configuration.data + "/.", copy.configuration.data]).checked()
    try run("cp", [pair.west.rawFile("disk"), raw]).checked()
    try copy.start()
    #expect(copy.log.contains("\(raw) now, though"), "\(copy.log)")
    #expect(try firstByte(copy, "disk@latest") == 1)
    // Nobody else has its disks.
    try pair.west.start()
    try pair.drain()
  }

  @Test func `an owner says that another file is a disk's now`() throws {
    let single = try SingleSite()
    let site = single.site
    try site.connect("disk").write([1], at: 0, fua: true)
    try site.stop()
    let own = site.configuration.groups[0].disks
    try site.addDisk("other", size: 8 << 20, role: .protected)
    let backing = site.configuration.groups[0].disks[1].backing
    site.configuration.groups[0].disks = own
    site.configuration.groups[0].disks[0].backing = backing
    try site.start()
    #expect(site.log.contains("is still there; if"), "\(site.log)")
    try site.stop()
    site.configuration.groups[0].disks = own
    try site.start()
    #expect(try firstByte(site, "disk") == 1)
  }

  @Test func `a file that was moved goes on, and so does one by another path`() throws {
    let pair = try SitePair()
    try pair.east.connect("disk").write([1], at: 0, fua: true)
    try pair.drain()
    for site in [pair.west, pair.east] {
      try site.stop()
      let moved = site.rawFile("moved")
      try FileManager.default.moveItem(atPath: site.rawFile("disk"), toPath: moved)
      site.configuration.groups[0].disks[0].backing = "file:\(moved)"
      try site.start()
      #expect(site.log.contains("file:\(moved) now: "))
      try site.stop()
      let link = site.rawFile("link")
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: moved)
      site.configuration.groups[0].disks[0].backing = "file:\(link)"
      try site.start()
      #expect(!site.log.contains(" now: "))
    }
    try pair.east.connect("disk").write([2], at: 1, fua: true)
    try pair.drain()
    for site in [pair.west, pair.east] {
      #expect(try site.connect("disk@latest").read(at: 0, count: 2) == [1, 2])
    }
  }

  /// A store that hangs keeps the journal full, so nothing has room for a marker.
  @Test(.requires("nbdkit")) func `a disk that is leaving its owner is not said to come again`()
    throws
  {
    let single = try SingleSite(segmentSize: "1M") {
      $0.configuration.groups[0].journalCapacity = "8M"
    }
    let site = single.site
    let upstream = try Upstream(["memory", "\(16 << 20)"], in: single.scratch)
    try site.addDisk("new", size: 4096, role: .protected)
    site.addDisk("slow", size: 16 << 20, backing: upstream.uri, role: .protected)
    try site.reload().checked()
    upstream.signal(SIGSTOP)
    defer { upstream.signal(SIGCONT) }
    let clients = try [1 << 20, 16 << 10, 1].map { byteCount in
      let client = try site.connect("slow")
      let bytes = [UInt8](repeating: 2, count: byteCount)
      var writes = Set<NBDClient.Request>()
      for _ in 0..<(16 << 10) / byteCount + 100 {
        writes.insert(try client.submitWrite(bytes, at: 0))
        let done = try client.completions(of: writes, within: .milliseconds(500))
        if done.isEmpty { return client }
        for (write, _) in done { writes.remove(write) }
      }
      throw RigError("the journal does not become full")
    }
    defer { _ = clients }
    site.configuration.groups[0].disks.removeAll { $0.name == "new" }
    for name in ["a", "b", "c"] { try site.addDisk(name, size: 4096, role: .protected) }
    // All of them are waited for together.
    let start = ContinuousClock.now
    let notes = try JSON(try site.reload().checked().stdout)["notes"]
    #expect(ContinuousClock.now - start < .seconds(15))
    #expect(notes?.elements.count == 4)
    try #require(notes?.elements.first?.string?.contains("is not removed yet") == true)
    try replace("new", at: site, .protected) {}
    let again = try JSON(try site.reload().checked().stdout)
    #expect(again["notes"]?.elements.first?.string?.contains("is leaving it already") == true)
    #expect(again["applied"]?.elements.count == 0)
    upstream.signal(SIGCONT)
    try eventually("it has left, and a reload brings the other") {
      let json = try JSON(try site.reload().checked().stdout)
      return json["notes"]?.elements.count == 0 && (try? site.connect("new")) != nil
    }
  }
}
