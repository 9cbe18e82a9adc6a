import Foundation
import TestSupport
import Testing

/// Proves that a view that a client holds open is the disk as it was while a small journal is
/// written many times over; that it ends with a message when its scratch space does; and that the
/// guest's writes go on in any case.
@Suite(.scratch) struct FullJournalViewTests {
  private static let size = 6 << 20
  /// Of the journal; four segments.
  private static let capacity = 4 << 20

  private func site(
    disks: [String] = ["disk"], history: String = "0s", viewScratch: String? = "32M"
  ) throws -> (ScratchDirectory, Site) {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    for disk in disks { try site.addDisk(disk, size: Self.size, role: .protected) }
    Self.shrink(&site.configuration.groups[0], viewScratch: viewScratch)
    site.configuration.groups[0].history = history
    try site.start()
    return (scratch, site)
  }

  private static func shrink(_ group: inout SiteConfiguration.Group, viewScratch: String?) {
    group.journalCapacity = "\(capacity)"
    group.segmentSize = "1M"
    group.viewScratch = viewScratch
  }

  /// Writes so much that the journal is used `times` times over.
  private func overrun(
    _ client: NBDClient, _ history: inout PlainHistory, times: Int = 5,
    using generator: inout SeededGenerator, each: () throws -> Void = {}
  ) throws {
    for _ in 0..<times {
      for _ in 0..<Self.capacity / 200_000 {
        let bytes = generator.bytes(200_000)
        let offset = Int.random(in: 0...Self.size - bytes.count, using: &generator)
        try client.write(bytes, at: UInt64(offset))
        history.append(.write(bytes), at: offset)
      }
      try history.drive(client, count: 10, maximumLength: 60_000, using: &generator)
      try each()
    }
  }

  @Test func `views of several disks and instants outlive a journal that is overrun`() throws {
    let (_, site) = try site(disks: ["a", "b"])
    var generator = SeededGenerator(seed: testSeed(1))
    let names = ["a", "b"]
    let clients = try names.map { try site.connect($0) }
    var histories = names.map { _ in PlainHistory(size: Self.size) }
    var views: [(client: NBDClient, expected: [UInt8])] = []
    for _ in 0..<2 {
      for index in names.indices {
        try histories[index].drive(
          clients[index], count: 30, maximumLength: 60_000, using: &generator)
        views.append((try site.connect("\(names[index])@latest"), histories[index].image()))
      }
    }
    for index in names.indices {
      try overrun(clients[index], &histories[index], using: &generator) {
        for view in views {
          let seen = try view.client.read(at: 0, count: Self.size)
          try #require(difference(seen, view.expected) == nil)
        }
      }
    }
    #expect(try site.counter("open_views") == views.count)
    #expect(try site.counter("view_scratch_bytes") > 0)
    #expect(site.log.contains("now keeps what apply overwrites, up to 32M"))
    // A clean stop with views open leaves the current disks in the raw files.
    try site.stop()
    for index in names.indices {
      let file = try Data(contentsOf: URL(fileURLWithPath: site.rawFile(names[index])))
      #expect(difference([UInt8](file), histories[index].image()) == nil)
    }
  }

  @Test func `views give way before the peer loses its records`() throws {
    let pair = try SitePair(disks: ["disk": Self.size]) { east, west in
      Self.shrink(&east.configuration.groups[0], viewScratch: "32M")
      west.configuration.groups[0].segmentSize = "1M"
      east.configuration.groups[0].onFull = "degrade"
    }
    var generator = SeededGenerator(seed: testSeed(5))
    var history = PlainHistory(size: Self.size)
    let client = try pair.east.connect("disk")
    try history.drive(client, count: 30, maximumLength: 60_000, using: &generator)
    try pair.drain()
    let view = try pair.east.connect("disk@latest")
    let expected = history.image()
    pair.cable.cut()
    try overrun(client, &history, using: &generator)
    let log = pair.east.log
    let gaveWay = try #require(log.range(of: "now keeps what apply overwrites"))
    let dropped = try #require(log.range(of: "they are dropped"))
    #expect(gaveWay.lowerBound < dropped.lowerBound)
    #expect(difference(try view.read(at: 0, count: Self.size), expected) == nil)
  }

