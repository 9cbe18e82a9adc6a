import Foundation
import TestSupport
import Testing

/// Proves what a running site does with a configuration that was changed: it takes over what can be
/// while clients go on, names what cannot, and changes nothing at all when anything is wrong.
@Suite(.scratch) struct ReloadTests {
  private static let old = 1 << 20
  private static let new = 3 << 20

  private func fileSize(_ path: String) throws -> Int {
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    return try #require(attributes[.size] as? Int)
  }

  // MARK: What is said

  @Test func `what has grown is told, and what needs a restart is named`() throws {
    let single = try SingleSite(size: Self.old)
    single.site.setSize(Self.new)
    single.site.configuration.groups[0].history = "1h"
    let finished = try single.site.reload().checked()
    let json = try JSON(finished.stdout)
    #expect(json["grown"]?.elements.first?["disk"]?.string == "disk")
    #expect(json["grown"]?.elements.first?["from_bytes"]?.integer == Self.old)
    #expect(json["grown"]?.elements.first?["to_bytes"]?.integer == Self.new)
    let lines = json["needs_restart"]?.elements.compactMap(\.string)
    #expect(lines == ["group g: history: 0s -> 1h"])
    // Until it is started anew.
    let again = try JSON(try single.site.reload().checked().stdout)
    #expect(again["grown"]?.elements.count == 0)
    #expect(again["needs_restart"]?.elements.count == 1)
    try single.site.stop()
    try single.site.start()
    let after = try JSON(try single.site.reload().checked().stdout)
    #expect(after["needs_restart"]?.elements.count == 0)
  }

  @Test func `the text says the same to people`() throws {
    let single = try SingleSite(size: Self.old)
    single.site.setSize(Self.new)
    try single.site.writeConfiguration()
    let arguments = ["reload", "--config", single.site.configurationFile]
    let finished = try single.site.tapline(arguments).checked()
    #expect(finished.stdout.contains("disk disk of group g: 1M -> 3M"), "\(finished)")
    #expect(try single.site.tapline(arguments).stdout.contains("nothing has changed"))
  }

  @Test func `SIGHUP does the same, and the log says so`() throws {
    let single = try SingleSite(size: Self.old)
    single.site.setSize(Self.new)
    single.site.configuration.groups[0].applyEvery = "2s"
    try single.site.writeConfiguration()
    single.site.signal(SIGHUP)
    try eventually("the disk has grown") {
      try single.site.connect("disk").size == Self.new
    }
    try eventually("the log tells") {
      single.site.log.contains("disk disk has grown from 1M to 3M")
        && single.site.log.contains("needs a restart: group g: apply_every: 200ms -> 2s")
    }
    // A wrong one ends nothing.
    try "groups: [".write(
      toFile: single.site.configurationFile, atomically: false, encoding: .utf8)
    single.site.signal(SIGHUP)
    try eventually("the log tells") { single.site.log.contains("nothing was changed") }
    #expect(try single.site.connect("disk").size == Self.new)
    try single.site.stop()
  }

  // MARK: Refusals

