import Foundation
import TestSupport
import Testing

/// Proves that either site of a group may grow first: nothing is lost or taken that has no place,
/// both sites say what is missing, and all goes on once the other has grown. The same with copies
/// of whole disks, and with kills in between.
@Suite(.scratch) struct GrowingLinkTests {
  private static let old = 8 << 20
  private static let new = 16 << 20
  private static let sectors = old / TaggedSectors.size

  private func health(_ site: Site) throws -> String {
    try TaplineContract.group("g", in: site.status())["health"]?.string ?? ""
  }

  private func linkState(_ site: Site) throws -> String {
    try TaplineContract.group("g", in: site.status())["link"]?["state"]?.string ?? ""
  }

  private func expectSame(_ pair: SitePair) throws {
    try pair.drain()
    let (east, west) = (try pair.east.image("disk"), try pair.west.image("disk@latest"))
    #expect(difference(west, east) == nil)
  }

  @Test func `the recovery site first: the link does not break`() throws {
    let pair = try SitePair(disks: ["disk": Self.old])
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(pair.east.uri("disk"), history: history)
    try load.makeProgress(100)
    try pair.west.grow(to: Self.new)
    try load.makeProgress(100)
    try eventually("east is well") { try health(pair.east) == "ok" }
    try eventually("west is well") { try health(pair.west) == "ok" }
    #expect(try pair.west.connect("disk@latest").size == Self.new)
    try pair.east.grow(to: Self.new)
    try eventually("east is well") { try health(pair.east) == "ok" }
    try pair.east.connect("disk").write([9], at: UInt64(Self.new) - 1)
    try load.makeProgress(100)
    try load.stop()
    #expect(load.failure == nil)
    try expectSame(pair)
    #expect(try pair.east.counter("reconnects") == 0)
    let view = try pair.west.image("disk@latest")
    #expect(history.violations(in: Array(view[..<Self.old])) == [])
    #expect(view[Self.new - 1] == 9)
  }

  @Test func `the protected site first: records flow until one has no place`() throws {
    let pair = try SitePair(disks: ["disk": Self.old])
    let history = WriteHistory(sectors: Self.sectors)
    let load = WriteLoad(pair.east.uri("disk"), history: history)
    try load.makeProgress(100)
    pair.east.setSize(Self.new)
    let reload = try JSON(try pair.east.reload().checked().stdout)
    // What is to be done is said at once, and by both.
    let warning = "disk disk has 8M at west and 16M here"
    #expect(reload["notes"]?.elements.first?.string?.contains(warning) == true)
    #expect(try health(pair.east).contains(warning))
    try eventually("west knows") {
      try health(pair.west).contains("disk disk has 8M here and 16M at east")
    }
    let received = try pair.east.counter("peer_received")
    try load.makeProgress(200)
    try eventually("records go on") { try pair.east.counter("peer_received") > received }
    #expect(try linkState(pair.east) == "connected")

    let grown = try pair.east.connect("disk")
    try grown.write([7], at: UInt64(Self.old) + 5, fua: true)
    try eventually("the link is refused") { try linkState(pair.east) == "refused" }
    let text = "byte \(Self.old + 6) of disk disk, which has 8M at west: make it larger at west"
    #expect(try health(pair.east).contains(text))
    try eventually("west says so, too") { try health(pair.west).contains(text) }
    // Writes go on, and wait here.
    try load.makeProgress(200)
    #expect(try pair.east.counter("lag_records") > 0)
    #expect(history.cutViolations(in: try pair.west.image("disk@latest")) == [])

    try pair.west.grow(to: Self.new)
    try load.makeProgress(100)
    try load.stop()
    #expect(load.failure == nil)
    try expectSame(pair)
    try eventually("east is well") { try health(pair.east) == "ok" }
    try eventually("west is well") { try health(pair.west) == "ok" }
    // It went on where it had stopped: no copy was made.
    #expect(pair.west.log.components(separatedBy: "a full copy from east begins").count == 2)
    let view = try pair.west.image("disk@latest")
    #expect(history.violations(in: Array(view[..<Self.old])) == [])
    #expect(view[Self.old + 5] == 7)
  }