  @Test func `a view of the recovery site outlives a journal that is overrun there`() throws {
    let pair = try SitePair(disks: ["disk": Self.size]) { east, west in
      east.configuration.groups[0].segmentSize = "1M"
      Self.shrink(&west.configuration.groups[0], viewScratch: "32M")
    }
    var generator = SeededGenerator(seed: testSeed(2))
    var history = PlainHistory(size: Self.size)
    let client = try pair.east.connect("disk")
    try history.drive(client, count: 30, maximumLength: 60_000, using: &generator)
    try pair.drain()
    let view = try pair.west.connect("disk@latest")
    let expected = history.image()
    try overrun(client, &history, using: &generator) {
      try #require(difference(try view.read(at: 0, count: Self.size), expected) == nil)
    }
    try pair.drain()
    #expect(difference(try view.read(at: 0, count: Self.size), expected) == nil)
    #expect(try pair.west.counter("view_scratch_bytes") > 0)
    #expect(difference(try pair.west.image("disk@latest"), history.image()) == nil)
  }

  @Test(arguments: ["1M", "0"])
  func `a view ends with a message when its scratch space does, and the guest goes on`(
    viewScratch: String
  ) throws {
    let (_, site) = try site(viewScratch: viewScratch)
    var generator = SeededGenerator(seed: testSeed(3))
    var history = PlainHistory(size: Self.size)
    let client = try site.connect("disk")
    try history.drive(client, count: 30, maximumLength: 60_000, using: &generator)
    let view = try site.connect("disk@latest")
    let expected = history.image()
    var readsThatFailed = 0
    try overrun(client, &history, using: &generator) {
      do {
        let seen = try view.read(at: 0, count: Self.size)
        try #require(difference(seen, expected) == nil)
      } catch is NBDClient.Failure { readsThatFailed += 1 }
    }
    #expect(readsThatFailed > 0)
    try eventually("the view is closed") { try site.counter("open_views") == 0 }
    try eventually("its scratch space is free") {
      try site.counter("view_scratch_bytes") == 0
    }
    #expect(site.log.contains("is closed: the journal is full and cannot keep that instant"))
    #expect(difference(try site.image("disk"), history.image()) == nil)
  }

  @Test func `connections to one instant share what is saved`() throws {
    let (_, site) = try site(history: "1h")
    var generator = SeededGenerator(seed: testSeed(5))
    var history = PlainHistory(size: Self.size)
    let client = try site.connect("disk")
    // Zeros would not need to be saved.
    for offset in stride(from: 0, to: Self.size, by: 1 << 19) {
      let bytes = generator.bytes(1 << 19)
      try client.write(bytes, at: UInt64(offset))
      history.append(.write(bytes), at: offset)
    }
    let instant = rfc3339(quietInstant())
    let expected = history.image()
    let views = try (0..<3).map { _ in try site.connect("disk@\(instant)") }
    try overrun(client, &history, using: &generator)
    for view in views {
      #expect(difference(try view.read(at: 0, count: Self.size), expected) == nil)
    }
    // Most of the disk was overwritten; each on its own would have saved it.
    let saved = try site.counter("view_scratch_bytes")
    #expect(saved > Self.size / 2 && saved < Self.size + Self.size / 4, "\(saved) bytes")
  }

  @Test func `a view that is closed gives its scratch space back`() throws {
    let (_, site) = try site()
    var generator = SeededGenerator(seed: testSeed(4))
    var history = PlainHistory(size: Self.size)
    let client = try site.connect("disk")
    try history.drive(client, count: 30, maximumLength: 60_000, using: &generator)
    do {
      let view = try site.connect("disk@latest")
      try overrun(client, &history, using: &generator)
      #expect(try site.counter("view_scratch_bytes") > 0)
      _ = try view.read(at: 0, count: 1)
    }
    try eventually("its scratch space is free") {
      try site.counter("view_scratch_bytes") == 0
    }
    // And there are no files left of it.
    let names = try FileManager.default.contentsOfDirectory(atPath: "\(site.configuration.data)/g")
    #expect(names.allSatisfy { !$0.contains("scratch") }, "\(names)")
  }
}
