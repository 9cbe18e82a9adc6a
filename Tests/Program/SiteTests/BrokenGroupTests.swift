import Foundation
import TestSupport
import Testing

/// Proves that a group that cannot be opened is its own affair: the others serve, it says what is
/// wrong, and it comes once that is mended, without a restart.
@Suite(.scratch) struct BrokenGroupTests {
  /// Two protected groups of one disk each: `g` with `disk`, and `h` with `other`.
  private static func site(_ scratch: ScratchDirectory, other backing: String? = nil) throws -> Site
  {
    let site = try Site("east", in: scratch)
    try site.addDisk("disk", size: 1 << 20, role: .protected)
    if let backing {
      site.addDisk("other", size: 1 << 20, backing: backing, group: "h", role: .protected)
    } else {
      try site.addDisk("other", size: 1 << 20, group: "h", role: .protected)
    }
    return site
  }

  private static func health(_ group: String, _ site: Site) throws -> String {
    try TaplineContract.group(group, in: site.status())["health"]?.string ?? ""
  }

  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// What `status` and a client are told.
    let reason: String
    /// Gets the stopped site; what it returns mends the harm.
    let harm: @Sendable (Site) throws -> () throws -> Void
  }

  static let cases = [
    Case(
      testDescription: "a missing disk", reason: "does not exist: create it",
      harm: { site in
        let raw = site.rawFile("other")
        try FileManager.default.moveItem(atPath: raw, toPath: raw + ".away")
        return { try FileManager.default.moveItem(atPath: raw + ".away", toPath: raw) }
      }),
    Case(
      testDescription: "a damaged journal", reason: "state is damaged",
      harm: { site in
        let state = "\(site.configuration.data)/h/state"
        let whole = try Data(contentsOf: URL(filePath: state))
        let spoiled = Data(whole.map { $0 ^ 0x40 })
        try spoiled.write(to: URL(filePath: state))
        return { try whole.write(to: URL(filePath: state)) }
      }),
    Case(
      testDescription: "a journal that another process has", reason: "in use by another",
      harm: { site in
        let lock = try FileHandle(
          forUpdating: URL(filePath: "\(site.configuration.data)/h/lock"))
        guard flock(lock.fileDescriptor, LOCK_EX | LOCK_NB) == 0 else {
          throw RigError("cannot lock")
        }
        return { try lock.close() }
      }),
  ]

  @Test(arguments: cases)
  func `is closed while the others serve, and is opened when it is mended`(wrong: Case) throws {
    let site = try Self.site(try ScratchDirectory())
    try site.start()
    try site.connect("other").write([5], at: 100, fua: true)
    try site.stop()
    let mend = try wrong.harm(site)
    let folder = "\(site.configuration.data)/h"
    let before = try FolderBytes(folder)
    try site.start()

    try site.connect("disk").write([6], at: 0, fua: true)
    let health = try Self.health("h", site)
    #expect(health.contains(wrong.reason) && health.contains("tried again"), "\(health)")
    #expect(site.log.contains("group h cannot be opened"), "\(site.log)")
    let refusal = #expect(throws: NBDClient.Failure.self) { try site.connect("other") }
    #expect(refusal != nil)
    #expect(site.log.contains("group h is not open"), "\(site.log)")
    let checkpoint = try site.checkpoint("tag", group: "h")
    #expect(checkpoint.status != 0 && checkpoint.stderr.contains(wrong.reason), "\(checkpoint)")
    #expect(try FolderBytes(folder) == before)

    try mend()
    try eventually("the group is open", within: .seconds(60)) {
      try Self.health("h", site) == "ok"
    }
    #expect(try site.connect("other").read(at: 100, count: 1) == [5])
    try site.stop()
  }

  @Test(.requires("nbdkit"))
  func `an upstream that comes late is waited for, though it is the only one`() throws {
    let scratch = try ScratchDirectory()
    let upstream = try Upstream(["memory", "1M"], in: scratch)
    try upstream.stop()
    let site = try Site("east", in: scratch)
    site.addDisk("other", size: 1 << 20, backing: upstream.uri, group: "h", role: .protected)
    try site.start()
    #expect(try Self.health("h", site).contains("no connection"))
    try upstream.start()
    try eventually("the group is open", within: .seconds(60)) {
      try Self.health("h", site) == "ok"
    }
    try site.connect("other").write([1], at: 0, fua: true)
    try site.stop()
  }

  @Test func `a reload tries at once, with what the file says by then`() throws {
    let scratch = try ScratchDirectory()
    let raw = try scratch.sparseFile("east-other.raw", size: 1 << 20)
    let site = try Self.site(scratch, other: "file:/nowhere/other.raw")
    try site.start()
    // The pauses between attempts have grown beyond what the rest of this takes.
    try eventually("some attempts have failed", within: .seconds(60)) {
      let status = try TaplineContract.group("h", in: site.status())
      return status.first("failed_attempts")?.integer ?? 0 >= 4
    }
    site.configuration.groups[1].disks[0].backing = "file:\(raw)"
    let reloaded = try site.reload().checked()
    #expect(reloaded.stdout.contains("tried again at once"), "\(reloaded)")
    try eventually("the group is open", within: .seconds(4)) {
      try Self.health("h", site) == "ok"
    }
    let again = try JSON(try site.reload().checked().stdout)
    #expect(again["needs_restart"]?.elements.isEmpty == true, "\(again)")
    try site.connect("other").write([1], at: 0)
  }

  @Test func `two groups on one file are refused, whichever opens it first`() throws {
    let scratch = try ScratchDirectory()
    let raw = scratch.file("east-disk.raw")
    let site = try Self.site(scratch, other: "file:\(raw).link")
    try FileManager.default.linkItem(atPath: raw, toPath: raw + ".link")
    let daemon = try site.launch()
    #expect(try daemon.wait() == .exited(1))
    #expect(site.log.contains("a backing store has one user"), "\(site.log)")
  }

  @Test func `a hand-over leaves a closed group closed, and the new process opens it`() throws {
    let scratch = try ScratchDirectory()
    let raw = scratch.file("other.raw")
    let site = try Self.site(scratch, other: "file:\(raw)")
    try site.start()
    let client = try site.connect("disk")
    try client.write([1], at: 0)
    try site.takeOver()
    #expect(try client.read(at: 0, count: 1) == [1])
    #expect(try Self.health("h", site).contains("does not exist"))
    _ = try scratch.sparseFile("other.raw", size: 1 << 20)
    try eventually("the group is open", within: .seconds(60)) {
      try Self.health("h", site) == "ok"
    }
    try site.connect("other").write([1], at: 0)
  }

  /// Each link waits two seconds for its peer; one after the other would take sixteen.
  @Test func `groups stop at the same time`() throws {
    let scratch = try ScratchDirectory()
    let (east, west) = (try Site("east", in: scratch), try Site("west", in: scratch))
    for number in 0..<8 {
      try east.addDisk("disk\(number)", size: 1 << 20, group: "g\(number)", role: .protected)
      try west.addDisk("disk\(number)", size: 1 << 20, group: "g\(number)", role: .recovery)
      east.configuration.groups[number].peer = ("west", "tcp:127.0.0.1:\(west.linkPort)")
      west.configuration.groups[number].peer = ("east", east.configuration.link)
    }
    try west.start()
    try east.start()
    for number in 0..<8 {
      try east.connect("disk\(number)").write([1], at: 0)
      try eventually("the peer has it", within: .seconds(60)) {
        try TaplineContract.isDrained(group: "g\(number)", status: east.status())
      }
    }
    west.signal(SIGSTOP)
    defer { west.signal(SIGCONT) }
    for number in 0..<8 { try east.connect("disk\(number)").write([2], at: 0) }
    let start = ContinuousClock.now
    try east.stop(within: .seconds(60))
    #expect(ContinuousClock.now - start < .seconds(10))
  }
}