  /// The recovery site has stopped before a record; whatever is killed, it is still so.
  @Test(arguments: [[0], [1], [0, 1]])
  func `kills while a record has no place`(killed: [Int]) throws {
    let pair = try SitePair(disks: ["disk": Self.old])
    try pair.east.grow(to: Self.new)
    let client = try pair.east.connect("disk")
    try client.write([1], at: 0)
    try client.write([7], at: UInt64(Self.new) - 1, fua: true)
    try client.write([2], at: 1, fua: true)
    try eventually("the link is refused") { try linkState(pair.east) == "refused" }
    let sites = killed.map { [pair.east, pair.west][$0] }
    for site in sites { try site.crash() }
    for site in sites { try site.start() }
    try eventually("the link is refused again") { try linkState(pair.east) == "refused" }
    #expect(try pair.west.connect("disk@latest").read(at: 0, count: 2) == [1, 0])
    try pair.west.grow(to: Self.new)
    try expectSame(pair)
    #expect(try pair.west.connect("disk@latest").read(at: 0, count: 2) == [1, 2])
    #expect(try pair.west.connect("disk@latest").read(at: UInt64(Self.new) - 1, count: 1) == [7])
  }

  /// As by a power cut: the record was sent before it was durable, and is gone.
  @Test func `a record without a place that its own site has lost is in nobody's way`() throws {
    let pair = try SitePair(disks: ["disk": Self.old]) { east, _ in
      east.configuration.groups[0].history = "1h"
      // One that comes behind the copy of the segment would be durable, and rightly missed.
      east.configuration.groups[0].checkpointEvery = "0s"
    }
    try pair.east.grow(to: Self.new)
    let client = try pair.east.connect("disk")
    try client.write([1], at: 0, fua: true)
    let folder = try TaplineContract.journalDirectory(group: "g", site: pair.east.configuration)
    let (segment, before) = ("\(folder)/segment-00000", pair.scratch.file("segment"))
    try FileManager.default.copyItem(atPath: segment, toPath: before)
    try client.write([7], at: UInt64(Self.new) - 1)
    try eventually("the link is refused") { try linkState(pair.east) == "refused" }
    try pair.east.crash()
    try FileManager.default.removeItem(atPath: segment)
    try FileManager.default.copyItem(atPath: before, toPath: segment)
    try pair.east.start()
    try pair.east.connect("disk").write([2], at: 1)
    try pair.drain()
    #expect(try pair.west.connect("disk@latest").read(at: 0, count: 2) == [1, 2])
  }

  @Test func `a growth that is not enough is not enough`() throws {
    let pair = try SitePair(disks: ["disk": Self.old])
    try pair.east.grow(to: Self.new)
    try pair.east.connect("disk").write([7], at: UInt64(Self.new) - 1, fua: true)
    try eventually("the link is refused") { try linkState(pair.east) == "refused" }
    try pair.west.grow(to: Self.new - 4096)
    try eventually("west still says so") { try health(pair.west).contains("make it larger") }
    try pair.west.grow(to: Self.new + 4096)
    try pair.drain()
    let view = try pair.west.connect("disk@latest")
    #expect(view.size == Self.new + 4096)
    #expect(try view.read(at: UInt64(Self.new) - 1, count: 2) == [7, 0])
  }

  @Test func `a journal that fills up meanwhile ends in a copy, once there is a place for it`()
    throws
  {
    let pair = try SitePair(disks: ["disk": Self.old]) { east, _ in
      east.configuration.groups[0].journalCapacity = "16M"
      east.configuration.groups[0].onFull = "degrade"
    }
    try pair.east.connect("disk").write([3], at: 100)
    try pair.drain()
    try pair.east.grow(to: Self.new)
    let client = try pair.east.connect("disk")
    try client.write([7], at: UInt64(Self.new) - 1, fua: true)
    let block = [UInt8](repeating: 5, count: 1 << 20)
    try eventually("the journal gave up the peer's records") {
      for index in 0..<4 { try client.write(block, at: UInt64(index + 1) << 20) }
      return pair.east.log.contains("they are dropped")
    }
    try eventually("the link is refused again") {
      try health(pair.east).contains("make it larger at west")
    }
    // Its history stays as long as there is no place for a copy.
    try pair.west.crash()
    try pair.west.start()
    try eventually("the copy is refused") {
      try health(pair.east).contains("a full copy needs 16M for disk disk, which has 8M at west")
    }
    #expect(try pair.west.connect("disk@latest").read(at: 100, count: 1) == [3])
    try pair.west.grow(to: Self.new)
    try expectSame(pair)
  }

  // MARK: Copies

