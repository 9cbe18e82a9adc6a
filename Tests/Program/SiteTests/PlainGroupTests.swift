import Foundation
import TestSupport
import Testing

/// Proves that an error of a store behind a plain disk is the answer to the request that met it:
/// other requests, clients and disks go on, and so does the disk once its store is well. And that
/// no disk is served without a journal that it needs.
@Suite(.scratch) struct PlainGroupTests {
  private static let size = 8 << 20

  private func errno(_ request: () throws -> Void) throws -> Int32? {
    do {
      try request()
      return nil
    } catch let failure as NBDClient.Failure { return failure.errno }
  }

  private func health(_ site: Site) throws -> String {
    try TaplineContract.group("g", in: site.status())["health"]?.string ?? ""
  }

  private func refusal(_ site: Site) throws -> String {
    try site.writeConfiguration()
    let finished = try run(try TaplineBinary.path(), TaplineContract.site(site.configurationFile))
    #expect(finished.status == 1, "\(finished)")
    return finished.stderr
  }

  // MARK: Errors

  @Test(.canMount) func `a full store refuses what does not fit, and nothing else`() throws {
    let scratch = try ScratchDirectory()
    let mount = try Mount(tmpfs: "4m", in: scratch)
    let raw = try mount.sparseFile("full.raw", size: Self.size)
    let site = try Site("east", in: scratch)
    site.addDisk("full", size: Self.size, backing: "file:\(raw)", role: .plain)
    try site.addDisk("other", size: Self.size, role: .plain)
    try site.start()
    let client = try site.connect("full")
    let other = try site.connect("other")
    try client.write([UInt8](repeating: 1, count: 1 << 20), at: 0)
    // Of several pieces, of which the first fits: what is left of it must not count as a request.
    let long = [UInt8](repeating: 2, count: 6 << 20)
    #expect(try errno { try client.write(long, at: 1 << 20) } == ENOSPC)
    #expect(try errno { try client.write(long, at: 1 << 20, fua: true) } == ENOSPC)
    #expect(
      try errno { try client.zero(at: 0, count: Self.size, keepsSpace: true) } == ENOSPC)
    #expect(try client.read(at: UInt64(Self.size - 512), count: 512).allSatisfy { $0 == 0 })
    try other.write([3], at: 0)
    try other.flush()
    try site.connect("other").write([4], at: 1)
    try eventually("health says so") { try health(site).contains("no space left") }
    #expect(site.log.contains("disk full"), "\(site.log)")
    try run("mount", ["-o", "remount,size=32m", mount.path]).checked()
    try client.write(long, at: 1 << 20)
    try client.flush()
    #expect(try client.read(at: 1 << 20, count: long.count) == long)
    try eventually("health is well again") { try health(site) == "ok" }
  }

  /// A store whose flush fails while the file `broken` is there.
  private func fragile(_ scratch: ScratchDirectory, _ broken: String) throws -> Upstream {
    let file = try scratch.sparseFile("upstream.raw", size: Self.size)
    return try Upstream(
      [
        "eval", "get_size=stat -c %s \(file)", "can_write=exit 0", "can_flush=exit 0",
        "pread=dd if=\(file) bs=64K iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none",
        "pwrite=dd of=\(file) bs=64K oflag=seek_bytes conv=notrunc seek=$4 status=none",
        "flush=if [ -e \(broken) ]; then echo EIO broken >&2; exit 1; fi",
      ], in: scratch)
  }

  /// Also of a site that was killed: its writes may be in the store's memory only.
  @Test(.requires("nbdkit"))
  func `the first FLUSH after a restart covers what was answered before it`() throws {
    let scratch = try ScratchDirectory()
    let broken = scratch.file("broken")
    let upstream = try fragile(scratch, broken)
    let site = try Site("east", in: scratch)
    site.addDisk("disk", size: Self.size, backing: upstream.uri, role: .plain)
    try site.start()
    try site.connect("disk").write([1], at: 0)
    try site.crash()
    try site.start()
    let client = try site.connect("disk")
    try Data().write(to: URL(filePath: broken))
    #expect(try errno { try client.flush() } == EIO)
    try FileManager.default.removeItem(atPath: broken)
    try client.flush()
  }

  @Test(.requires("nbdkit"))
  func `a sync that fails is told to each client of the disk once, and to no other`() throws {
    let scratch = try ScratchDirectory()
    let broken = scratch.file("broken")
    let upstream = try fragile(scratch, broken)
    let site = try Site("east", in: scratch)
    site.addDisk("disk", size: Self.size, backing: upstream.uri, role: .plain)
    try site.addDisk("other", size: Self.size, role: .plain)
    try site.start()
    let (first, second) = (try site.connect("disk"), try site.connect("disk"))
    let other = try site.connect("other")
    try first.write([1], at: 0)
    try second.write([2], at: 4096)
    try other.write([3], at: 0)
    try Data().write(to: URL(filePath: broken))
    #expect(try errno { try first.flush() } == EIO)
    // The sync for it is one of all disks, and fails anew for the clients of the other one.
    #expect(try errno { try other.flush() } == nil)
    #expect(try errno { try first.write([1], at: 0, fua: true) } == EIO)
    try FileManager.default.removeItem(atPath: broken)
    #expect(try errno { try first.flush() } == nil)
    #expect(try errno { try second.flush() } == EIO)
    #expect(try errno { try second.flush() } == nil)
    #expect(try errno { try other.flush() } == nil)
    try eventually("health is well again") { try health(site) == "ok" }
  }

  // MARK: Beside a journal

  @Test func `disks that lack records of their journal are not served without it`() throws {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("disk", size: Self.size, role: .protected)
    site.configuration.groups[0].history = "1h"
    try site.start()
    let client = try site.connect("disk")
    for block in 0..<3 { try client.write([7], at: UInt64(block << 20)) }
    try client.flush()
    try site.crash()
    site.configuration.groups[0].role = .plain
    let text = try refusal(site)
    #expect(text.contains("records in") && text.contains("are not on the disks yet"), "\(text)")
    site.configuration.groups[0].role = .protected
    try site.start()
    #expect(try site.connect("disk").read(at: 2 << 20, count: 1) == [7])
  }

  @Test(arguments: ["damaged", "newer"])
  func `disks whose journal cannot be judged are not served without it`(state: String) throws {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("disk", size: Self.size, role: .protected)
    try site.start()
    try site.stop()
    let folder = try TaplineContract.journalDirectory(group: "g", site: site.configuration)
    let path = URL(filePath: folder + "/state")
    var bytes = try Data(contentsOf: path)
    for copy in [0, bytes.count / 2] {
      // The version follows the magic; the sum of the state comes last in the header.
      if state == "newer" { bytes[copy + 11] = 200 } else { bytes[copy + 40] ^= 1 }
    }
    try bytes.write(to: path)
    site.configuration.groups[0].role = .plain
    let text = try refusal(site)
    #expect(text.contains(state) && text.contains("holds a journal"), "\(text)")
  }

  @Test func `a journal whose disks were served without it is not gone on with`() throws {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("disk", size: Self.size, role: .protected)
    try site.start()
    try site.connect("disk").write([1], at: 0)
    try site.stop()
    site.configuration.groups[0].role = .plain
    for byte in UInt8(2)...3 {
      try site.start()
      #expect(try site.connect("disk").read(at: 0, count: 1) == [byte - 1])
      try site.connect("disk").write([byte], at: 0)
      try site.stop()
    }
    site.configuration.groups[0].role = .protected
    let text = try refusal(site)
    #expect(text.contains("served with role plain"), "\(text)")
    let folder = try TaplineContract.journalDirectory(group: "g", site: site.configuration)
    try FileManager.default.moveItem(atPath: folder, toPath: folder + ".old")
    try site.start()
    #expect(try site.connect("disk").read(at: 0, count: 1) == [3])
  }
}
