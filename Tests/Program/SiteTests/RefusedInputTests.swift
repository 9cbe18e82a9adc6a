import Foundation
import TestSupport
import Testing

/// Proves that a site refuses disks and folders that are not what its configuration and its journal
/// say, names what to do, and changes nothing.
@Suite(.scratch) struct RefusedInputTests {
  /// A stopped site with one disk of 1 MiB.
  private func stoppedSite() throws -> Site {
    let single = try SingleSite(size: 1 << 20)
    try single.site.connect("disk").write([7], at: 0)
    try single.site.stop()
    return single.site
  }

  private func start(_ site: Site) throws -> Finished {
    try site.configuration.yaml.write(
      toFile: site.configurationFile, atomically: false, encoding: .utf8)
    return try run(try TaplineBinary.path(), TaplineContract.site(site.configurationFile))
  }

  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let message: String
    /// Gets the site and the path of its raw disk.
    let change: @Sendable (Site, String) throws -> Void
  }

  private static func resize(_ path: String, _ size: UInt64) throws {
    try FileHandle(forUpdating: URL(fileURLWithPath: path)).truncate(atOffset: size)
  }

  static let cases = [
    Case(
      testDescription: "a missing disk", message: "does not exist: create it",
      change: { try FileManager.default.removeItem(atPath: $1) }),
    Case(
      testDescription: "a folder for a disk", message: "Is a directory",
      change: {
        try FileManager.default.removeItem(atPath: $1)
        try FileManager.default.createDirectory(atPath: $1, withIntermediateDirectories: false)
      }),
    Case(
      testDescription: "a disk that became smaller",
      message: "size is 512K, configuration says 1M", change: { try resize($1, 512 << 10) }),
    Case(
      testDescription: "an empty disk", message: "size is 0 bytes", change: { try resize($1, 0) }),
    Case(
      testDescription: "a disk that became larger", message: "size is 2M, configuration says 1M",
      change: { try resize($1, 2 << 20) }),
    Case(
      testDescription: "a smaller disk that the configuration knows",
      message: "a disk cannot be made smaller",
      change: {
        try resize($1, 512 << 10)
        $0.configuration.groups[0].disks[0].size = 512 << 10
      }),
    Case(
      testDescription: "another disk of the same name and another order", message: "of disk disk",
      change: { site, _ in site.configuration.groups[0].disks[0].name = "other" }),
    Case(
      testDescription: "one disk twice by a hard link", message: "a backing store has one user",
      change: { site, raw in
        let link = site.scratch.file("link.raw")
        try FileManager.default.linkItem(atPath: raw, toPath: link)
        site.addDisk(
          "twice", size: 1 << 20, backing: "file:\(link)", group: "h", role: .protected)
      }),
    Case(
      testDescription: "a file for the data folder", message: "Not a directory",
      change: { site, raw in site.configuration.data = raw }),
  ]

  @Test(arguments: cases) func `is refused with a remedy, and nothing changes`(wrong: Case) throws {
    let site = try stoppedSite()
    let folder = "\(site.configuration.data)/g"
    let before = try FolderBytes(folder)
    try wrong.change(site, site.rawFile("disk"))
    let refused = try start(site)
    #expect(refused.status == 1, "\(refused)")
    #expect(refused.stderr.contains(wrong.message), "\(refused)")
    #expect(try FolderBytes(folder) == before)
  }

  @Test func `one backing file is used by one site of a machine`() throws {
    let single = try SingleSite(size: 1 << 20)
    let other = try Site("north", in: single.scratch)
    let raw = single.site.rawFile("disk")
    other.addDisk("disk", size: 1 << 20, backing: "file:\(raw)", role: .protected)
    let refused = try start(other)
    #expect(refused.status == 1)
    #expect(refused.stderr.contains("in use"), "\(refused)")
    #expect(try single.site.connect("disk").read(at: 0, count: 1) == [0])
  }

  @Test(arguments: [false, true])
  func `a listener's path that leads to a file is refused and the file stays`(
    control: Bool
  ) throws {
    let site = try stoppedSite()
    let path = try site.scratch.socket("typo")
    try "a disk".write(toFile: path, atomically: false, encoding: .utf8)
    if control {
      site.configuration.control = "unix:\(path)"
    } else {
      site.configuration.nbd = ["unix:\(path)"]
    }
    let refused = try start(site)
    #expect(refused.status == 1)
    #expect(refused.stderr.contains("a file that is no socket has this path"), "\(refused)")
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "a disk")
  }

  @Test func `one data folder is used by one site, whatever their configurations`() throws {
    let single = try SingleSite(size: 1 << 20)
    let other = try Site("north", in: single.scratch)
    try other.addDisk("disk", size: 1 << 20, role: .protected)
    other.configuration.data = single.site.configuration.data
    let refused = try start(other)
    #expect(refused.status == 1)
    #expect(refused.stderr.contains("in use by another tapline process"), "\(refused)")
  }
}