  struct Wrong: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let key: String
    let replacement: String
    let words: String
    var status: Int32 = 1
    /// The message names the file and this line's number.
    var line: String?
  }

  /// Each beside a greater size of another disk, which must then not be taken over either.
  static let wrong = [
    Wrong(
      testDescription: "an unknown key", key: "history: 0s", replacement: "histroy: 0s",
      words: "histroy", status: 2, line: "histroy"),
    Wrong(
      testDescription: "no YAML", key: "groups:", replacement: "groups: [", words: "YAML",
      status: 2),
    Wrong(
      testDescription: "a smaller size", key: "size: 1048576", replacement: "size: 512K",
      words: "a disk cannot be made smaller", line: "name: disk,"),
    Wrong(
      testDescription: "a size that the file system does not have", key: "size: 1048576",
      replacement: "size: \(Int.max)", words: "make larger", line: "name: disk,"),
    Wrong(
      testDescription: "a mode that is not supported", key: "mode: async",
      replacement: "mode: sync", words: "mode sync is not supported"),
  ]

  @Test(arguments: wrong) func `what is wrong is named and nothing is changed`(wrong: Wrong) throws
  {
    let single = try SingleSite(size: Self.old) { site in
      try site.addDisk("other", size: Self.old, role: .protected)
    }
    let site = single.site
    let client = try site.connect("disk")
    site.setSize(Self.new, of: "other")
    let yaml = site.configuration.yaml
    let range = try #require(yaml.range(of: wrong.key))
    let text = yaml.replacingCharacters(in: range, with: wrong.replacement)
    try text.write(toFile: site.configurationFile, atomically: false, encoding: .utf8)
    let finished = try site.tapline(TaplineContract.reload(site: site.configuration))
    #expect(finished.status == wrong.status, "\(finished)")
    #expect(finished.stderr.contains(wrong.words), "\(finished)")
    #expect(finished.stderr.contains("nothing was changed"), "\(finished)")
    if let key = wrong.line {
      let before = text[..<(try #require(text.range(of: key))).lowerBound]
      let number = before.count { $0 == "\n" } + 1
      #expect(finished.stderr.contains("\(site.configurationFile):\(number): "), "\(finished)")
    }
    #expect(try site.connect("other").size == Self.old)
    #expect(try fileSize(site.rawFile("other")) == Self.old)
    #expect(try fileSize(site.rawFile("disk")) == Self.old)
    try client.write([1], at: UInt64(Self.old) - 1, fua: true)
  }

  @Test func `a command whose own configuration is wrong says that nothing was changed`() throws {
    let single = try SingleSite(size: Self.old)
    try "site: [".write(
      toFile: single.site.configurationFile, atomically: false, encoding: .utf8)
    let finished = try single.site.tapline(["reload", "--config", single.site.configurationFile])
    #expect(finished.status == 2)
    #expect(finished.stderr.contains("nothing was changed"), "\(finished)")
  }

  @Test func `without a site the exit code is 3`() throws {
    let single = try SingleSite(size: Self.old)
    try single.site.stop()
    #expect(try single.site.reload().status == 3)
  }

  // MARK: Stores

  @Test(.requires("nbdkit")) func `an upstream server must have the size already`() throws {
    let scratch = try ScratchDirectory()
    let file = try scratch.sparseFile("upstream.raw", size: Self.old)
    let upstream = try scratch.socket("upstream.sock")
    let server = try ChildProcess("nbdkit", ["-f", "-U", upstream, "file", file], logs: scratch)
    try eventually("nbdkit listens") { RawConnection.isListening(unix: upstream) }
    let site = try Site("east", in: scratch)
    site.addDisk(
      "disk", size: Self.old, backing: "nbd+unix:///?socket=\(upstream)", role: .protected)
    try site.start()
    let client = try site.connect("disk")
    try client.write([1, 2], at: UInt64(Self.old) - 2)
    site.setSize(Self.new)
    let refused = try site.reload()
    #expect(refused.status == 1)
    #expect(refused.stderr.contains("size is 1M, configuration says 3M"), "\(refused)")
    #expect(refused.stderr.contains("nothing was changed"), "\(refused)")
    #expect(unsafe truncate(file, Self.new) == 0)
    try site.reload().checked()
    let grown = try site.connect("disk")
    try grown.write([3], at: UInt64(Self.new) - 1, fua: true)
    try client.write([4], at: 0, fua: true)
    try site.stop()
    try server.terminate()
    let bytes = [UInt8](try Data(contentsOf: URL(filePath: file)))
    #expect(bytes[0] == 4 && bytes[Self.old - 2] == 1 && bytes[Self.new - 1] == 3)
  }

  @Test(.requires("losetup", "/dev/loop-control"))
  func `a device must have the size already`() throws {
    let scratch = try ScratchDirectory()
    let file = try scratch.sparseFile("device.raw", size: Self.old)
    let device = try run("losetup", ["-f", "--show", file]).checked().stdout
      .trimmingCharacters(in: .whitespacesAndNewlines)
    defer { _ = try? run("losetup", ["-d", device]) }
    let site = try Site("east", in: scratch)
    site.addDisk("disk", size: Self.old, backing: "file:\(device)", role: .protected)
    try site.start()
    let client = try site.connect("disk")
    site.setSize(Self.new)
    #expect(try site.reload().stderr.contains("size is 1M, configuration says 3M"))
    #expect(unsafe truncate(file, Self.new) == 0)
    try run("losetup", ["--set-capacity", device]).checked()
    try site.reload().checked()
    try site.connect("disk").write([3], at: UInt64(Self.new) - 1)
    try client.write([4], at: 0)
    try site.stop()
    let copy = scratch.file("copy.raw")
    try run("dd", ["if=\(device)", "of=\(copy)", "bs=1M", "status=none"]).checked()
    let bytes = [UInt8](try Data(contentsOf: URL(filePath: copy)))
    #expect(bytes.count == Self.new && bytes[0] == 4 && bytes[Self.new - 1] == 3)
  }

  @Test func `a plain disk grows, too`() throws {
    let site = try Site("east", in: try ScratchDirectory())
    try site.addDisk("disk", size: Self.old, role: .plain)
    try site.start()
    let client = try site.connect("disk")
    try site.grow(to: Self.new)
    try site.connect("disk").write([3], at: UInt64(Self.new) - 1, fua: true)
    try client.write([4], at: 0, fua: true)
    try site.stop()
    let bytes = [UInt8](try Data(contentsOf: URL(filePath: site.rawFile("disk"))))
    #expect(bytes.count == Self.new && bytes[0] == 4 && bytes[Self.new - 1] == 3)
  }

  @Test func `without a size in the configuration the store's own counts`() throws {
    let site = try Site("east", in: try ScratchDirectory())
    try site.addDisk("disk", size: Self.old, role: .protected)
    let yaml = site.configuration.yaml.replacing("size: \(Self.old), ", with: "")
    try site.start()
    try yaml.write(toFile: site.configurationFile, atomically: false, encoding: .utf8)
    func reload() throws -> Finished {
      try site.tapline(TaplineContract.reload(site: site.configuration))
    }
    #expect(try JSON(try reload().checked().stdout)["grown"]?.elements.count == 0)
    #expect(unsafe truncate(site.rawFile("disk"), Self.new) == 0)
    #expect(try JSON(try reload().checked().stdout)["grown"]?.elements.count == 1)
    #expect(try site.connect("disk").size == Self.new)
    #expect(unsafe truncate(site.rawFile("disk"), Self.old) == 0)
    let refused = try reload()
    #expect(refused.status == 1)
    #expect(refused.stderr.contains("has become smaller than the disk"), "\(refused)")
  }
}
