import Foundation
import TestSupport
import Testing

/// Proves that what holds the bytes may be an upstream NBD server or a block device as well as a
/// file, at either site.
@Suite(.scratch) struct BackingStoreTests {
  private static let size = 8 << 20

  @Test(.requires("qemu-nbd", "qemu-img"))
  func `a qcow2 served by qemu-nbd can be protected`() throws {
    let scratch = try ScratchDirectory()
    let image = scratch.file("disk.qcow2")
    try run("qemu-img", ["create", "-q", "-f", "qcow2", image, "\(Self.size)"]).checked()
    let upstream = try scratch.socket("upstream.sock")
    let server = try ChildProcess(
      "qemu-nbd", ["-t", "-e", "8", "-f", "qcow2", "-x", "data", "-k", upstream, image],
      logs: scratch)
    try eventually("qemu-nbd listens") { RawConnection.isListening(unix: upstream) }

    let site = try Site("east", in: scratch)
    site.addDisk(
      "disk", size: Self.size, backing: "nbd+unix:///data?socket=\(upstream)", role: .protected)
    try site.start()
    var expected = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(1))
    try expected.drive(
      site.connect("disk"), count: 100, maximumLength: 100_000, using: &generator)
    #expect(difference(try site.image("disk"), expected.image()) == nil)
    try site.stop()
    try server.terminate()

    try run("qemu-img", ["check", "-q", image]).checked()
    let raw = scratch.file("disk.raw")
    try run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", image, raw]).checked()
    let file = [UInt8](try Data(contentsOf: URL(fileURLWithPath: raw)))
    #expect(difference(file, expected.image()) == nil)
  }

  @Test(.requires("nbdkit")) func `a recovery site applies to an upstream NBD server`() throws {
    let scratch = try ScratchDirectory()
    let target = try scratch.sparseFile("target.raw", size: Self.size)
    let upstream = try scratch.socket("target.sock")
    let server = try ChildProcess("nbdkit", ["-f", "-U", upstream, "file", target], logs: scratch)
    try eventually("nbdkit listens") { RawConnection.isListening(unix: upstream) }
    let pair = try SitePair(history: "200ms") { _, west in
      west.configuration.groups[0].disks[0].backing = "nbd+unix:///?socket=\(upstream)"
    }
    var expected = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(2))
    try expected.drive(
      pair.east.connect("disk"), count: 50, maximumLength: 100_000, using: &generator)
    try pair.drain()
    try eventually("the target is the disk") {
      try pair.east.checkpoint("tick").checked()
      return [UInt8](try Data(contentsOf: URL(fileURLWithPath: target))) == expected.image()
    }
    try pair.west.stop()
    try server.terminate()
  }

  @Test(.requires("losetup", "/dev/loop-control"))
  func `a block device can be protected`() throws {
    let scratch = try ScratchDirectory()
    let file = try scratch.sparseFile("device.raw", size: Self.size)
    let device = try run("losetup", ["-f", "--show", file]).checked().stdout
      .trimmingCharacters(in: .whitespacesAndNewlines)
    defer { _ = try? run("losetup", ["-d", device]) }
    let site = try Site("east", in: scratch)
    site.addDisk("disk", size: Self.size, backing: "file:\(device)", role: .protected)
    try site.start()
    var expected = PlainHistory(size: Self.size)
    var generator = SeededGenerator(seed: testSeed(3))
    try expected.drive(
      site.connect("disk"), count: 50, maximumLength: 100_000, using: &generator)
    try site.crash()
    try site.start()
    #expect(difference(try site.image("disk"), expected.image()) == nil)
    try site.stop()
    let raw = scratch.file("copy.raw")
    try run("dd", ["if=\(device)", "of=\(raw)", "bs=1M", "status=none"]).checked()
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: raw)))
    #expect(difference(bytes, expected.image()) == nil)
  }
}
