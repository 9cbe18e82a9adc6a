import Foundation
import TestSupport
import Testing

/// Proves that a machine goes on at the recovery site, on the group's disks under their own names,
/// and that it can go home: real guests find all their files, and nothing is copied.
@Suite(.scratch, .requires("qemu-system-x86_64", "nbdcopy", "mke2fs", "e2fsck", "debugfs"))
struct GuestFailoverTests {
  private static let size = 64 << 20

  @Test func `a guest works at the other site, and at home again`() throws {
    let kernel = try GuestKernel.prepare()
    let pair = try SitePair.withGuestDisk(size: Self.size, kernel)
    let (east, west) = (pair.east, pair.west)
    func boot(_ site: Site) throws -> Guest {
      try Guest(kernel: kernel, socket: site.socket, export: "root", logs: pair.scratch)
    }

    var guest = try boot(east)
    let arrived = try guest.step(1)
    try pair.drain()
    // Acknowledged, and never received.
    pair.separate()
    let own = try guest.step(2)
    try east.crash()
    try guest.powerCut()

    try command(west, "failover")
    guest = try boot(west)
    #expect(try sums(guest) == arrived.sums)
    try write("pending", guest)
    try command(west, "commit")
    try write("committed", guest)

    // It follows by itself, with a guest at work at the other site.
    try east.start()
    pair.rejoin()
    try write("again", guest)
    try eventually("east parks what west never got") { try parkedName(east) != nil }
    try eventually("east follows") { (try? east.connect("root@latest")) != nil }
    #expect(!east.allLogs.contains("a full copy from west"))
    let parked = try #require(try parkedName(east))
    let kept = try fetch(east, "root@\(parked)@latest")
    try GuestDisk.checkFileSystem(kept)
    #expect(try GuestDisk.sums(of: kept, scratch: pair.scratch) == own.sums)
    let written = try sums(guest)
    #expect(["pending", "committed", "again"].allSatisfy { written[$0] != nil })
    try guest.powerCut()
    try eventually("east has everything") {
      try TaplineContract.isDrained(group: "g", status: west.status())
    }

    try command(east, "failover", "--commit", "now")
    guest = try boot(east)
    #expect(try sums(guest) == written)
    try write("home", guest)
    try guest.powerCut()
    try eventually("west follows") { (try? west.connect("root@latest")) != nil }
    try pair.drain()
    let current = try fetch(east, "root")
    try run("cmp", [try fetch(west, "root@latest"), current]).checked()
    try GuestDisk.checkFileSystem(current)
    // The one with which it began.
    let copies = west.allLogs.components(separatedBy: "a full copy from east begins").count - 1
    #expect(copies == 1)
  }

  private func command(_ site: Site, _ verb: String, _ words: String...) throws {
    try site.tapline([verb, "g"] + words + ["--control", site.configuration.control]).checked()
  }

  private func parkedName(_ site: Site) throws -> String? {
    let words = ["test", "list", "--json", "--control", site.configuration.control]
    let list = try JSON(try site.tapline(words).checked().stdout)
    return list.elements.first { $0["kind"]?.string == "parked" }?["name"]?.string
  }

  /// Of the guest's files, as it reads them.
  private func sums(_ guest: Guest) throws -> [String: String] {
    let lines = try guest.run("find . -type f | sed 's,^./,,' | xargs sha256sum")
    return lines.split(separator: "\n").reduce(into: [:]) { sums, line in
      let words = line.split(separator: " ")
      if words.count == 2 { sums[String(words[1])] = String(words[0]) }
    }
  }

  private func write(_ file: String, _ guest: Guest) throws {
    try guest.run("dd if=/dev/urandom of=\(file) bs=1024 count=300 2>/dev/null && sync")
  }

  private func fetch(_ site: Site, _ export: String) throws -> String {
    let copy = site.scratch.file("\(site.name)-\(export.filter { $0.isLetter || $0.isNumber }).img")
    try run("nbdcopy", [site.uri(export), copy]).checked()
    return copy
  }
}
