import Foundation
import TestSupport
import Testing

/// Proves that a file system without space or without writes costs no acknowledged write: the
/// site says what is wrong, waits where it can, and goes on by itself when there is space again.
@Suite(.scratch, .canMount) struct FullFileSystemTests {
  private func site(_ scratch: ScratchDirectory, data: String? = nil) throws -> Site {
    let site = try Site("east", in: scratch)
    if let data { site.configuration.data = data + "/data" }
    return site
  }

  private func health(_ site: Site) throws -> String {
    try TaplineContract.group("g", in: site.status())["health"]?.string ?? ""
  }

  private func refusal(_ site: Site) throws -> Finished {
    try site.configuration.yaml.write(
      toFile: site.configurationFile, atomically: false, encoding: .utf8)
    return try run(try TaplineBinary.path(), TaplineContract.site(site.configurationFile))
  }

  @Test func `start on a full file system is refused, and starts once there is space`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(tmpfs: "4m", in: scratch)
    try mount.fill()
    let site = try site(scratch, data: mount.path)
    try site.addDisk("disk", size: 1 << 20, role: .protected)
    let refused = try refusal(site)
    #expect(refused.status == 1, "\(refused)")
    #expect(refused.stderr.contains("free or add space"), "\(refused)")
    try mount.free()
    site.configuration.groups[0].segmentSize = "256K"
    try site.start()
    try site.connect("disk").write([1], at: 0)
  }

  /// It may be what takes the space.
  @Test func `a test is stopped on a full file system, and its space comes free`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(tmpfs: "16m", in: scratch)
    let site = try site(scratch, data: mount.path)
    try site.addDisk("disk", size: 8 << 20, role: .protected)
    site.configuration.groups[0].segmentSize = "1M"
    site.configuration.groups[0].journalCapacity = "4M"
    try site.start()
    func test(_ words: String...) throws -> Finished {
      try site.tapline(["test"] + words + ["--control", site.configuration.control])
    }
    try test("start", "g", "--name", "x", "--note", "why").checked()
    try (try site.connect("disk@x")).write([UInt8](repeating: 1, count: 3 << 20), at: 0)
    try mount.fill()
    try test("stop", "x").checked()
    #expect(try test("list").stdout == "no tests\n")
    let folder = site.configuration.data + "/g/branches"
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    let timeline = try site.tapline(
      ["timeline", "g", "--control", site.configuration.control]
    ).checked()
    #expect(timeline.stdout.contains("why"))
  }

  /// The journal has no space for another segment: apply makes room in those that are there, and
  /// every write is taken.
  @Test func `journal that cannot grow makes do with the segments it has`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(tmpfs: "5m", in: scratch)
    let site = try site(scratch, data: mount.path)
    try site.addDisk("disk", size: 8 << 20, role: .protected)
    site.configuration.groups[0].segmentSize = "1M"
    site.configuration.groups[0].history = "1h"
    try site.start()
    let client = try site.connect("disk")
    var history = PlainHistory(size: 8 << 20)
    var generator = SeededGenerator(seed: testSeed(1))
    try history.drive(client, count: 400, maximumLength: 100_000, using: &generator)
    try client.flush()
    try eventually("the log says that the journal cannot grow") {
      site.log.contains("the journal cannot grow") && site.log.contains("free or add space")
    }
    try eventually("health says so") { try health(site).contains("the journal cannot grow") }
    let image = try site.image("disk")
    #expect(difference(image, history.image()) == nil)
    try site.crash()
    try site.start()
    #expect(difference(try site.image("disk"), image) == nil)
  }

  @Test func `journal without any space lets writes wait until there is some`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(tmpfs: "16m", in: scratch)
    let site = try site(scratch, data: mount.path)
    try site.addDisk("disk", size: 1 << 20, role: .protected)
    // A segment is larger than what is there.
    site.configuration.groups[0].segmentSize = "2M"
    site.configuration.groups[0].journalCapacity = "8M"
    let fill = mount.path + "/filler"
    try Data(count: 15 << 20).write(to: URL(fileURLWithPath: fill))
    try site.start()
    let client = try site.connect("disk")
    let write = try client.submitWrite([UInt8](repeating: 7, count: 4096), at: 0)
    try eventually("the write waits") { try health(site).contains("writes wait") }
    #expect(try client.completions(of: [write], within: .zero).isEmpty)
    try mount.free()
    let done = try client.completions(of: [write], within: hangLimit)
    #expect(done.map(\.0) == [write] && done.first?.1 == nil)
    #expect(try client.read(at: 0, count: 4096) == [UInt8](repeating: 7, count: 4096))
    try eventually("health is well again") { try health(site) == "ok" }
  }

  /// The raw file is sparse, and its file system is full when apply comes.
  @Test(arguments: ["block", "throttle"])
  func `apply to a full file system is repeated, and nothing is lost`(policy: String) throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(tmpfs: "12m", in: scratch)
    let site = try site(scratch)
    let raw = try mount.sparseFile("disk.raw", size: 16 << 20)
    try mount.fill()
    site.addDisk("disk", size: 16 << 20, backing: "file:\(raw)", role: .protected)
    site.configuration.groups[0].segmentSize = "256K"
    site.configuration.groups[0].journalCapacity = "2M"
    site.configuration.groups[0].onFull = policy
    try site.start()
    let load = try WaitingWrites(site: site, blocks: 48)
    try load.begin()
    try eventually("apply is stopped") {
      try health(site).contains("apply is stopped") && health(site).contains("no space left")
    }
    #expect(site.log.contains("apply is stopped, and tried again"))
    #expect(try load.waits())
    try mount.free()
    try load.finish()
    let expected = load.image(size: 16 << 20)
    #expect(difference(try site.image("disk"), expected) == nil)
    try eventually("health is well again") { try health(site) == "ok" }
    try site.stop()
    #expect(difference(Array(try Data(contentsOf: URL(fileURLWithPath: raw))), expected) == nil)
  }

  /// Zeros cost the journal a header, and the disk as much space as the guest likes to name.
  @Test(arguments: ["tmpfs", "ext4"])
  func `zeros that are to have space become holes where there is none`(kind: String) throws {
    let scratch = try ScratchDirectory()
    let mount =
      kind == "tmpfs"
      ? try Mount(tmpfs: "8m", in: scratch) : try Mount(ext4: 16 << 20, in: scratch)
    let site = try site(scratch)
    let size = 256 << 20
    let raw = try mount.sparseFile("disk.raw", size: size)
    site.addDisk("disk", size: size, backing: "file:\(raw)", role: .protected)
    try site.start()
    let client = try site.connect("disk")
    try client.write([UInt8](repeating: 3, count: 1 << 20), at: 0)
    try client.zero(at: 4096, count: size - 8192, keepsSpace: true)
    try client.write([9], at: UInt64(size - 1))
    try client.flush()
    try eventually("everything is applied") {
      try site.counter("applied") >= site.counter("stamped")
    }
    #expect(try health(site) == "ok")
    #expect(site.log.contains("became holes, which read the same"), "\(site.log)")
    try site.stop()
    let image = try Data(contentsOf: URL(fileURLWithPath: raw))
    #expect(image[0..<4096].allSatisfy { $0 == 3 } && image[size - 1] == 9)
    #expect(image[4096..<size - 1].allSatisfy { $0 == 0 })
  }

  @Test func `site that stops with a full disk says so and keeps the journal`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(tmpfs: "2m", in: scratch)
    let site = try site(scratch)
    let raw = try mount.sparseFile("disk.raw", size: 4 << 20)
    try mount.fill()
    site.addDisk("disk", size: 4 << 20, backing: "file:\(raw)", role: .protected)
    try site.start()
    try site.connect("disk").write([UInt8](repeating: 5, count: 1 << 20), at: 0)
    try eventually("apply is stopped") { try health(site).contains("apply is stopped") }
    try site.stop()
    #expect(site.log.contains("not applied"), "\(site.log)")
    try mount.free()
    try site.start()
    #expect(try site.connect("disk").read(at: 0, count: 1 << 20).allSatisfy { $0 == 5 })
  }

  // MARK: Read-only

  @Test func `read-only folder is refused at start, and read by the journal tools`() throws {
    let scratch = try ScratchDirectory()
    let (site, mount) = try siteOnItsOwnFileSystem(scratch)
    try site.start()
    try site.connect("disk").write([9], at: 100, fua: true)
    try site.crash()
    try mount.remount("ro")
    let refused = try refusal(site)
    #expect(refused.status == 1, "\(refused)")
    #expect(refused.stderr.contains("make it writable again"), "\(refused)")
    let folder = try TaplineContract.journalDirectory(group: "g", site: site.configuration)
    try site.tapline(TaplineContract.journal("verify", folder)).checked()
    let target = scratch.file("out.raw")
    for rest in [[], ["--salvage"]] {
      try site.tapline(
        ["journal", "export", "--disk", "disk", "--force", "--to", target, folder] + rest
      ).checked()
      #expect(Array(try Data(contentsOf: URL(fileURLWithPath: target)))[100] == 9)
    }
    try mount.remount("rw")
    try site.start()
    #expect(try site.connect("disk").read(at: 100, count: 1) == [9])
  }

  @Test func `read-only disk is refused at start`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(ext4: 16 << 20, in: scratch)
    let site = try site(scratch)
    let raw = mount.path + "/disk.raw"
    try Data(count: 1 << 20).write(to: URL(fileURLWithPath: raw))
    try mount.remount("ro")
    site.addDisk("disk", size: 1 << 20, backing: "file:\(raw)", role: .protected)
    let refused = try refusal(site)
    #expect(refused.status == 1, "\(refused)")
    #expect(refused.stderr.contains(raw) && refused.stderr.contains("writable"), "\(refused)")
  }

  /// With a protected disk outside of the file system that has the journal, which can fail.
  private func siteOnItsOwnFileSystem(
    _ scratch: ScratchDirectory, history: String? = "1h"
  ) throws -> (Site, Mount) {
    let mount = try Mount(ext4: 32 << 20, in: scratch)
    let site = try site(scratch, data: mount.path)
    try site.addDisk("disk", size: 1 << 20, role: .protected)
    site.configuration.groups[0].segmentSize = "256K"
    if let history { site.configuration.groups[0].history = history }
    return (site, mount)
  }

  /// What the kernel does with a file system after an error.
  @Test func `journal that becomes read-only is opened again after its repair`() throws {
    let scratch = try ScratchDirectory()
    let (site, mount) = try siteOnItsOwnFileSystem(scratch)
    try site.start()
    let client = try site.connect("disk")
    try client.write([UInt8](repeating: 3, count: 8192), at: 4096, fua: true)
    try mount.failAsAfterAnError()
    // Taken by the page cache or refused, but never acknowledged as durable.
    #expect(throws: (any Error).self) {
      for _ in 0..<1000 { try client.write([UInt8](repeating: 4, count: 4096), at: 0, fua: true) }
    }
    try eventually("health says so") {
      try health(site).contains("not open") && health(site).contains("tried again")
    }
    #expect(site.log.contains("make it writable again"), "\(site.log)")
    // The site keeps no file of it open, but may just look whether it is whole again.
    try eventually("it can be repaired", within: .seconds(60)) { (try? mount.repair()) != nil }
    try eventually("the group is open", within: .seconds(120)) {
      // A write that the page cache took, and no sync brought to the disk, is counted as lost.
      try health(site).contains("open again")
        || health(site).contains("were lost with the failed journal")
    }
    // Longer than a condition that is over is told.
    Thread.sleep(forTimeInterval: 4)
    let told = try TaplineContract.group("g", in: site.status())["conditions"]?.elements.first {
      $0["code"]?.string == "group-reopened"
    }
    #expect(told?["text"]?.string?.contains("make it writable again") == true, "\(site.log)")
    #expect(try health(site) != "ok")
    let image = try site.image("disk")
    #expect(image[4096..<12288].allSatisfy { $0 == 3 })
    #expect(image[0..<4096].allSatisfy { $0 == 0 } || image[0..<4096].allSatisfy { $0 == 4 })
  }

  @Test func `site stops though its journal fails while it is made durable`() throws {
    let scratch = try ScratchDirectory()
    let (site, mount) = try siteOnItsOwnFileSystem(scratch, history: nil)
    try site.start()
    let client = try site.connect("disk")
    try client.write([1], at: 0, fua: true)
    try client.write([2], at: 0)
    try mount.failAsAfterAnError()
    try site.stop()
    // By the sync of the stop; or before, when something else was written just then.
    #expect(site.log.contains("group g has failed"), "\(site.log)")
  }

  /// A client that was told of writes must not hear that they are durable when they are gone, from
  /// this process or from one that takes its place.
  @Test(arguments: Successor.allCases)
  private func `flush fails once after a failed journal lost what it would cover`(
    successor: Successor
  ) throws {
    // On a busy machine, the sync in the background may come before the failure.
    let hasLost = try (0..<5).contains { _ in try losesWhatAFlushWouldCover(successor) }
    #expect(hasLost)
  }

  /// False when all was durable before the file system failed.
  private func losesWhatAFlushWouldCover(_ successor: Successor) throws -> Bool {
    let scratch = try ScratchDirectory()
    let (site, mount) = try siteOnItsOwnFileSystem(scratch)
    // A site needs a group that is open.
    try site.addDisk("other", size: 1 << 20, group: "other", role: .plain)
    try site.start()
    let client = try site.connect("disk")
    try client.write([1], at: 0, fua: true)
    for block in 1..<16 { try client.write([2], at: UInt64(block) * 4096) }
    try mount.failAsAfterAnError()
    #expect(throws: (any Error).self) { try client.flush() }
    try eventually("it can be repaired", within: .seconds(60)) { (try? mount.repair()) != nil }
    if successor == .whileClosed { try site.takeOver() }
    try eventually("the group is open", within: .seconds(120)) {
      try health(site).contains("open again")
        || health(site).contains("were lost with the failed journal")
    }
    guard try health(site).contains("were lost with the failed journal") else { return false }
    if successor == .whenOpenAgain { try site.takeOver() }
    let next = try site.connect("disk")
    #expect(throws: (any Error).self) { try next.flush() }
    try next.write([3], at: 0, fua: true)
    try next.flush()
    let other = try site.connect("disk")
    try other.flush()
    return true
  }

  /// When another process takes the site's place: mostly before the group is open again, and after.
  private enum Successor: CaseIterable { case none, whileClosed, whenOpenAgain }

  @Test func `disk that becomes read-only stops apply, not the guest`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(ext4: 32 << 20, in: scratch)
    let site = try site(scratch)
    let raw = mount.path + "/disk.raw"
    try Data(count: 4 << 20).write(to: URL(fileURLWithPath: raw))
    site.addDisk("disk", size: 4 << 20, backing: "file:\(raw)", role: .protected)
    try site.start()
    try mount.failAsAfterAnError()
    let client = try site.connect("disk")
    for block in 0..<32 {
      let bytes = [UInt8](repeating: UInt8(block + 1), count: 65536)
      try client.write(bytes, at: UInt64(block * 65536), fua: true)
    }
    try eventually("apply is stopped") { try health(site).contains("apply is stopped") }
    try site.crash()
    try mount.repair()
    try site.start()
    let image = try site.image("disk")
    for block in 0..<32 { #expect(image[block * 65536] == UInt8(block + 1)) }
  }
}

/// Writes that may have to wait, each to its own block of 128 KiB.
private final class WaitingWrites {
  let client: NBDClient
  private let blocks: Int
  private var open: Set<NBDClient.Request> = []
  private static let length = 128 << 10

  init(site: Site, blocks: Int) throws {
    client = try site.connect("disk")
    self.blocks = blocks
  }

  func begin() throws {
    for block in 0..<blocks {
      open.insert(try client.submitWrite(bytes(block), at: UInt64(block * Self.length)))
    }
  }

  /// Whether some writes are still not acknowledged. Takes no failure for an answer.
  func waits() throws -> Bool {
    for (request, failure) in try client.completions(of: open, within: .milliseconds(200)) {
      if let failure { throw failure }
      open.remove(request)
    }
    return !open.isEmpty
  }

  func finish() throws {
    try eventually("all writes are taken") { try !waits() }
    try client.flush()
  }

  func image(size: Int) -> [UInt8] {
    let written = (0..<blocks).flatMap(bytes)
    return written + [UInt8](repeating: 0, count: size - written.count)
  }

  private func bytes(_ block: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(block % 255 + 1), count: Self.length)
  }
}
