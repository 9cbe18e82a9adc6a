import Foundation
import TestSupport
import Testing

/// Proves what a site does with each kind of damage to a journal folder: it starts when nothing
/// that was durable is affected, or else says what is wrong and what to do, changes nothing, and
/// leaves everything readable to `journal verify` and `journal export --salvage`.
@Suite(.scratch) struct DamagedJournalTests {
  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// Texts that the refusal contains; nil when the site starts.
    var refusal: [String]?
    /// A file or a text that `verify` names; nil when it finds no damage.
    var verified: String?
    /// Records that the salvaged disk has at least; the scene has 100.
    var salvaged = 100
    var disk = "disk"
    let harm: @Sendable (Scene) throws -> Void
  }

  /// A killed site whose journal holds all 100 writes of its disk in seven segments.
  struct Scene {
    let site: Site
    let folder: String
    /// The disk after each write.
    let states: [[UInt8]]

    static let writes = 100
    private static let length = 16 << 10
    private static let recordsASegment = 15
    /// Of each of the state file's two.
    static let copyByteCount = 256 << 10

    init() throws {
      let single = try SingleSite(size: 1 << 20, history: "1h", segmentSize: "256K") {
        $0.configuration.groups[0].checkpointEvery = "0s"
      }
      site = single.site
      let client = try site.connect("disk")
      var generator = SeededGenerator(seed: testSeed(1))
      var state = [UInt8](repeating: 0, count: 1 << 20)
      var states = [state]
      for _ in 0..<Self.writes {
        let offset = Int.random(in: 0..<64, using: &generator) * Self.length
        let bytes = generator.bytes(Self.length)
        try client.write(bytes, at: UInt64(offset))
        state.replaceSubrange(offset..<offset + Self.length, with: bytes)
        states.append(state)
      }
      try client.flush()
      self.states = states
      folder = "\(site.configuration.data)/g"
      // The state file hears of it a moment later.
      let folder = folder
      try eventually("the state file says that all is durable") {
        try Self.durable(folder) >= UInt64(Self.writes)
      }
      // All segments but the last get one.
      try eventually("the sealed segments have their indexes") {
        let names = try FileManager.default.contentsOfDirectory(atPath: folder)
        return names.count { $0.hasSuffix(".index") } >= Self.writes / Self.recordsASegment
      }
      try site.crash()
    }

    /// By the description of the state file in the journal's format.
    private static func durable(_ folder: String) throws -> UInt64 {
      let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/state")))
      func number(_ position: Int, _ count: Int = 8) -> UInt64 {
        bytes[position..<position + count].reduce(0) { $0 << 8 | UInt64($1) }
      }
      let copies = [0, copyByteCount].map { (generation: number($0 + 12), body: $0 + 28) }
      guard let newest = copies.max(by: { $0.generation < $1.generation }) else { return 0 }
      let folder = newest.body + 2 + Int(number(newest.body, 2)) + 16
      let lineage = folder + 2 + Int(number(folder, 2)) + 10 + 11
      return number(lineage + 2 + Int(number(lineage, 2)) * 64 + 32)
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// The file of segment `number`, and where write `index` of it (from 0) begins.
    func segment(_ number: Int) throws -> String {
      let list = try site.tapline(TaplineContract.journal("ls", folder, "--json")).checked()
      let found = try JSON(list.stdout).elements.first { $0["number"]?.integer == number }
      guard let file = found?["file"]?.string else { throw RigError("no segment \(number)") }
      return file
    }

    func position(_ index: Int) -> Int { 4096 + index * (28 + Self.length) }

    func change(_ name: String, at position: Int, _ bytes: [UInt8]? = nil) throws {
      let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path(name)))
      defer { try? handle.close() }
      try handle.seek(toOffset: UInt64(position))
      let old = try handle.read(upToCount: 1)?.first ?? 0
      try handle.seek(toOffset: UInt64(position))
      try handle.write(contentsOf: Data(bytes ?? [old ^ 0x10]))
    }

    func truncate(_ name: String, to byteCount: Int) throws {
      try FileHandle(forUpdating: URL(fileURLWithPath: path(name)))
        .truncate(atOffset: UInt64(byteCount))
    }

    func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: path(name)) }
  }

  private static let damaged = ["journal is damaged: records up to 100 were durable", "--salvage"]

  static let cases = [
    Case(
      testDescription: "a bit of a payload in the first segment", refusal: damaged,
      verified: "record 4 does not verify", salvaged: 3,
      harm: {
        try $0.change($0.segment(1), at: $0.position(3) + 5000)
        // With a sidecar the segment is not read at the start: see below.
        try $0.remove("\($0.segment(1)).index")
      }),
    Case(
      testDescription: "a bit of a record's header in the newest segment", refusal: damaged,
      verified: "record 92 does not verify", salvaged: 91,
      harm: { try $0.change($0.segment(7), at: $0.position(1) + 9) }),
    Case(
      testDescription: "the last record of all", refusal: damaged,
      verified: "record 100 was durable and does not verify", salvaged: 99,
      harm: { try $0.change($0.segment(7), at: $0.position(9) + 100) }),
    Case(
      testDescription: "a truncated segment", refusal: damaged,
      verified: "the file ends here", salvaged: 17,
      harm: { try $0.truncate($0.segment(2), to: $0.position(2) + 10) }),
    Case(
      testDescription: "an empty segment file", refusal: damaged,
      verified: "fewer than a header", salvaged: 15,
      harm: { try $0.truncate($0.segment(2), to: 0) }),
    Case(
      testDescription: "a missing segment", refusal: damaged,
      verified: "segment 4 follows segment 2", salvaged: 30,
      harm: { try $0.remove($0.segment(3)) }),
    Case(
      testDescription: "a missing first segment", refusal: damaged,
      verified: "records 1 to 15, which come before it, are missing", salvaged: 0,
      harm: { try $0.remove($0.segment(1)) }),
    Case(
      testDescription: "a header between whole segments", refusal: damaged,
      verified: "the header does not verify", salvaged: 100,
      harm: { try $0.change($0.segment(3), at: 50) }),
    Case(
      testDescription: "a folder in place of a segment",
      refusal: ["opening the segment files", "Is a directory"],
      verified: "cannot be read", salvaged: 30,
      harm: {
        let name = try $0.segment(3)
        try $0.remove(name)
        try FileManager.default.createDirectory(
          atPath: $0.path(name), withIntermediateDirectories: false)
      }),
    Case(
      testDescription: "a segment of a newer version",
      refusal: ["newer version of tapline (format 17)"],
      verified: "newer version of tapline (format 17)", salvaged: 15,
      harm: { scene in
        let name = try scene.segment(2)
        var header = Array(try Data(contentsOf: URL(fileURLWithPath: scene.path(name)))[..<4092])
        header[11] = 17
        try scene.change(name, at: 0, header + crc32c(header))
      }),
    Case(
      testDescription: "a segment of another group beside", refusal: ["another group", "move"],
      verified: "of another group",
      harm: { scene in
        let other = try Scene()
        try FileManager.default.copyItem(
          atPath: other.path(try other.segment(1)), toPath: scene.path("segment-00099"))
      }),
    Case(
      testDescription: "a missing state file", refusal: ["state is missing", "--salvage"],
      verified: "state", disk: "#0", harm: { try $0.remove("state") }),
    Case(
      testDescription: "a blank state file", refusal: ["state was never written", "--salvage"],
      verified: "never written", disk: "#0",
      harm: {
        try $0.truncate("state", to: 0)
        try $0.truncate("state", to: 64 << 10)
      }),
    Case(
      testDescription: "an empty state file", refusal: ["state was never written", "--salvage"],
      verified: "never written", disk: "#0", harm: { try $0.truncate("state", to: 0) }),
    Case(
      testDescription: "both copies of the state", refusal: ["state is damaged", "--salvage"],
      verified: "neither of its two copies", disk: "#0",
      harm: {
        try $0.change("state", at: 60)
        try $0.change("state", at: Scene.copyByteCount + 60)
      }),
    Case(
      testDescription: "a state file of a newer version",
      refusal: ["written by a newer version", "start that version"], verified: "newer version",
      disk: "#0", harm: { try $0.change("state", at: 11) }),
    Case(
      testDescription: "a folder in place of the state file", refusal: ["state", "Is a directory"],
      verified: "state", disk: "#0",
      harm: {
        try $0.remove("state")
        try FileManager.default.createDirectory(
          atPath: $0.path("state"), withIntermediateDirectories: false)
      }),
    Case(
      testDescription: "one torn copy of the state",
      harm: { scene in
        // The one that is not in force: the older generation.
        let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: scene.path("state"))))
        let isFirstNewer = bytes[19] > bytes[Scene.copyByteCount + 19]
        try scene.change("state", at: (isFirstNewer ? Scene.copyByteCount : 0) + 60)
      }),
    Case(
      testDescription: "a torn sidecar",
      harm: { try $0.change("\($0.segment(1)).index", at: 200) }),
    Case(testDescription: "a missing sidecar", harm: { try $0.remove("\($0.segment(2)).index") }),
    Case(
      testDescription: "the beginning of a record that was never durable",
      harm: { scene in
        let name = try scene.segment(7)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: scene.path(name)))
        let record = bytes[scene.position(9)..<scene.position(9) + 3000]
        try scene.change(name, at: scene.position(10), Array(record))
      }),
    Case(
      testDescription: "files of others",
      harm: {
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: $0.path("notes.txt")))
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: $0.path("segment-00099.new")))
      }),
  ]

  @Test(arguments: cases)
  func `is refused with a remedy and without a loss, or harmless`(damage: Case) throws {
    let scene = try Scene()
    let whole = try FolderBytes(scene.folder)
    try damage.harm(scene)
    let before = try FolderBytes(scene.folder)

    let verify = try scene.site.tapline(TaplineContract.journal("verify", scene.folder))
    #expect(verify.status == (damage.verified == nil ? 0 : 1), "\(verify)")
    if let named = damage.verified {
      #expect(verify.stderr.contains(named), "\(verify)")
      #expect(verify.stderr.contains("do: "), "\(verify)")
    }
    try salvage(scene, damage)
    #expect(try FolderBytes(scene.folder) == before)

    guard let refusal = damage.refusal else {
      try scene.site.start()
      #expect(difference(try scene.site.image("disk"), scene.states[Scene.writes]) == nil)
      return
    }
    let start = try run(
      try TaplineBinary.path(), TaplineContract.site(scene.site.configurationFile))
    #expect(start.status == 1, "\(start)")
    for text in refusal { #expect(start.stderr.contains(text), "\(start)") }
    #expect(try FolderBytes(scene.folder) == before)
    // Nothing was lost by the attempt.
    try whole.restore(to: scene.folder)
    try scene.site.start()
    #expect(difference(try scene.site.image("disk"), scene.states[Scene.writes]) == nil)
  }

  /// A start does not read a segment that has a sidecar, but apply does.
  @Test func `damage behind a sidecar stops apply before it reaches the disk`() throws {
    let scene = try Scene()
    let name = try scene.segment(2)
    #expect(FileManager.default.fileExists(atPath: scene.path("\(name).index")))
    try scene.change(name, at: scene.position(4) + 5000)
    let site = scene.site
    site.configuration.groups[0].history = "0s"
    try site.start()
    try eventually("apply is stopped") {
      let health = try TaplineContract.group("g", in: site.status())["health"]?.string ?? ""
      return health.contains("record 20 in segment 2 does not verify")
        && health.contains("--salvage")
    }
    // What came before it may be on the disk by now, or not; the record itself is not.
    let raw = Array(try Data(contentsOf: URL(fileURLWithPath: site.rawFile("disk"))))
    #expect(scene.states[0...19].contains(raw))
    try site.crash()
    let target = site.scratch.file("salvaged.raw")
    try site.tapline([
      "journal", "export", scene.folder, "--disk", "disk", "--base", site.rawFile("disk"),
      "--to", target, "--salvage",
    ]).checked(4)
    let salvaged = Array(try Data(contentsOf: URL(fileURLWithPath: target)))
    #expect(difference(salvaged, scene.states[19]) == nil)
  }

  /// With a long history a record lies in the journal for days before it is applied.
  @Test(.requires("qemu-io")) func `damage to an old record stops apply while the site runs`()
    throws
  {
    let scratch = try ScratchDirectory()
    let site = try Site("east", in: scratch)
    try site.addDisk("disk", size: 16 << 20, role: .protected)
    site.configuration.groups[0].history = "1h"
    site.configuration.groups[0].segmentSize = "256K"
    site.configuration.groups[0].journalCapacity = "4M"
    try site.start()
    try run("qemu-io", ["-f", "raw", "-c", "write -P 7 0 64k", site.uri("disk")]).checked()
    try flip(7, at: 8192, inSegmentOf: "\(site.configuration.data)/g")

    // Fills the journal, which has to apply what is old then; and waits for it.
    let client = try ChildProcess(
      "qemu-io", ["-f", "raw", "-c", "write -P 9 1M 8M", site.uri("disk")], name: "client",
      logs: scratch)
    try eventually("apply is stopped") {
      let health = try TaplineContract.group("g", in: site.status())["health"]?.string ?? ""
      return health.contains("in segment 1 does not verify") && health.contains("--salvage")
    }
    let raw = try Data(contentsOf: URL(fileURLWithPath: site.rawFile("disk")))
    #expect(raw[4096] == 0)
    try site.crash()
    client.kill(SIGKILL)
  }

  /// Changes the byte in the one segment file that has it there.
  private func flip(_ byte: UInt8, at offset: UInt64, inSegmentOf folder: String) throws {
    for name in try FileManager.default.contentsOfDirectory(atPath: folder)
    where name.hasPrefix("segment-") {
      let file = try FileHandle(forUpdating: URL(fileURLWithPath: "\(folder)/\(name)"))
      try file.seek(toOffset: offset)
      guard try file.read(upToCount: 1) == Data([byte]) else { continue }
      try file.seek(toOffset: offset)
      return try file.write(contentsOf: Data([byte ^ 1]))
    }
    throw RigError("no segment in \(folder) has \(byte) at \(offset)")
  }

  private func salvage(_ scene: Scene, _ damage: Case) throws {
    let target = scene.site.scratch.file("salvaged.raw")
    let base = scene.site.rawFile("disk")
    let arguments = [
      "--disk", damage.disk, "--base", base, "--to", target, "--force", "--salvage", "--json",
    ]
    let prefix = try scene.site.tapline(
      ["journal", "export", scene.folder] + arguments)
    #expect(prefix.status == (damage.salvaged == Scene.writes ? 0 : 4), "\(prefix)")
    let report = try JSON(prefix.stdout)
    #expect(report["records"]?.integer == damage.salvaged, "\(prefix)")
    let image = Array(try Data(contentsOf: URL(fileURLWithPath: target)))
    #expect(difference(image, scene.states[damage.salvaged]) == nil)
    let past = try scene.site.tapline(
      ["journal", "export", scene.folder, "--past-damage"] + arguments
    ).checked(0, 4)
    let found = try JSON(past.stdout)
    let lost = found["salvage"]?["left_out_records"]?.integer ?? -1
    #expect(found["records"]?.integer == Scene.writes - lost, "\(past)")
  }
}

/// Standard form, big-endian.
private func crc32c(_ bytes: [UInt8]) -> [UInt8] {
  var sum = UInt32.max
  for byte in bytes {
    sum ^= UInt32(byte)
    for _ in 0..<8 { sum = sum & 1 == 1 ? sum >> 1 ^ 0x82F6_3B78 : sum >> 1 }
  }
  sum = ~sum
  return (0..<4).map { UInt8(truncatingIfNeeded: sum >> UInt32(24 - 8 * $0)) }
}