  @Test func `a disk that is too small gets no copy, and gets one when it has grown`() throws {
    let pair = try SitePair(disks: ["disk": Self.old], start: false) { east, _ in
      #expect(unsafe truncate(east.rawFile("disk"), Self.new) == 0)
      east.setSize(Self.new)
    }
    try pair.west.start()
    try pair.east.start()
    try pair.east.connect("disk").write([7], at: UInt64(Self.new) - 1)
    try eventually("the link is refused") { try linkState(pair.east) == "refused" }
    #expect(try health(pair.east).contains("a full copy needs 16M"))
    try pair.west.grow(to: Self.new)
    try expectSame(pair)
  }

  @Test func `what a larger target had behind the end is zeros after the copy`() throws {
    let pair = try SitePair(disks: ["disk": Self.old], start: false) { _, west in
      _ = try west.scratch.write(repeatElement(0xAA, count: Self.new), to: "west-disk.raw")
      west.setSize(Self.new)
    }
    try pair.start()
    try pair.east.connect("disk").write([1], at: 0)
    try pair.drain()
    let view = try pair.west.image("disk@latest")
    var expected = [UInt8](repeating: 0, count: Self.new)
    expected[0] = 1
    #expect(difference(view, expected) == nil)
    // So the disk there is right when the protected one grows.
    try pair.east.grow(to: Self.new)
    try expectSame(pair)
  }

  /// Of one site, while the other is held still in the middle of the copy.
  @Test(.requires("dd", "nbdcopy", "cmp"), arguments: [0, 1])
  func `a growth during a copy`(index: Int) throws {
    let (old, new) = (64 << 20, 65 << 20)
    let pair = try SitePair(disks: ["disk": old], start: false) { east, _ in
      try run(
        "dd", ["if=/dev/urandom", "of=\(east.rawFile("disk"))", "bs=1M", "count=\(old >> 20)"]
      ).checked()
    }
    let sites = [pair.east, pair.west]
    for site in [pair.west, pair.east] { try site.start() }
    try eventually("the copy is under way") { pair.cable.forwardedBytes > 1 << 20 }
    sites[1 - index].signal(SIGSTOP)
    defer { sites[1 - index].signal(SIGCONT) }
    #expect(pair.cable.forwardedBytes < 48 << 20)
    try sites[index].grow(to: new)
    if index == 0 {
      // It may come before the copy of what is in front of it, and has no place yet.
      try pair.east.connect("disk").write([7], at: UInt64(new) - 1)
    }
    sites[1 - index].signal(SIGCONT)
    if index == 0 {
      try eventually("a copy is refused") { try health(pair.east).contains("a full copy needs") }
    } else {
      try pair.drain()
      #expect(try pair.east.counter("reconnects") == 0)
    }
    try sites[1 - index].grow(to: new)
    try pair.east.connect("disk").write([8], at: UInt64(new) - 2)
    try pair.drain()
    let copies = try [(pair.east, "disk"), (pair.west, "disk@latest")].map { site, export in
      let copy = site.scratch.file("\(site.name)-copy.raw")
      try run("nbdcopy", [site.uri(export), copy]).checked()
      return copy
    }
    try run("cmp", copies).checked()
  }

  // MARK: Kills

  /// At any point of a growth: the next start, with the new configuration, goes on from there.
  @Test(arguments: [0, 1]) func `kills around a growth`(index: Int) throws {
    let pair = try SitePair(disks: ["disk": Self.old])
    let history = WriteHistory(sectors: Self.sectors)
    var generator = SeededGenerator(seed: testSeed(7))
    let site = [pair.east, pair.west][index]
    var size = Self.old
    for round in 0..<testRounds(6) {
      var shape = WriteLoad.Shape()
      shape.seed = testSeed(8) &+ UInt64(round)
      let load = WriteLoad(pair.east.uri("disk"), history: history, shape: shape)
      try load.makeProgress(Int.random(in: 1...200, using: &generator))
      size += 64 << 10
      site.setSize(size)
      try site.writeConfiguration()
      site.signal(SIGHUP)
      // From before anything is read to after all is done, which takes some milliseconds.
      usleep(UInt32.random(in: 0...6000, using: &generator))
      try site.crash()
      if index == 1 { try load.makeProgress(50) }
      try load.stop()
      try site.start()
      if index == 0 {
        let image = try pair.east.image("disk")
        #expect(image.count == size)
        #expect(history.violations(in: Array(image[..<Self.old])) == [], "round \(round)")
        history.settle(with: Array(image[..<Self.old]))
        try pair.west.grow(to: size)
        try pair.east.connect("disk").write([UInt8(round)], at: UInt64(size) - 1)
      } else {
        #expect(try pair.west.connect("disk@latest").size == size)
      }
    }
    if index == 1 { try pair.east.grow(to: size) }
    try expectSame(pair)
  }
}
