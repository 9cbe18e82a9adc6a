import Foundation
import TestSupport
import Testing

/// Proves that a guest boots from a test at the recovery site, writes there, loses its power and
/// boots again, and that nothing of that is seen anywhere else.
@Suite(.scratch, .requires("qemu-system-x86_64", "nbdcopy", "mke2fs", "e2fsck", "debugfs"))
struct GuestTestFailoverTests {
  private static let size = 64 << 20

  @Test func `a guest works in a test, twice, while the other one goes on`() throws {
    let kernel = try GuestKernel.prepare()
    let pair = try SitePair.withGuestDisk(size: Self.size, kernel)
    let guest = try Guest(
      kernel: kernel, socket: pair.east.socket, export: "root", logs: pair.scratch)
    let step = try guest.step(1)
    try guest.storm(rounds: 1)
    try pair.drain()
    try command(pair.west, "start", "g", "--name", "drill", "--at", rfc3339(step.instant))

    let logs = try ScratchDirectory()
    let tried = try Guest(
      kernel: kernel, socket: pair.west.socket, export: "root@drill", logs: logs)
    let own = try tried.step(1)
    try tried.powerCut()
    let copy = pair.scratch.file("drill.img")
    try run("nbdcopy", [pair.west.uri("root@drill"), copy]).checked()
    try GuestDisk.checkFileSystem(copy)
    #expect(try GuestDisk.sums(of: copy, scratch: pair.scratch) == own.sums)

    let again = try Guest(
      kernel: kernel, socket: pair.west.socket, export: "root@drill", logs: logs)
    _ = try again.step(1)
    try again.powerCut()
    try guest.powerCut()
    try pair.drain()

    let before = pair.scratch.file("before.img")
    try run("nbdcopy", [pair.west.uri("root@\(rfc3339(step.instant))"), before]).checked()
    #expect(try GuestDisk.sums(of: before, scratch: pair.scratch) == step.sums)
    try command(pair.west, "stop", "drill")
    let latest = pair.scratch.file("latest.img")
    try run("nbdcopy", [pair.west.uri("root@latest"), latest]).checked()
    let current = pair.scratch.file("current.img")
    try run("nbdcopy", [pair.east.uri("root"), current]).checked()
    try run("cmp", [latest, current]).checked()
  }

  private func command(_ site: Site, _ words: String...) throws {
    try site.tapline(["test"] + words + ["--control", site.configuration.control]).checked()
  }
}
