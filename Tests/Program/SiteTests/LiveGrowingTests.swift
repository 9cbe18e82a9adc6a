import Foundation
import TestSupport
import Testing

/// Proves that a disk grows while its clients go on: who is connected keeps the size that he was
/// told, who comes later has the new one, and instants of before show it with zeros behind the old
/// end.
@Suite(.scratch) struct LiveGrowingTests {
  private static let old = 8 << 20
  private static let new = 24 << 20

  @Test(.requires("nbdinfo", "qemu-io"))
  func `clients with writes under way go on, and others come with the new size`() throws {
    let single = try SingleSite(size: Self.old)
    let history = WriteHistory(sectors: Self.old / TaggedSectors.size)
    let load = WriteLoad(single.uri, history: history)
    try load.makeProgress(200)
    for size in stride(from: Self.old + (2 << 20), through: Self.new, by: 2 << 20) {
      try single.site.grow(to: size)
      #expect(try run("nbdinfo", ["--size", single.uri]).checked().stdout == "\(size)\n")
      // In what is new; between the old end and there everything is zeros.
      let last = size - 65536
      try run(
        "qemu-io",
        [
          "-f", "raw", "-c", "write -P 7 \(last) 64k", "-c", "flush", "-c",
          "read -P 7 \(last) 64k", "-c", "read -P 0 \(size - (2 << 20)) 1M", single.uri,
        ]
      ).checked()
      try load.makeProgress(100)
    }
    try load.stop()
    #expect(load.failure == nil)
    let image = try single.site.image("disk")
    #expect(image.count == Self.new)
    #expect(history.violations(in: Array(image[..<Self.old])) == [])
    try single.site.stop()
    let file = [UInt8](try Data(contentsOf: URL(filePath: single.site.rawFile("disk"))))
    #expect(difference(file, image) == nil)
  }

  @Test func `a client that was connected before keeps the old end`() throws {
    let single = try SingleSite(size: Self.old)
    let before = try NBDClient(single.uri, checksRequests: false)
    try single.site.grow(to: Self.new)
    let after = try single.site.connect("disk")
    let end = UInt64(Self.old)
    #expect(throws: NBDClient.Failure.self) { try before.write([1], at: end) }
    let failure = #expect(throws: NBDClient.Failure.self) { try before.read(at: end, count: 1) }
    #expect(failure?.errno == EINVAL)
    try after.write([1, 2], at: end - 1)
    #expect(try before.read(at: end - 1, count: 1) == [1])
    try before.write([3], at: end - 1, fua: true)
    #expect(try after.read(at: end - 1, count: 2) == [3, 2])
  }

  @Test(.requires("nbdcopy")) func `views of before and after, opened before and after`() throws {
    let pair = try SitePair(disks: ["disk": Self.old]) { east, _ in
      east.configuration.groups[0].history = "1h"
    }
    let client = try pair.east.connect("disk")
    try client.write([1, 2, 3], at: UInt64(Self.old) - 3)
    let early = quietInstant()
    try client.write([4], at: 0)
    try pair.drain()
    var opened: [NBDClient] = []
    for site in [pair.east, pair.west] { opened.append(try site.connect("disk@\(rfc3339(early))")) }
    for site in [pair.west, pair.east] { try site.grow(to: Self.new) }
    let grown = try pair.east.connect("disk")
    try grown.write([5, 6], at: UInt64(Self.old) - 1)
    let late = quietInstant()
    try grown.write([7], at: UInt64(Self.new) - 1)
    try pair.drain()

    var old = [UInt8](repeating: 0, count: Self.new)
    old.replaceSubrange(Self.old - 3..<Self.old, with: [1, 2, 3])
    var middle = old
    middle[0] = 4
    middle.replaceSubrange(Self.old - 1..<Self.old + 1, with: [5, 6])
    var newest = middle
    newest[Self.new - 1] = 7
    for (site, view) in zip([pair.east, pair.west], opened) {
      // Those that were open have the size of then.
      #expect(view.size == Self.old)
      #expect(try view.read(at: 0, count: Self.old) == Array(old[..<Self.old]), "\(site.name)")
      for (instant, image) in [(rfc3339(early), old), (rfc3339(late), middle), ("latest", newest)] {
        let copy = site.scratch.file("\(site.name)-\(instant.count).raw")
        try run("nbdcopy", [site.uri("disk@\(instant)"), copy]).checked()
        let bytes = [UInt8](try Data(contentsOf: URL(filePath: copy)))
        #expect(difference(bytes, image) == nil, "\(site.name) at \(instant)")
      }
    }
    #expect(difference(try pair.east.image("disk"), newest) == nil)
  }

  @Test(.requires("nbdinfo")) func `what a disk grew by counts as changed only where written`()
    throws
  {
    let single = try SingleSite(size: Self.old, history: "1h")
    try single.site.connect("disk").write([1], at: 0)
    let early = rfc3339(quietInstant())
    try single.site.grow(to: Self.new)
    try single.site.connect("disk").write(
      [UInt8](repeating: 1, count: 65536), at: UInt64(Self.old))
    let map = try run(
      "nbdinfo", ["--map=tapline:changed-since:\(early)", single.site.uri("disk@latest")]
    ).checked()
    let lines = map.stdout.split(separator: "\n").map { $0.split(separator: " ").prefix(3) }
    #expect(
      lines == [
        ["0", "\(Self.old)", "0"], ["\(Self.old)", "65536", "1"],
        ["\(Self.old + 65536)", "\(Self.new - Self.old - 65536)", "0"],
      ], "\(map)")
  }

  @Test func `status and analysis know the new size`() throws {
    let single = try SingleSite(size: Self.old)
    try single.site.grow(to: Self.new)
    try single.site.connect("disk").write([1], at: UInt64(Self.new) - 1)
    let group = try TaplineContract.group("g", in: single.site.status())
    #expect(group["disks"]?.elements.first?["size_bytes"]?.integer == Self.new)
    try eventually("the analyzer has seen the write") {
      let group = try TaplineContract.group("g", in: single.site.status())
      let disk = group["analysis"]?["disks"]?.elements.first
      return disk?["size_bytes"]?.integer == Self.new
        && disk?["total"]?["writes"]?.integer == 1
    }
  }
}
