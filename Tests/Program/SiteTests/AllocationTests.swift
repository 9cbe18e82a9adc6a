import Foundation
import TestSupport
import Testing

/// Proves that clients learn what is data, zeros and hole, from the journal and from the base, and
/// that sparse disks are copied as sparse.
@Suite(.scratch) struct AllocationTests {
  typealias Run = BlockMap.Run
  private static let mebibyte = 1 << 20

  /// A disk whose journal keeps what is written: 64 KiB of data, zeros with space, zeros without.
  private func written() throws -> SingleSite {
    let single = try SingleSite(history: "1h")
    try run(
      "qemu-io",
      [
        "-f", "raw", "-c", "write -P 1 0 1M", "-c", "write -z 256k 64k", "-c",
        "write -z -u 512k 64k", "-c", "discard 768k 64k", single.uri,
      ]
    ).checked()
    return single
  }

  @Test(.requires("nbdinfo", "qemu-io"))
  func `the journal tells data, zeros with space and holes apart`() throws {
    let single = try written()
    let kibibyte = 1024
    let expected: [(Int, Int, Int)] = [
      (0, 256, 0), (256, 64, 2), (320, 192, 0), (512, 64, 3), (576, 192, 0), (768, 64, 3),
      (832, 192, 0), (1024, 7168, 3),
    ]
    let runs = expected.map {
      Run(offset: $0.0 * kibibyte, length: $0.1 * kibibyte, flags: $0.2)
    }
    for export in [single.uri, single.site.uri("disk@latest")] {
      #expect(try BlockMap(export).runs == runs)
    }
  }

  @Test(.requires("nbdinfo", "qemu-img"))
  func `what is applied is told by the holes of the file`() throws {
    let single = try SingleSite()
    let client = try single.site.connect("disk")
    try client.write([UInt8](repeating: 7, count: Self.mebibyte), at: UInt64(Self.mebibyte))
    try eventually("the write is applied") {
      try single.site.counter("applied") >= single.site.counter("stamped")
        && single.site.counter("applied") > 0
    }
    let runs = [
      Run(offset: 0, length: Self.mebibyte, flags: 3),
      Run(offset: Self.mebibyte, length: Self.mebibyte, flags: 0),
      Run(offset: 2 * Self.mebibyte, length: 6 * Self.mebibyte, flags: 3),
    ]
    #expect(try BlockMap(single.uri).runs == runs)
    let map = try JSON(
      try TestSupport.run(
        "qemu-img", ["map", "--output=json", "-f", "raw", single.uri]
      ).checked().stdout)
    #expect(map.elements.map { $0["data"] } == [.boolean(false), .boolean(true), .boolean(false)])
  }

  @Test(.requires("nbdinfo", "nbdkit"))
  func `what an upstream server knows of zeros is passed on`() throws {
    let scratch = try ScratchDirectory()
    let upstream = try scratch.socket("upstream.sock")
    let server = try ChildProcess(
      "nbdkit", ["-f", "-U", upstream, "data", "@1048576 0x55*4096", "size=8M"], logs: scratch)
    try eventually("nbdkit listens") { RawConnection.isListening(unix: upstream) }
    let site = try Site("east", in: scratch)
    site.addDisk(
      "disk", size: 8 << 20, backing: "nbd+unix:///?socket=\(upstream)", role: .protected)
    try site.start()
    let map = try BlockMap(site.uri("disk"))
    #expect(map.byteCount == 8 << 20)
    #expect(!map.hasFlags(2, at: 1 << 20))
    #expect(map.hasFlags(2, at: 0) && map.hasFlags(2, at: 4 << 20))
    try site.stop()
    try server.terminate()
  }

  @Test func `zeros of the map read as zeros, whatever was written`() throws {
    for history in ["0s", "1h"] {
      let single = try SingleSite(size: 1_000_003, history: history)
      let client = try single.site.connect("disk")
      var generator = SeededGenerator(seed: testSeed(1))
      var plain = PlainHistory(size: 1_000_003)
      for _ in 0..<5 {
        try plain.drive(client, count: 30, maximumLength: 9000, using: &generator)
        let map = try BlockMap(single.uri)
        let image = plain.image()
        #expect(map.byteCount == image.count)
        for run in map.runs {
          if run.flags & 2 != 0 {
            #expect(image[run.offset..<run.offset + run.length].allSatisfy { $0 == 0 })
          }
          let end = run.offset + run.length
          #expect(run.offset % 512 == 0 && (end % 512 == 0 || end == image.count))
        }
      }
    }
  }

  @Test(.requires("qemu-img", "nbdcopy"), arguments: ["qemu-img", "nbdcopy"])
  func `a sparse disk is copied out and in as sparse`(tool: String) throws {
    let single = try SingleSite(size: 64 << 20, history: "1h") {
      try $0.addDisk("copy", size: 64 << 20, role: .protected)
    }
    var generator = SeededGenerator(seed: testSeed(2))
    var plain = PlainHistory(size: 64 << 20)
    try plain.drive(
      try single.site.connect("disk"), count: 20, maximumLength: 50_000, using: &generator)
    let file = single.scratch.file("out.raw")
    let copy = single.site.uri("copy")
    if tool == "nbdcopy" {
      try run("nbdcopy", [single.uri, file]).checked()
      try run("nbdcopy", ["--flush", file, copy]).checked()
    } else {
      try run("qemu-img", ["convert", "-f", "raw", "-O", "raw", single.uri, file]).checked()
      try run("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", file, copy]).checked()
    }
    for (first, second) in [(single.uri, file), (file, copy), (single.uri, copy)] {
      try run("qemu-img", ["compare", "-f", "raw", "-F", "raw", first, second]).checked()
    }
    #expect(difference(try single.site.image("copy"), plain.image()) == nil)
    let attributes = try URL(fileURLWithPath: file).resourceValues(
      forKeys: [.fileAllocatedSizeKey])
    #expect(try #require(attributes.fileAllocatedSize) < 8 << 20)
    // The holes came over as requests without payload.
    let map = try BlockMap(copy)
    #expect(map.runs.filter { $0.flags & 2 == 0 }.reduce(0) { $0 + $1.length } < 8 << 20)
  }
}
