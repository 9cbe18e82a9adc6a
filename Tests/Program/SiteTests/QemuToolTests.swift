import Foundation
import TestSupport
import Testing

/// Proves that qemu's tools work on disks and instants as on any image: bring images of its formats
/// in and out, compare and map them, put an overlay on an instant, serve a disk once more.
@Suite(.scratch, .requires("qemu-img", "qemu-io")) struct QemuToolTests {
  private static let mebibyte = 1 << 20
  private static let size = 16 * mebibyte

  private static func contents(seed: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: testSeed(seed))
    return generator.bytes(3 * mebibyte) + [UInt8](repeating: 0, count: 9 * mebibyte)
      + generator.bytes(4 * mebibyte)
  }

  /// A disk with known contents, which are also in `source.raw`.
  private func written(seed: UInt64) throws -> (SingleSite, source: String) {
    let single = try SingleSite(size: Self.size, history: "1h")
    let source = try single.scratch.write(Self.contents(seed: seed), to: "source.raw")
    try run("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", source, single.uri]).checked()
    return (single, source)
  }

  private func compare(_ one: String, _ oneFormat: String, _ other: String) throws {
    try run("qemu-img", ["compare", "-f", oneFormat, "-F", "raw", one, other]).checked()
  }

  @Test func `qemu-img tells the size of a disk and of an instant`() throws {
    let (single, _) = try written(seed: 1)
    for export in ["disk", "disk@latest"] {
      let info = try JSON(
        try run("qemu-img", ["info", "--output=json", single.site.uri(export)]).checked().stdout)
      #expect(info["virtual-size"]?.integer == Self.size)
      #expect(info["format"]?.string == "raw")
    }
  }

  @Test(arguments: [
    ("raw", []), ("raw", ["-W", "-m", "8"]), ("qcow2", []), ("qcow2", ["-c"]), ("vmdk", []),
    ("vdi", []),
  ])
  func `an image comes out of a disk and goes into another`(
    format: String, options: [String]
  ) throws {
    let (single, source) = try written(seed: 2)
    let image = single.scratch.file("image.\(format)")
    try run(
      "qemu-img", ["convert", "-f", "raw", "-O", format] + options + [single.uri, image]
    ).checked()
    try compare(image, format, single.uri)
    let second = try SingleSite(size: Self.size)
    try run(
      "qemu-img", ["convert", "-n", "-W", "-m", "8", "-f", format, "-O", "raw", image, second.uri]
    ).checked()
    try compare(source, "raw", second.uri)
  }

  @Test func `an instant is converted, compared and mapped while the disk goes on`() throws {
    let (single, source) = try written(seed: 3)
    let instant = quietInstant()
    try run(
      "qemu-io", ["-f", "raw", "-c", "write -P 7 0 5M", "-c", "discard 12M 4M", single.uri]
    ).checked()
    let view = single.site.uri("disk@\(rfc3339(instant))")
    try compare(source, "raw", view)
    let image = single.scratch.file("view.qcow2")
    try run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", view, image]).checked()
    try compare(image, "qcow2", view)
    #expect(
      try run("qemu-img", ["compare", "-f", "raw", "-F", "raw", view, single.uri]).status == 1)
    let map = try JSON(
      try run("qemu-img", ["map", "--output=json", "-f", "raw", view]).checked().stdout)
    let data = map.elements.filter { $0["data"] == .boolean(true) }
      .map { [$0["start"]?.integer, $0["length"]?.integer] }
    #expect(
      data == [[0, 3 * Self.mebibyte], [12 * Self.mebibyte, 4 * Self.mebibyte]], "\(map)")
  }

  @Test func `an overlay on an instant is written without touching it`() throws {
    let (single, source) = try written(seed: 4)
    try single.site.checkpoint("base").checked()
    let view = single.site.uri("disk@checkpoint:base")
    let overlay = single.scratch.file("overlay.qcow2")
    try run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", view, "-F", "raw", overlay])
      .checked()
    let io = try run(
      "qemu-io",
      [
        "-c", "write -P 5 1M 64k", "-c", "read -P 5 1M 64k", "-c", "read -P 0 4M 1M",
        "-c", "write -z 12M 1M", overlay,
      ]
    ).checked()
    #expect(!io.stdout.contains("verification failed"), "\(io)")
    try compare(source, "raw", view)
    try compare(source, "raw", single.uri)
    #expect(
      try run("qemu-img", ["compare", "-f", "qcow2", "-F", "raw", overlay, view]).status == 1)
  }

  @Test func `an instant is opened for writing by no tool`() throws {
    let (single, _) = try written(seed: 5)
    let finished = try run(
      "qemu-io", ["-f", "raw", "-c", "write 0 512", single.site.uri("disk@latest")])
    #expect(finished.status != 0)
    #expect(finished.stderr.contains("Permission denied"), "\(finished)")
  }

  @Test(arguments: [[], ["--flush-interval=32"], ["--flush-interval=64", "--no-drain"]])
  func `qemu-img bench gets all its writes through`(options: [String]) throws {
    let single = try SingleSite(size: Self.size)
    try run(
      "qemu-img",
      ["bench", "-w", "-f", "raw", "-c", "1000", "-d", "32", "-s", "4096", "--pattern=3"]
        + options + [single.uri]
    ).checked()
    #expect(try single.site.image("disk").prefix(1000 * 4096).allSatisfy { $0 == 3 })
    try run("qemu-img", ["bench", "-f", "raw", "-c", "1000", "-d", "32", single.uri]).checked()
  }

  /// Each script is run on a disk full of 4s.
  @Test(arguments: [
    ["write -z 4k 8k", "read -P 0 4k 8k", "read -P 4 0 4k", "read -P 4 12k 4k"],
    ["write -z -u 4k 8k", "read -P 0 4k 8k", "read -P 4 12k 4k"],
    ["write -z -n 4k 8k", "read -P 0 4k 8k"],
    ["write -z -u -n -f 1M 4M", "read -P 0 1M 4M", "read -P 4 5M 64k"],
    ["write -z 511 513", "read -P 4 0 511", "read -P 0 511 513", "read -P 4 1k 512"],
    ["discard 64k 64k", "read -P 0 64k 64k", "read -P 4 128k 64k"],
    ["discard -q 0 8M", "read -P 0 0 8M"],
    ["write -f -P 9 8M 64k", "read -P 9 8M 64k", "flush"],
    [
      "aio_write -P 1 0 64k", "aio_write -P 2 64k 64k", "aio_write -z 128k 64k", "aio_flush",
      "aio_read -P 1 0 64k", "aio_read -P 2 64k 64k", "aio_read -P 0 128k 64k", "aio_flush",
    ],
    ["aio_write -f -P 1 0 1M", "aio_flush", "read -P 1 0 1M"],
    ["writev -P 6 4k 4k 8k 512", "read -P 6 4k 12800"],
    ["readv -P 4 0 64k 64k 512"],
    ["write -P 1 16777215 1", "read -P 1 16777215 1"],
  ])
  func `qemu-io does what it is told`(script: [String]) throws {
    let single = try SingleSite(size: Self.size, history: "1h")
    try run("qemu-io", ["-f", "raw", "-c", "write -P 4 0 16M", single.uri]).checked()
    let io = try run(
      "qemu-io", ["-f", "raw", "-d", "unmap"] + script.flatMap { ["-c", $0] } + [single.uri]
    ).checked()
    #expect(!io.stdout.contains("verification failed"), "\(io)")
  }

  @Test(arguments: ["write 16777215 2", "read 16M 512", "discard 16M 4k", "write -z 15M 2M"])
  func `qemu-io is told that a request lies outside of the disk`(command: String) throws {
    let single = try SingleSite(size: Self.size)
    let io = try run("qemu-io", ["-f", "raw", "-c", command, single.uri])
    #expect((io.stdout + io.stderr).contains("Input/output error"), "\(io)")
  }

  /// As with a guest that overwrites what it deletes: zeros that are written become holes.
  @Test(.requires("nbdinfo"), arguments: [("off", "data"), ("on", "zero"), ("unmap", "hole,zero")])
  func `qemu detects zeroes`(mode: String, kind: String) throws {
    let single = try SingleSite(size: Self.size, history: "1h")
    let image =
      "driver=raw,detect-zeroes=\(mode),discard=unmap,file.driver=nbd,file.server.type=unix,"
      + "file.server.path=\(single.site.socket),file.export=disk,file.discard=unmap"
    try run(
      "qemu-io",
      ["--image-opts", image, "-c", "write -P 1 0 16M", "-c", "write -P 0 1M 1M", "-c", "flush"]
    ).checked()
    let map = try run("nbdinfo", ["--map", single.uri]).checked().stdout
    let zeroed = map.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
      .first { Int($0[0])! <= Self.mebibyte && Int($0[0])! + Int($0[1])! > Self.mebibyte }
    #expect(zeroed?.last == kind, "\(map)")
    #expect(try single.site.connect("disk").read(at: 1 << 20, count: 2) == [0, 0])
  }

  @Test(.requires("qemu-nbd")) func `qemu-nbd serves a disk once more`() throws {
    let (single, source) = try written(seed: 7)
    let socket = try single.scratch.socket("again.sock")
    let server = try ChildProcess(
      "qemu-nbd", ["-t", "-e", "4", "-f", "raw", "-k", socket, single.uri], logs: single.scratch)
    try eventually("qemu-nbd listens") { RawConnection.isListening(unix: socket) }
    let again = "nbd+unix:///?socket=\(socket)"
    try compare(source, "raw", again)
    try run("qemu-io", ["-f", "raw", "-c", "write -P 8 1M 1M", "-c", "flush", again]).checked()
    #expect(try single.site.connect("disk").read(at: 1 << 20, count: 2) == [8, 8])
    try server.terminate()
  }

  /// It keeps its connection to the disk, whatever its own clients do.
  @Test(.requires("qemu-storage-daemon"))
  func `qemu-storage-daemon serves a disk and an instant once more`() throws {
    let (single, source) = try written(seed: 8)
    try single.site.checkpoint("base").checked()
    let socket = try single.scratch.socket("qsd.sock")
    func node(_ name: String, _ export: String) -> [String] {
      [
        "--blockdev",
        "driver=nbd,node-name=\(name),server.type=unix,server.path=\(single.site.socket),"
          + "export=\(export)" + (name == "view" ? ",read-only=on" : ""),
        "--export",
        "type=nbd,id=e-\(name),node-name=\(name),name=\(name),writable="
          + (name == "view" ? "off" : "on"),
      ]
    }
    let daemon = try ChildProcess(
      "qemu-storage-daemon",
      ["--nbd-server", "addr.type=unix,addr.path=\(socket)"] + node("live", "disk")
        + node("view", "disk@checkpoint:base"), logs: single.scratch)
    try eventually("qemu-storage-daemon serves") {
      try run("qemu-img", ["info", "nbd+unix:///view?socket=\(socket)"]).status == 0
    }
    let (live, view) = ("nbd+unix:///live?socket=\(socket)", "nbd+unix:///view?socket=\(socket)")
    try run(
      "qemu-io",
      ["-f", "raw", "-c", "write -P 8 1M 1M", "-c", "write -z -u 2M 1M", "-c", "flush", live]
    ).checked()
    try compare(source, "raw", view)
    let client = try single.site.connect("disk")
    #expect(try client.read(at: 1 << 20, count: 2) == [8, 8])
    #expect(try client.read(at: 2 << 20, count: 2) == [0, 0])
    try daemon.terminate()
  }
}
