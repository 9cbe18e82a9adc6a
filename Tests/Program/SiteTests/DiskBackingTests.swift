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

  @Test(.requires("nbdkit")) func `a disk that is leaving its owner is not said to come again`()
    throws
  {
    let single = try SingleSite()
    let site = single.site
    let upstream = try Upstream(["memory", "\(1 << 20)"], in: single.scratch)
    try site.addDisk("new", size: 4096, role: .protected)
    site.addDisk("slow", size: 1 << 20, backing: upstream.uri, role: .protected)
    let with = site.configuration.groups[0].disks
    try site.reload().checked()
    try site.connect("new").write([1], at: 0, fua: true)
    let client = try site.connect("slow")
    try client.write([1], at: 0, fua: true)
    upstream.signal(SIGSTOP)
    defer { upstream.signal(SIGCONT) }
    // Apply waits for the store, and what is to be noted waits for apply.
    try client.write([2], at: 0)
    Thread.sleep(forTimeInterval: 1)
    site.configuration.groups[0].disks.removeAll { $0.name == "new" }
    let removal = try JSON(try site.reload().checked().stdout)["notes"]
    try #require(removal?.elements.first?.string?.contains("is not removed yet") == true)
    site.configuration.groups[0].disks = with
    let again = try JSON(try site.reload().checked().stdout)
    #expect(again["notes"]?.elements.first?.string?.contains("is leaving it already") == true)
    #expect(again["applied"]?.elements.count == 0)
    upstream.signal(SIGCONT)
    try eventually("it has left, and a reload brings it again") {
      let json = try JSON(try site.reload().checked().stdout)
      return json["notes"]?.elements.count == 0 && (try? site.connect("new")) != nil
    }
  }
}
