import Foundation
import TestSupport
import Testing

/// Proves that the disk of a running guest grows: the guest does not notice that the sites have
/// grown it, uses the new size once its qemu has connected anew, and can be recovered before,
/// between and after.
@Suite(.scratch, .requires("qemu-system-x86_64", "nbdcopy", "mke2fs", "e2fsck", "debugfs"))
struct GuestGrowingTests {
  private static let old = 64 << 20
  private static let new = 96 << 20

  /// By a new connection of its qemu, made by the administrator; or by the one that qemu makes when
  /// the site is started again.
  @Test(arguments: [false, true])
  func `a guest gets a larger disk while it runs`(restartsSite: Bool) throws {
    let kernel = try GuestKernel.prepare()
    let pair = try SitePair.withGuestDisk(size: Self.old, kernel)
    let guest = try Guest(
      kernel: kernel, socket: pair.east.socket, export: "root", logs: pair.scratch,
      reconnectDelay: 60)
    var steps = [try guest.step(1)]
    for site in [pair.west, pair.east] { try site.grow("root", to: Self.new) }
    steps.append(try guest.step(2))
    #expect(try guest.diskSize() == Self.old)
    if restartsSite {
      #expect(throws: RigError.self) { try guest.resizeDisk(byteCount: Self.new) }
      try pair.east.stop()
      try pair.east.start()
      // qemu connects again with the next request.
      steps.append(try guest.step(3))
      try guest.resizeDisk(byteCount: Self.new)
    } else {
      try guest.reconnectDisk(byteCount: Self.new)
    }
    #expect(try guest.diskSize() == Self.new)
    try guest.writeLastSector()
    steps.append(try guest.step(steps.count + 1))
    try guest.powerCut()
    try pair.drain()

    for step in steps {
      let copy = pair.scratch.file("step-\(step.number).img")
      let uri = pair.west.uri("root@\(rfc3339(step.instant))")
      try run("nbdcopy", [uri, copy]).checked()
      let file = try #require(FileHandle(forReadingAtPath: copy))
      #expect(try file.seekToEnd() == Self.new)
      try file.seek(toOffset: UInt64(Self.new) - 512)
      let tail = String(decoding: try file.read(upToCount: 10) ?? Data(), as: UTF8.self)
      #expect((tail == "GUEST TAIL") == (step.number == steps.count))
      try GuestDisk.checkFileSystem(copy)
      #expect(try GuestDisk.sums(of: copy, scratch: pair.scratch) == step.sums)
    }
  }
}
