import Foundation
import TestSupport
import Testing

/// Proves that a disk works as a file of the host: through nbdfuse, for programs that know nothing
/// of NBD, and with a kernel's own file system on top of it.
@Suite(.scratch, .requires("nbdfuse", "fusermount3", "/dev/fuse")) struct MountTests {
  /// An nbdfuse process; unmounts when it is given up.
  private struct Mount {
    private let process: ChildProcess
    private let folder: String
    let file: String

    init(_ uri: String, in scratch: ScratchDirectory) throws {
      folder = try scratch.subdirectory("mount-\(UInt32.random(in: 0 ... .max))")
      file = "\(folder)/disk.raw"
      let (path, folder) = (file, folder)
      process = try ChildProcess("nbdfuse", [path, uri], logs: scratch)
      do {
        try eventually("nbdfuse serves") { FileManager.default.fileExists(atPath: path) }
      } catch {
        _ = try? run("fusermount3", ["-u", "-z", folder])
        throw error
      }
    }

    func end() throws {
      try run("fusermount3", ["-u", folder]).checked()
      #expect(try process.wait() == .exited(0))
    }

    /// For a test that fails.
    func abandon() { _ = try? run("fusermount3", ["-u", "-z", folder]) }
  }

  @Test func `a mounted disk is written, punched and read as a file`() throws {
    let single = try SingleSite(history: "1h")
    let mount = try Mount(single.uri, in: single.scratch)
    defer { mount.abandon() }
    var generator = SeededGenerator(seed: testSeed(1))
    let bytes = generator.bytes(300_000)
    let source = try single.scratch.write(bytes, to: "source.raw")
    try run(
      "dd",
      [
        "if=\(source)", "of=\(mount.file)", "bs=4096", "seek=7", "conv=notrunc,fsync",
        "status=none",
      ]
    ).checked()
    try run("fallocate", ["-p", "-o", "32768", "-l", "65536", mount.file]).checked()
    var expected = [UInt8](repeating: 0, count: 7 * 4096) + bytes
    expected.replaceSubrange(32768..<32768 + 65536, with: repeatElement(0, count: 65536))
    let file = [UInt8](try Data(contentsOf: URL(filePath: mount.file)).prefix(expected.count))
    #expect(difference(file, expected) == nil)
    let image = try single.site.image("disk")
    #expect(difference(Array(image.prefix(expected.count)), expected) == nil)
    try mount.end()
  }

  @Test func `an instant is mounted read-only`() throws {
    let single = try SingleSite(history: "1h")
    let client = try single.site.connect("disk")
    try client.write([UInt8](repeating: 1, count: 4096), at: 0)
    let instant = quietInstant()
    try client.write([UInt8](repeating: 2, count: 4096), at: 0)
    let mount = try Mount(single.site.uri("disk@\(rfc3339(instant))"), in: single.scratch)
    defer { mount.abandon() }
    let handle = try #require(FileHandle(forReadingAtPath: mount.file))
    #expect(try handle.read(upToCount: 4096) == Data(repeating: 1, count: 4096))
    try handle.close()
    let writing = try run(
      "dd", ["if=/dev/zero", "of=\(mount.file)", "bs=512", "count=1", "conv=notrunc"])
    #expect(writing.status != 0, "\(writing)")
    try mount.end()
  }

  /// The kernel's ext4 sends writes, flushes and trims of its own making.
  @Test(.requires("losetup", "mkfs.ext4", "mount", "fstrim", "/dev/loop-control"))
  func `a file system on a mounted disk survives the crash of the site`() throws {
    let single = try SingleSite(size: 64 << 20, history: "1h")
    let mount = try Mount(single.uri, in: single.scratch)
    defer { mount.abandon() }
    let device = try run("losetup", ["-f", "--show", mount.file]).checked().stdout
      .trimmingCharacters(in: .whitespacesAndNewlines)
    defer { _ = try? run("losetup", ["-d", device]) }
    try run("mkfs.ext4", ["-q", device]).checked()
    let folder = try single.scratch.subdirectory("files")
    try run("mount", [device, folder]).checked()
    defer { _ = try? run("umount", ["-l", folder]) }
    for number in 1...50 {
      try Data(repeating: UInt8(number), count: number * 3000)
        .write(to: URL(filePath: "\(folder)/file-\(number)"))
    }
    try run("sync", ["-f", folder]).checked()
    for number in 1...10 {
      try FileManager.default.removeItem(atPath: "\(folder)/file-\(number)")
    }
    try run("fstrim", [folder]).checked()
    try run("umount", [folder]).checked()
    try run("losetup", ["-d", device]).checked()
    try mount.end()

    try single.site.crash()
    try single.site.start()
    let copy = single.scratch.file("copy.raw")
    try run("nbdcopy", [single.uri, copy]).checked()
    try run("e2fsck", ["-fn", copy]).checked()
    try run("mount", ["-o", "loop,ro", copy, folder]).checked()
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter {
      $0.hasPrefix("file-")
    }
    #expect(names.count == 40)
    let last = try Data(contentsOf: URL(filePath: "\(folder)/file-50"))
    #expect(last == Data(repeating: 50, count: 150_000))
    try run("umount", [folder]).checked()
  }
}
