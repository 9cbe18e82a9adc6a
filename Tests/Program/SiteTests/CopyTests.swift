import Foundation
import TestSupport
import Testing

/// Proves that nbdcopy brings a disk in and out as it is, sparse as it is, with several connections
/// and many requests in flight, from instants as well, and that nbdinfo tells what can be done.
@Suite(.scratch, .requires("nbdcopy", "nbdinfo")) struct CopyTests {
  private static let mebibyte = 1 << 20
  private static let size = 24 * mebibyte

  /// Data, a hole and data again, and a hole at the end.
  private static func contents(seed: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: testSeed(seed))
    return generator.bytes(3 * mebibyte) + [UInt8](repeating: 0, count: 9 * mebibyte)
      + generator.bytes(2 * mebibyte + 12345)
      + [UInt8](repeating: 0, count: 10 * mebibyte - 12345)
  }

  private static func allocated(_ file: String) throws -> Int {
    var status = stat()
    guard unsafe stat(file, &status) == 0 else { throw RigError("no file \(file)") }
    return Int(status.st_blocks) * 512
  }

  private func written(_ source: [UInt8]) throws -> SingleSite {
    let single = try SingleSite(size: Self.size, history: "1h")
    let file = try single.scratch.write(source, to: "source.raw")
    try run("nbdcopy", ["--flush", file, single.uri]).checked()
    return single
  }

  @Test(arguments: [
    [], ["--connections=4", "--requests=64"], ["--synchronous"], ["--request-size=4096"],
    ["--sparse=4096"], ["--sparse=0"], ["--allocated"], ["--no-extents"],
  ])
  func `a copy in and a copy out are the same bytes`(options: [String]) throws {
    let source = Self.contents(seed: 1)
    let single = try SingleSite(size: Self.size, history: "1h")
    let file = try single.scratch.write(source, to: "source.raw")
    let back = single.scratch.file("back.raw")
    try run("nbdcopy", options + ["--flush", file, single.uri]).checked()
    try run("nbdcopy", options + [single.uri, back]).checked()
    try run("cmp", [file, back]).checked()
  }

  @Test func `a sparse disk is copied as a sparse file`() throws {
    let source = Self.contents(seed: 2)
    let single = try written(source)
    let back = single.scratch.file("back.raw")
    try run("nbdcopy", ["--destination-is-zero", single.uri, back]).checked()
    try run("cmp", [single.scratch.file("source.raw"), back]).checked()
    #expect(try Self.allocated(back) < 6 * Self.mebibyte)
  }

  @Test func `what was written sparsely is told as holes`() throws {
    let single = try written(Self.contents(seed: 3))
    let totals = try run("nbdinfo", ["--map", "--totals", "--json", single.uri]).checked().stdout
    var bytes: [Int: Int] = [:]
    for row in try JSON(totals).elements {
      bytes[row["type"]?.integer ?? -1] = row["size"]?.integer
    }
    // To the block, and to the size in which nbdcopy looks for zeros.
    #expect(abs((bytes[0] ?? 0) - 5 * Self.mebibyte) < 256 << 10, "\(totals)")
    #expect(bytes.values.reduce(0, +) == Self.size)
  }

  @Test func `an instant is copied while the disk is written`() throws {
    let source = Self.contents(seed: 4)
    let single = try written(source)
    let instant = quietInstant()
    let history = WriteHistory(sectors: Self.size / TaggedSectors.size)
    let load = WriteLoad(single.uri, history: history, shape: WriteLoad.Shape())
    try load.makeProgress(200)
    let back = single.scratch.file("back.raw")
    let view = single.site.uri("disk@\(rfc3339(instant))")
    try run("nbdcopy", ["--connections=4", view, back]).checked()
    try load.makeProgress(200)
    try load.stop()
    #expect(load.failure == nil)
    try run("cmp", [single.scratch.file("source.raw"), back]).checked()
  }

  @Test func `one disk is copied to another of the same site`() throws {
    let source = Self.contents(seed: 5)
    let single = try SingleSite(size: Self.size) {
      try $0.addDisk("second", size: Self.size, role: .protected)
    }
    let file = try single.scratch.write(source, to: "source.raw")
    try run("nbdcopy", ["--flush", file, single.uri]).checked()
    try run("nbdcopy", ["--flush", single.uri, single.site.uri("second")]).checked()
    #expect(difference(try single.site.image("second"), source) == nil)
  }

  @Test(.requires("nbdkit")) func `a server that nbdcopy starts is copied through a pipe`() throws {
    let single = try SingleSite(size: Self.size)
    let pattern = ["[", "nbdkit", "pattern", "size=\(Self.size)", "]"]
    try run("nbdcopy", ["--flush", "--"] + pattern + [single.uri]).checked()
    let copied = try single.site.image("disk")
    // nbdkit's pattern: each 8 bytes are their own offset.
    for offset in stride(from: 0, to: Self.size, by: 8 * 4099) {
      #expect(number(copied[offset..<offset + 8]) == UInt64(offset))
    }
  }

  /// The options of `nbdinfo --can` and `--is`; 0 is yes, 2 is no.
  @Test(arguments: [
    ("connect", 0, 0), ("read", 0, 0), ("write", 0, 2), ("flush", 0, 0), ("fua", 0, 0),
    ("trim", 0, 2), ("zero", 0, 2), ("fast-zero", 0, 2), ("df", 0, 0), ("cache", 0, 0),
    ("multi-conn", 0, 0), ("structured-reply", 0, 0), ("read-only", 2, 0), ("rotational", 2, 2),
  ])
  func `nbdinfo tells what can be done`(ability: String, disk: Int32, view: Int32) throws {
    let single = try SingleSite(history: "1h")
    try single.site.connect("disk").write([1], at: 0)
    try single.site.checkpoint("now").checked()
    func answer(_ export: String) throws -> Int32 {
      try run("nbdinfo", ["--can", ability, single.site.uri(export)]).status
    }
    #expect(try answer("disk") == disk)
    #expect(try answer("disk@checkpoint:now") == view)
  }

  @Test func `nbdinfo --list names the disks and what they are for`() throws {
    let single = try SingleSite(history: "1h")
    let server = "nbd+unix:///?socket=\(single.site.socket)"
    let text = try run("nbdinfo", ["--list", server]).checked().stdout
    for line in [
      "export=\"disk\"", "export-size: 8388608 (8M)", "base:allocation",
      "tapline:changed-since:", "is_read_only: false", "block_size_maximum: 33554432",
    ] {
      #expect(text.contains(line), "\(text)")
    }
    #expect(try run("nbdinfo", ["--size", single.uri]).checked().stdout == "8388608\n")
  }
}
