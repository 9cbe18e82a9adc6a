import Foundation
import TestSupport
import Testing

/// Proves that what a guest's kernel sends beside plain writes (discards, zeroes, flushes) arrives
/// as such and does what it says, through qemu's virtio-blk and through the kernel's NBD client.
@Suite(
  .scratch,
  .requires("qemu-system-x86_64", "mke2fs", "nbdinfo", "nbdcopy", "blkdiscard", "nbd-client"))
struct GuestCommandTests {
  private static let mebibyte = 1 << 20
  private static let size = 64 * mebibyte
  private static let dataSize = 16 * mebibyte

  /// A site with a disk to boot from and one to play with, and a guest.
  private struct Scene {
    let scratch: ScratchDirectory
    let site: Site
    let guest: Guest
    let port: UInt16

    init(disks: [String], hasNetwork: Bool = false) throws {
      let kernel = try GuestKernel.prepare()
      scratch = try ScratchDirectory()
      port = try unusedPort()
      site = try Site("east", in: scratch)
      site.configuration.nbd.append("tcp:127.0.0.1:\(port)")
      try site.addDisk("root", size: GuestCommandTests.size, role: .protected)
      try site.addDisk("data", size: GuestCommandTests.dataSize, role: .protected)
      site.configuration.groups[0].history = "1h"
      try GuestDisk.make(
        at: site.rawFile("root"), size: GuestCommandTests.size, kernel: kernel,
        programs: ["blkdiscard", "nbd-client"], scratch: scratch)
      try site.start()
      guest = try Guest(
        kernel: kernel, socket: site.socket, export: "root", more: disks, hasNetwork: hasNetwork,
        logs: scratch)
    }

    /// Records of a kind in the journal of a site that runs no more.
    func records(_ kind: String) throws -> Int {
      let folder = try TaplineContract.journalDirectory(group: "g", site: site.configuration)
      let dump = try site.tapline(TaplineContract.journal("dump", folder)).checked().stdout
      return dump.split(separator: "\n").count {
        $0.split(separator: " ").contains(Substring(kind))
      }
    }
  }

  /// Writes 8 MiB, discards the second and zeroes the fourth, and says what the device then holds.
  /// Without the path, busybox would take its own blkdiscard, which cannot zero.
  private static func play(on device: String) -> String {
    """
    dd if=/dev/urandom of=\(device) bs=1M count=8 conv=fsync 2>/dev/null && \
    /bin/blkdiscard -o 1048576 -l 1048576 \(device) && \
    /bin/blkdiscard -z -o 3145728 -l 1048576 \(device) && \
    dd if=/dev/urandom of=\(device) bs=4096 seek=1000 count=1 conv=notrunc,fsync 2>/dev/null && \
    echo 3 >/proc/sys/vm/drop_caches && sha256sum \(device)
    """
  }

  private func checkPlayed(_ scene: Scene, _ said: String) throws {
    let copy = scene.scratch.file("data.raw")
    try run("nbdcopy", [scene.site.uri("data"), copy]).checked()
    let sum = try run("sha256sum", [copy]).checked().stdout.prefix(64)
    #expect(said.contains(sum), "\(said)")
    let bytes = [UInt8](try Data(contentsOf: URL(filePath: copy)))
    func isZero(_ part: Range<Int>) -> Bool {
      bytes[part.lowerBound * Self.mebibyte..<part.upperBound * Self.mebibyte]
        .allSatisfy { $0 == 0 }
    }
    #expect(isZero(1..<2) && !isZero(2..<3) && !isZero(4..<5) && isZero(8..<16))
  }

  @Test func `discards, zeroes and flushes of a virtio disk arrive`() throws {
    let scene = try Scene(disks: ["data"])
    let said = try scene.guest.run(Self.play(on: "/dev/vdb"))
    try checkPlayed(scene, said)
    // What the guest synced is there after everything has crashed.
    try scene.guest.powerCut()
    try scene.site.crash()
    try scene.site.start()
    try checkPlayed(scene, said)
    try scene.site.stop()
    #expect(try scene.records("trim") > 0)
    #expect(try scene.records("zero") > 0)
  }

