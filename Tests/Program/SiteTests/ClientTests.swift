import Foundation
import TestSupport
import Testing

/// Proves that the clients people use find, read and write a disk as they do with other servers.
@Suite(.scratch) struct ClientTests {
  @Test(.requires("nbdinfo")) func `nbdinfo lists the disks with their sizes`() throws {
    let single = try SingleSite { try $0.addDisk("second", size: 3 << 20, role: .protected) }
    let uri = "nbd+unix:///?socket=\(single.site.socket)"
    let list = try JSON(try run("nbdinfo", ["--list", "--json", uri]).checked().stdout)
    let exports = try #require(list["exports"]).elements
    let sizes = exports.reduce(into: [String: Int]()) { sizes, export in
      sizes[export["export-name"]?.string ?? ""] = export["export-size"]?.integer
    }
    #expect(sizes == ["disk": 8 << 20, "second": 3 << 20])
    let text = try run("nbdinfo", ["--list", uri]).checked().stdout
    #expect(text.contains("export=\"second\""))
  }

  @Test(.requires("nbdinfo")) func `nbdinfo sees what the disk can do`() throws {
    let single = try SingleSite()
    let info = try JSON(try run("nbdinfo", ["--json", single.uri]).checked().stdout)
    let export = try #require(info["exports"]?.elements.first)
    for ability in ["can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn"] {
      #expect(export[ability] == .boolean(true), "\(ability)")
    }
    #expect(export["is_read_only"] == .boolean(false))
  }

  /// Each script is written to a fresh disk and read back in the same session.
  @Test(
    .requires("qemu-io"),
    arguments: [
      ["write -P 0xab 0 4096", "read -P 0xab 0 4096", "read -P 0 4096 4096"],
      ["write -P 1 511 1", "read -P 0 510 1", "read -P 1 511 1", "read -P 0 512 1"],
      ["write -P 2 1 3000", "write -P 3 1000 1", "read -P 2 1 999", "read -P 3 1000 1"],
      ["write -P 4 0 1M", "write -z 4096 8192", "read -P 4 0 4k", "read -P 0 4k 8k"],
      ["write -P 4 0 1M", "write -z -u 100 1000", "read -P 0 100 1000", "read -P 4 1100 100"],
      ["write -P 5 0 1M", "discard 64k 64k", "read -P 5 0 64k", "read -P 5 128k 64k"],
      ["write -P 6 7M 1M", "read -P 6 7M 1M", "flush"],
      ["write -f -P 7 8388607 1", "read -P 7 8388607 1"],
      ["aio_write -P 8 0 64k", "aio_write -P 9 64k 64k", "aio_flush", "read -P 9 64k 64k"],
      ["write -P 10 0 8M", "read -P 10 0 8M"],
    ])
  func `qemu-io reads what it wrote`(script: [String]) throws {
    let single = try SingleSite()
    let commands = script.flatMap { ["-c", $0] }
    let io = try run("qemu-io", ["-f", "raw"] + commands + [single.uri]).checked()
    #expect(!io.stdout.contains("Pattern verification failed"), "\(io)")
  }

  @Test(.requires("nbdcopy", "qemu-img"))
  func `nbdcopy fills a disk and reads it back`() throws {
    let single = try SingleSite(size: 40 << 20, segmentSize: "64M")
    var generator = SeededGenerator(seed: testSeed(1))
    let source = try single.scratch.write(
      generator.bytes(17 << 20) + [UInt8](repeating: 0, count: 23 << 20), to: "source.raw")
    try run("nbdcopy", ["--flush", source, single.uri]).checked()
    try run("qemu-img", ["compare", "-f", "raw", "-F", "raw", source, single.uri]).checked()
    let back = single.scratch.file("back.raw")
    try run("nbdcopy", [single.uri, back]).checked()
    try run("cmp", [source, back]).checked()
  }

  @Test(.requires("fio"), arguments: [1, 32])
  func `fio verifies random writes`(depth: Int) throws {
    let single = try SingleSite(size: 16 << 20)
    try run(
      "fio",
      [
        "--name=verify", "--ioengine=nbd", "--uri=\(single.uri)", "--rw=randwrite", "--bs=4k",
        "--size=16m", "--io_size=8m", "--iodepth=\(depth)", "--verify=crc32c", "--do_verify=1",
        "--verify_fatal=1", "--verify_state_save=0", "--fsync=64", "--randseed=\(testSeed(1))",
      ]
    ).checked()
  }

  @Test(.requires("nbdinfo", "qemu-io")) func `a disk is served over TCP as well`() throws {
    let port = try unusedPort()
    let single = try SingleSite { $0.configuration.nbd.append("tcp:127.0.0.1:\(port)") }
    let uri = "nbd://127.0.0.1:\(port)/disk"
    try run("qemu-io", ["-f", "raw", "-c", "write -P 1 0 64k", uri]).checked()
    #expect(try single.site.connect("disk").read(at: 0, count: 2) == [1, 1])
    #expect(try run("nbdinfo", ["--size", uri]).checked().stdout == "\(8 << 20)\n")
  }

  @Test(.requires("nbdinfo")) func `a listener of any free port tells which it has`() throws {
    let single = try SingleSite { $0.configuration.nbd.append("tcp:127.0.0.1:0") }
    let listeners = try #require(try single.site.status()["listeners"]).elements
    let address = try #require(
      listeners.compactMap { $0["address"]?.string }.first {
        $0.hasPrefix("tcp:127.0.0.1:") && $0 != single.site.configuration.link
      })
    #expect(!address.hasSuffix(":0"))
    #expect(single.site.log.contains("nbd tcp:127.0.0.1:0: listens at \(address)"))
    let uri = "nbd://\(address.dropFirst("tcp:".count))/disk"
    #expect(try run("nbdinfo", ["--size", uri]).checked().stdout == "\(8 << 20)\n")
    // Who takes over keeps it.
    try single.site.takeOver()
    #expect(try run("nbdinfo", ["--size", uri]).checked().stdout == "\(8 << 20)\n")
  }
}
