import Foundation
import TestSupport
import Testing

/// Proves the purpose of it all: a real guest boots from a protected disk, writes and loses its
/// power, and the recovery site gives back its disk as it was at a chosen instant.
@Suite(.scratch, .requires("qemu-system-x86_64", "nbdcopy", "mke2fs", "e2fsck", "debugfs"))
struct GuestRecoveryTests {
  private static let size = 64 << 20

  @Test func `the disk of each step comes back from the recovery site`() throws {
    let kernel = try GuestKernel.prepare()
    let pair = try SitePair.withGuestDisk(size: Self.size, kernel)

    let guest = try Guest(
      kernel: kernel, socket: pair.east.socket, export: "root", logs: pair.scratch)
    var steps: [Guest.Step] = []
    for number in 1...3 { steps.append(try guest.step(number)) }
    try guest.storm(rounds: 3)
    try guest.powerCut()
    try pair.drain()

    for step in steps {
      let copy = try fetch(pair.west, "root@\(rfc3339(step.instant))")
      try GuestDisk.checkFileSystem(copy)
      #expect(try GuestDisk.sums(of: copy, scratch: pair.scratch) == step.sums)
    }
    let latest = try fetch(pair.west, "root@latest")
    let current = try fetch(pair.east, "root")
    try run("cmp", [latest, current]).checked()
    try GuestDisk.checkFileSystem(latest)
    #expect(try GuestDisk.sums(of: latest, scratch: pair.scratch) != steps[2].sums)
  }

  @Test func `a guest does not notice that the recovery site is killed`() throws {
    let kernel = try GuestKernel.prepare()
    let pair = try SitePair.withGuestDisk(size: Self.size, kernel)
    let guest = try Guest(
      kernel: kernel, socket: pair.east.socket, export: "root", logs: pair.scratch)
    _ = try guest.step(1)
    try pair.west.crash()
    let step = try guest.step(2)
    try pair.west.start()
    _ = try guest.step(3)
    try guest.powerCut()
    try pair.drain()
    let copy = try fetch(pair.west, "root@\(rfc3339(step.instant))")
    try GuestDisk.checkFileSystem(copy)
    #expect(try GuestDisk.sums(of: copy, scratch: pair.scratch) == step.sums)
  }

  private func fetch(_ site: Site, _ export: String) throws -> String {
    let copy = site.scratch.file("\(site.name)-\(export.filter { $0.isLetter || $0.isNumber }).img")
    try run("nbdcopy", [site.uri(export), copy]).checked()
    return copy
  }
}