  @Test func `a file system that is trimmed gives its space back`() throws {
    let scene = try Scene(disks: [])
    try scene.guest.run(
      "dd if=/dev/urandom of=/data/large bs=1M count=20 conv=fsync 2>/dev/null")
    let full = try data(on: scene.site.uri("root"))
    try scene.guest.run("rm /data/large && sync && fstrim / && sync")
    let trimmed = try data(on: scene.site.uri("root"))
    #expect(trimmed < full - 18 * Self.mebibyte, "\(full) bytes of data, then \(trimmed)")
    let step = try scene.guest.step(1)
    try scene.guest.powerCut()
    let copy = scene.scratch.file("root.raw")
    try run("nbdcopy", [scene.site.uri("root"), copy]).checked()
    try GuestDisk.checkFileSystem(copy)
    #expect(try GuestDisk.sums(of: copy, scratch: scene.scratch) == step.sums)
  }

  /// Bytes that are neither zeros nor holes.
  private func data(on uri: String) throws -> Int {
    let totals = try run("nbdinfo", ["--map", "--totals", "--json", uri]).checked().stdout
    return try JSON(totals).elements.first { $0["type"]?.integer == 0 }?["size"]?.integer ?? 0
  }

  /// nbd-client negotiates, then the kernel speaks NBD itself; with `-C 2` on two connections.
  @Test(arguments: ["", "-C 2", "-b 4096", "-L"])
  func `the kernel's NBD client works`(options: String) throws {
    let scene = try Scene(disks: [], hasNetwork: true)
    try scene.guest.run("ifconfig lo up; ifconfig eth0 10.0.2.15 up")
    try scene.guest.run(
      "nbd-client 10.0.2.2 \(scene.port) /dev/nbd0 -N data \(options)")
    // Its parent may end before the kernel has been told everything.
    try scene.guest.run(
      "for i in $(seq 100); do [ $(blockdev --getsize64 /dev/nbd0) = \(Self.dataSize) ] && break; "
        + "sleep 0.1; done")
    #expect(try scene.guest.run("blockdev --getsize64 /dev/nbd0").contains("\(Self.dataSize)"))
    let said = try scene.guest.run(Self.play(on: "/dev/nbd0"))
    try scene.guest.run("nbd-client -d /dev/nbd0")
    try checkPlayed(scene, said)
  }

  @Test func `partitions of a disk are seen by the kernel's NBD client`() throws {
    let scene = try Scene(disks: [], hasNetwork: true)
    try scene.guest.run("ifconfig lo up; ifconfig eth0 10.0.2.15 up")
    let connect = "nbd-client 10.0.2.2 \(scene.port) /dev/nbd0 -N data"
    try scene.guest.run(connect)
    try scene.guest.run("printf 'n\\np\\n1\\n\\n\\nw\\n' | fdisk /dev/nbd0; sync")
    try scene.guest.run("nbd-client -d /dev/nbd0")
    try scene.guest.run(connect)
    try scene.guest.run(
      "blockdev --rereadpt /dev/nbd0; echo in the partition >/tmp-file; "
        + "dd if=/tmp-file of=/dev/nbd0p1 bs=512 conv=sync,fsync")
    #expect(try scene.guest.run("head -c 16 /dev/nbd0p1; echo").contains("in the partition"))
    try scene.guest.run("nbd-client -d /dev/nbd0")
  }

  @Test func `the kernel's NBD client reads an instant and cannot write to it`() throws {
    let scene = try Scene(disks: [], hasNetwork: true)
    try scene.site.connect("data").write(Array("as it was".utf8), at: 0)
    try scene.site.checkpoint("then").checked()
    try scene.site.connect("data").write(Array("it is now".utf8), at: 0)
    try scene.guest.run("ifconfig lo up; ifconfig eth0 10.0.2.15 up")
    try scene.guest.run(
      "nbd-client 10.0.2.2 \(scene.port) /dev/nbd0 -N data@checkpoint:then")
    #expect(try scene.guest.run("head -c 9 /dev/nbd0; echo").contains("as it was"))
    #expect(throws: RigError.self) {
      try scene.guest.run("dd if=/dev/zero of=/dev/nbd0 bs=512 count=1 conv=fsync")
    }
    try scene.guest.run("nbd-client -d /dev/nbd0")
  }

  @Test func `nbd-client lists the disks`() throws {
    let port = try unusedPort()
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("one", size: 1 << 20, role: .protected)
    try site.addDisk("two", size: 1 << 20, role: .protected)
    site.configuration.nbd.append("tcp:127.0.0.1:\(port)")
    try site.start()
    let list = try run("nbd-client", ["-l", "127.0.0.1", "\(port)"])
    #expect(list.stdout.contains("one") && list.stdout.contains("two"), "\(list)")
  }
}
