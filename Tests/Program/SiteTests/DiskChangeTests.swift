import Foundation
import TestSupport
import Testing

/// Proves that disks come to a group with history and leave it, while clients write: what a disk
/// held when it came is in the history, no write is lost to that, each instant has the disks that
/// were there, and both sites agree, whatever is killed in between.
@Suite(.scratch) struct DiskChangeTests {
  private static let size = 2 << 20

  /// A disk of a test: what it must hold.
  private struct Model {
    var bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }

    /// With data and holes.
    init(size: Int, seed: UInt64) {
      var generator = SeededGenerator(seed: testSeed(seed))
      bytes = [UInt8](repeating: 0, count: size)
      for start in stride(from: 0, to: size, by: 64 << 10) where generator.next() % 3 > 0 {
        for offset in start..<min(size, start + (48 << 10)) {
          bytes[offset] = UInt8(truncatingIfNeeded: generator.next())
        }
      }
    }

    mutating func write(_ client: NBDClient, count: Int, seed: UInt64) throws {
      var generator = SeededGenerator(seed: testSeed(seed))
      for _ in 0..<count {
        let length = Int(generator.next() % 9000) + 1
        let offset = Int(generator.next() % UInt64(bytes.count - length))
        let value = UInt8(truncatingIfNeeded: generator.next())
        let data = [UInt8](repeating: value, count: length)
        try client.write(data, at: UInt64(offset))
        bytes.replaceSubrange(offset..<offset + length, with: data)
      }
    }
  }

  private func pair(history: String = "1h") throws -> SitePair {
    try SitePair(history: history) { east, _ in
      east.configuration.groups[0].history = history
      east.configuration.groups[0].checkpointEvery = "0s"
    }
  }

  /// Adds a disk with this content to the configuration; at the recovery site it holds garbage.
  private func configure(
    _ name: String, _ model: Model, at site: Site, _ role: SiteConfiguration.Group.Role
  ) throws {
    try site.addDisk(name, size: model.bytes.count, role: role)
    let file = try FileHandle(forUpdating: URL(filePath: site.rawFile(name)))
    if role == .recovery {
      try file.write(contentsOf: Data(repeating: 0xee, count: model.bytes.count / 2))
    } else {
      for start in stride(from: 0, to: model.bytes.count, by: 4096) {
        let page = model.bytes[start..<min(model.bytes.count, start + 4096)]
        guard page.contains(where: { $0 != 0 }) else { continue }
        try file.seek(toOffset: UInt64(start))
        try file.write(contentsOf: Data(page))
      }
    }
    try file.close()
  }

  private func conditions(_ site: Site) throws -> [String] {
    let group = try TaplineContract.group("g", in: site.status())
    return (group["conditions"]?.elements ?? []).compactMap { $0["code"]?.string }
  }

  private func waitUntilWhole(_ site: Site, _ name: String) throws {
    try eventually("disk \(name) is whole at \(site.name)") {
      (try? site.connect("\(name)@latest")) != nil
    }
  }

  private func expectView(_ site: Site, _ export: String, _ model: Model) throws {
    let image = try site.image(export)
    #expect(difference(image, model.bytes) == nil, "\(site.name): \(export)")
  }

  @Test func `a disk comes with what it holds, while clients write to it and to others`() throws {
    let pair = try pair()
    let history = WriteHistory(sectors: (8 << 20) / TaggedSectors.size)
    let load = WriteLoad(pair.east.uri("disk"), history: history)
    try load.makeProgress(50)
    let before = quietInstant()
    var model = Model(size: Self.size, seed: 1)
    try configure("new", model, at: pair.west, .recovery)
    try pair.west.reload().checked()
    try configure("new", model, at: pair.east, .protected)
    let json = try JSON(try pair.east.reload().checked().stdout)
    #expect(json["needs_restart"]?.elements.count == 0)
    #expect(json["notes"]?.elements.count == 0)
    // At once, while the content is on its way.
    let client = try pair.east.connect("new")
    try model.write(client, count: 200, seed: 2)
    #expect(difference(try pair.east.image("new"), model.bytes) == nil)
    try waitUntilWhole(pair.east, "new")
    let middle = quietInstant()
    let then = model
    try model.write(client, count: 50, seed: 3)
    try load.makeProgress(50)
    try load.stop()
    #expect(load.failure == nil)
    try pair.drain()
    for site in [pair.east, pair.west] {
      try expectView(site, "new@\(rfc3339(middle))", then)
      try expectView(site, "new@latest", model)
      #expect(throws: (any Error).self) { try site.connect("new@\(rfc3339(before))") }
      // The others have the instant.
      _ = try site.connect("disk@\(rfc3339(before))")
    }
    // The link went on, and nothing was copied anew.
    #expect(pair.west.log.components(separatedBy: "a full copy from east begins").count == 2)
    // From disk: after restarts, and after a stop in the raw file.
    for site in [pair.east, pair.west] {
      try site.crash()
      try site.start()
    }
    try pair.drain()
    try expectView(pair.west, "new@\(rfc3339(middle))", then)
    try pair.east.stop()
    let raw = [UInt8](try Data(contentsOf: URL(filePath: pair.east.rawFile("new"))))
    #expect(difference(raw, model.bytes) == nil)
  }

  @Test func `a recovery site that lacks the disk says so, and goes on when it has it`() throws {
    let pair = try pair()
    var model = Model(size: Self.size, seed: 4)
    try pair.east.connect("disk").write([1], at: 0, fua: true)
    try pair.drain()
    try configure("new", model, at: pair.east, .protected)
    try pair.east.reload().checked()
    try model.write(try pair.east.connect("new"), count: 20, seed: 5)
    try pair.east.connect("disk").write([2], at: 1, fua: true)
    let text = "add disk new to group g at west and reload"
    for site in [pair.east, pair.west] {
      try eventually("\(site.name) says what to do") {
        "\(try TaplineContract.group("g", in: site.status())["conditions"] ?? .null)".contains(text)
      }
    }
    #expect(try conditions(pair.west).contains("disk-missing"))
    #expect(try conditions(pair.east).contains("link-refused"))
    // What was before still opens, and stays through a restart.
    try pair.west.crash()
    try pair.west.start()
    #expect(try pair.west.connect("disk@latest").read(at: 0, count: 2) == [1, 0])
    try configure("new", model, at: pair.west, .recovery)
    try pair.west.reload().checked()
    try waitUntilWhole(pair.east, "new")
    try pair.drain()
    try waitUntilWhole(pair.west, "new")
    try expectView(pair.west, "new@latest", model)
    #expect(try pair.west.connect("disk@latest").read(at: 0, count: 2) == [1, 2])
    #expect(!pair.west.log.contains("a full copy from east begins"))
  }

  @Test func `a disk leaves: instants before show it, later ones do not`() throws {
    let pair = try pair()
    var model = Model(size: Self.size, seed: 6)
    let roles: [SiteConfiguration.Group.Role] = [.recovery, .protected]
    for (site, role) in zip([pair.west, pair.east], roles) {
      try configure("old", model, at: site, role)
      try site.reload().checked()
    }
    let client = try pair.east.connect("old")
    try model.write(client, count: 30, seed: 7)
    try waitUntilWhole(pair.east, "old")
    let before = quietInstant()
    let then = model
    try model.write(client, count: 30, seed: 8)
    let last = quietInstant()
    let open = try pair.east.connect("old@\(rfc3339(before))")
    pair.east.configuration.groups[0].disks.removeAll { $0.name == "old" }
    try pair.east.reload().checked()
    #expect(throws: (any Error).self) { try client.write([1], at: 0) }
    #expect(throws: (any Error).self) { try pair.east.connect("old") }
    // A backup that goes on where the last one ended finds that it is gone.
    let since = ["tapline:changed-since:\(rfc3339(before))"]
    let gone = try pair.east.refusal(of: "old@latest", contexts: since)
    #expect(gone?.contains("was not in group g") == true)
    #expect(try pair.east.refusal(of: "old@\(rfc3339(last))", contexts: since) == nil)
    #expect(difference(try open.read(at: 0, count: Self.size), then.bytes) == nil)
    try pair.east.connect("disk").write([9], at: 9, fua: true)
    try pair.drain()
    pair.west.configuration.groups[0].disks.removeAll { $0.name == "old" }
    try pair.west.reload().checked()
    for _ in 0..<2 {
      for site in [pair.east, pair.west] {
        try expectView(site, "old@\(rfc3339(before))", then)
        try expectView(site, "old@\(rfc3339(last))", model)
        #expect(throws: (any Error).self) { try site.connect("old@latest") }
        let removed = try TaplineContract.group("g", in: site.status())["removed_disks"]
        #expect(removed?.elements.first?["name"]?.string == "old")
      }
      for site in [pair.east, pair.west] {
        try site.crash()
        try site.start()
      }
      try pair.drain()
    }
  }

  @Test func `the same name again is another disk`() throws {
    let single = try SingleSite(history: "1h")
    let site = single.site
    let first = Model(size: Self.size, seed: 9)
    try configure("new", first, at: site, .protected)
    try site.reload().checked()
    try waitUntilWhole(site, "new")
    let before = quietInstant()
    site.configuration.groups[0].disks.removeLast()
    try site.reload().checked()
    // Its file is still needed.
    try site.addDisk("again", size: Self.size, role: .protected)
    site.configuration.groups[0].disks[1].backing = "file:\(site.rawFile("new"))"
    let notes = try JSON(try site.reload().checked().stdout)["notes"]
    #expect(notes?.elements.first?.string?.contains("still need") == true)
    site.configuration.groups[0].disks[1].name = "new"
    site.configuration.groups[0].disks[1].backing = "file:\(site.rawFile("again"))"
    try site.reload().checked()
    try site.connect("new").write([7], at: 0, fua: true)
    try waitUntilWhole(site, "new")
    let second = try site.image("new@latest")
    #expect(second[0] == 7 && second[1...].allSatisfy { $0 == 0 })
    try expectView(site, "new@\(rfc3339(before))", first)
    // What is said of the one is not said of the other.
    site.configuration.groups[0].disks[0].access = "[{uid: \(getuid() + 1), allow: read-only}]"
    try site.reload().checked()
    _ = try site.connect("new@latest")
    let old = "new@\(rfc3339(before))"
    #expect(throws: (any Error).self) { try site.connect(old) }
    #expect(throws: (any Error).self) {
      try NBDClient(site.uri(old), contexts: ["tapline:changed-since:\(rfc3339(before))"])
    }
  }

  @Test func `a restart does the same as a reload`() throws {
    let single = try SingleSite(history: "1h")
    let site = single.site
    let model = Model(size: Self.size, seed: 10)
    try site.connect("disk").write([1], at: 0, fua: true)
    let before = quietInstant()
    try site.crash()
    try configure("new", model, at: site, .protected)
    try site.start()
    try waitUntilWhole(site, "new")
    try expectView(site, "new@latest", model)
    try site.crash()
    site.configuration.groups[0].disks.removeFirst()
    try site.start()
    try eventually("the disk has left") {
      try TaplineContract.group("g", in: site.status())["removed_disks"] != nil
    }
    #expect(throws: (any Error).self) { try site.connect("disk") }
    #expect(try site.connect("disk@\(rfc3339(before))").read(at: 0, count: 1) == [1])
  }

  @Test func `a site that is copied to later needs no disk that has left`() throws {
    let pair = try SitePair(history: "1h", start: false) { east, _ in
      east.configuration.groups[0].history = "1h"
      east.configuration.groups[0].checkpointEvery = "0s"
    }
    let model = Model(size: Self.size, seed: 17)
    try pair.east.start()
    try pair.east.addDisk("first", size: 4096, role: .protected)
    pair.east.configuration.groups[0].disks[1].name = "new"
    try pair.east.reload().checked()
    try waitUntilWhole(pair.east, "new")
    pair.east.configuration.groups[0].disks.removeLast()
    try pair.east.reload().checked()
    // Another of that name, which stays.
    try configure("new", model, at: pair.east, .protected)
    try pair.east.reload().checked()
    try waitUntilWhole(pair.east, "new")
    try configure("new", model, at: pair.west, .recovery)
    try pair.west.start()
    try pair.drain()
    try expectView(pair.west, "new@latest", model)
  }

  @Test func `a disk that is too small for its marker comes once it has grown`() throws {
    let pair = try pair()
    try pair.west.addDisk("new", size: 4096, role: .recovery)
    try pair.west.reload().checked()
    let model = Model(size: Self.size, seed: 20)
    try configure("new", model, at: pair.east, .protected)
    try pair.east.reload().checked()
    try eventually("west says so") { try conditions(pair.west).contains("disk-missing") }
    pair.west.configuration.groups[0].disks[1].size = Self.size
    try pair.west.reload().checked()
    try waitUntilWhole(pair.west, "new")
    try expectView(pair.west, "new@latest", model)
  }

  @Test func `a disk that has its number from a full copy can grow`() throws {
    let pair = try pair()
    try pair.west.stop()
    // Numbers that a list alone would not give.
    for name in ["gone", "new"] {
      try pair.east.addDisk(name, size: Self.size, role: .protected)
      try pair.east.reload().checked()
      if name == "gone" { pair.east.configuration.groups[0].disks.removeLast() }
    }
    try FileManager.default.removeItem(atPath: pair.west.configuration.data)
    try pair.west.addDisk("new", size: Self.size, role: .recovery)
    try pair.west.start()
    try pair.drain()
    for site in [pair.west, pair.east] { try site.grow("new", to: 2 * Self.size) }
    try pair.east.connect("new").write([7], at: UInt64(2 * Self.size - 1))
    try pair.drain()
    #expect(try pair.west.image("new@latest").last == 7)
  }

  @Test func `history gives way to what a disk holds, though nobody writes`() throws {
    let single = try SingleSite(history: "1h", segmentSize: "256K") {
      $0.configuration.groups[0].journalCapacity = "4M"
      $0.configuration.groups[0].checkpointEvery = "0s"
    }
    let model = Model(size: 8 << 20, seed: 19)
    try configure("new", model, at: single.site, .protected)
    try single.site.reload().checked()
    try waitUntilWhole(single.site, "new")
    try expectView(single.site, "new@latest", model)
  }

  @Test func `the same name with another file comes to a follower with one reload`() throws {
    let pair = try pair()
    let roles: [SiteConfiguration.Group.Role] = [.recovery, .protected]
    for (site, role) in zip([pair.west, pair.east], roles) {
      try site.addDisk("new", size: 4096, role: role)
      try site.reload().checked()
    }
    try waitUntilWhole(pair.east, "new")
    let before = quietInstant()
    try pair.east.connect("new").write([1], at: 0, fua: true)
    try pair.drain()
    pair.east.configuration.groups[0].disks.removeLast()
    try pair.east.reload().checked()
    for (site, role) in zip([pair.east, pair.west], [roles[1], roles[0]]) {
      try eventually("it has left at \(site.name)") {
        try TaplineContract.group("g", in: site.status())["removed_disks"] != nil
      }
      try site.addDisk("again", size: 4096, role: role)
      site.configuration.groups[0].disks.removeAll { $0.name == "new" }
      site.configuration.groups[0].disks[1].name = "new"
      try site.reload().checked()
    }
    try pair.east.connect("new").write([2], at: 0, fua: true)
    try waitUntilWhole(pair.east, "new")
    try pair.drain()
    #expect(try pair.west.connect("new@latest").read(at: 0, count: 1) == [2])
    #expect(try pair.west.connect("new@\(rfc3339(before))").read(at: 0, count: 1) == [0])
  }

  @Test(arguments: [0, 3, 10, 30, 100]) func `kills while a disk comes and another leaves`(
    milliseconds: Int
  ) throws {
    let pair = try pair()
    var model = Model(size: Self.size, seed: 11)
    try pair.east.connect("disk").write([1, 2, 3], at: 0, fua: true)
    let roles: [SiteConfiguration.Group.Role] = [.recovery, .protected]
    for (site, role) in zip([pair.west, pair.east], roles) {
      try configure("new", model, at: site, role)
    }
    try pair.west.reload().checked()
    try pair.east.writeConfiguration()
    pair.east.signal(SIGHUP)
    Thread.sleep(forTimeInterval: Double(milliseconds) / 1000)
    try pair.east.crash()
    try pair.west.crash()
    try pair.east.start()
    try pair.west.start()
    try eventually("the disk is there") { (try? pair.east.connect("new")) != nil }
    try model.write(try pair.east.connect("new"), count: 10, seed: 12)
    try waitUntilWhole(pair.east, "new")
    pair.east.configuration.groups[0].disks.removeFirst()
    try pair.east.writeConfiguration()
    pair.east.signal(SIGHUP)
    Thread.sleep(forTimeInterval: Double(milliseconds) / 1000)
    try pair.east.crash()
    try pair.east.start()
    try eventually("the other has left") { (try? pair.east.connect("disk")) == nil }
    try model.write(try pair.east.connect("new"), count: 10, seed: 13)
    try pair.drain()
    for site in [pair.east, pair.west] { try expectView(site, "new@latest", model) }
    #expect(throws: (any Error).self) { try pair.west.connect("disk@latest") }
  }

  /// The former owner's base holds more than the order.
  @Test func `roles are exchanged while a disk comes`() throws {
    let pair = try pair()
    let size = 256 << 20
    try pair.west.addDisk("new", size: size, role: .recovery)
    try pair.west.reload().checked()
    try pair.east.addDisk("new", size: size, role: .protected)
    try Data(repeating: 7, count: size).write(to: URL(filePath: pair.east.rawFile("new")))
    try pair.east.reload().checked()
    try pair.east.stop()
    try pair.west.stop()
    let role = pair.east.configuration.groups[0].role
    pair.east.configuration.groups[0].role = pair.west.configuration.groups[0].role
    pair.east.configuration.groups[0].peer = (pair.west.name, pair.west.configuration.link)
    pair.west.configuration.groups[0].role = role
    pair.west.configuration.groups[0].peer = (pair.east.name, pair.east.configuration.link)
    try pair.east.start()
    try pair.west.start()
    try eventually("the new owner has all that came") { try !isComing(at: pair.west) }
    try waitUntilWhole(pair.east, "new")
    let (owner, follower) = (try pair.west.connect("new"), try pair.east.connect("new@latest"))
    let bytes = try stride(from: 0, to: size, by: 1 << 20).map { offset in
      try (
        owner.read(at: UInt64(offset), count: 1)[0], follower.read(at: UInt64(offset), count: 1)[0]
      )
    }
    #expect(bytes.allSatisfy { $0.0 == $0.1 })
    try #require(bytes.contains { $0.0 == 0 }, "all had come before the roles were exchanged")
  }

  private func isComing(at site: Site) throws -> Bool {
    try conditions(site).contains("disk-coming")
  }

  @Test func `what cannot be is refused, and changes nothing`() throws {
    let single = try SingleSite(history: "1h")
    let site = single.site
    // A disk keeps its name.
    site.configuration.groups[0].disks[0].name = "other"
    var finished = try site.reload()
    #expect(finished.status != 0 && finished.stderr.contains("a disk keeps its name"))
    site.configuration.groups[0].disks[0].name = "disk"
    site.addDisk("gone", size: 4096, backing: "file:/nowhere/at/all", role: .protected)
    finished = try site.reload()
    #expect(finished.status != 0 && finished.stderr.contains("nothing was changed"))
    site.configuration.groups[0].disks.removeLast()
    let json = try JSON(try site.reload().checked().stdout)
    #expect(json["applied"]?.elements.count == 0 && json["needs_restart"]?.elements.count == 0)
    #expect(try site.connect("disk").size == 8 << 20)
  }

  /// They are not in the state file yet, and it must have the place when they come.
  @Test func `disks that wait keep their place from those of a later reload`() throws {
    let pair = try pair()
    let west = pair.west
    var folder = west.scratch.file("deep")
    while folder.utf8.count < 3700 { folder += "/" + String(repeating: "p", count: 200) }
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    func configure(_ numbers: Range<Int>) throws {
      for number in numbers {
        let path = "\(folder)/\(number)"
        try Data(count: 4096).write(to: URL(filePath: path))
        west.addDisk("n\(number)", size: 4096, backing: "file:\(path)", role: .recovery)
      }
    }
    try configure(0..<40)
    try west.reload().checked()
    try configure(40..<80)
    let finished = try west.reload()
    #expect(finished.status != 0 && finished.stderr.contains("paths are too long"), "\(finished)")
    west.configuration.groups[0].disks.removeLast(40)
    try west.crash()
    try west.start()
    for number in 0..<40 { try pair.east.addDisk("n\(number)", size: 4096, role: .protected) }
    try pair.east.reload().checked()
    for number in 0..<40 { try waitUntilWhole(west, "n\(number)") }
  }

  /// The content of one is there while another is about to take effect.
  @Test func `many disks come and leave at once, while clients write`() throws {
    let single = try SingleSite(history: "1h")
    let site = single.site
    let history = WriteHistory(sectors: (8 << 20) / TaggedSectors.size)
    let load = WriteLoad(site.uri("disk"), history: history)
    // As much as is taken between two ticks: so what is read last waits for one.
    let model = Model(bytes: [UInt8](repeating: 0x5a, count: 1 << 20))
    for round in 1...3 {
      let names = (1...8).map { "round\(round)-\($0)" }
      for name in names { try configure(name, model, at: site, .protected) }
      try load.makeProgress(20)
      try site.reload().checked()
      for name in names { try waitUntilWhole(site, name) }
      site.configuration.groups[0].disks.removeLast(names.count)
      try site.reload().checked()
    }
    try load.makeProgress(20)
    try load.stop()
    #expect(load.failure == nil)
    #expect(try TaplineContract.group("g", in: site.status())["disks"]?.elements.count == 1)
  }

  @Test func `another process goes on with disks that came and left`() throws {
    let single = try SingleSite(history: "1h")
    let site = single.site
    var model = Model(size: Self.size, seed: 14)
    try configure("new", model, at: site, .protected)
    try site.addDisk("brief", size: 4096, role: .protected)
    try site.reload().checked()
    let client = try site.connect("new")
    try model.write(client, count: 10, seed: 15)
    try waitUntilWhole(site, "brief")
    let before = quietInstant()
    site.configuration.groups[0].disks.removeLast()
    try site.reload().checked()
    try site.takeOver()
    try model.write(client, count: 10, seed: 16)
    try waitUntilWhole(site, "new")
    try expectView(site, "new@latest", model)
    _ = try site.connect("brief@\(rfc3339(before))")
  }
}
