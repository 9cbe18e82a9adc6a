import BlockModel
import Foundation
import Journal
import JournalTools
import SystemIO
import Testing

/// Proves that an exported disk is byte for byte what a plain replay of its writes gives, at every
/// instant, and that nothing is overwritten or promised wrongly.
@Suite struct JournalExportTests {
  private static let now = Timestamp(rfc3339: "2026-11-21T11:00:00Z")!
  private static let size = Int(JournalFixture.disks[0].byteCount)

  private static func read(_ path: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  private static func request(
    _ fixture: JournalFixture, at instant: String = "latest", base: String? = nil,
    replaces: Bool = false
  ) throws -> ExportRequest {
    ExportRequest(
      disk: "root", target: fixture.path + "/out.raw",
      instant: try InstantExpression(parsing: instant), base: base, replacesTarget: replaces)
  }

  /// Six records on disk `root` and one elsewhere; the disk after each of them.
  private static func history(_ fixture: JournalFixture, base: [UInt8]) throws -> [[UInt8]] {
    var disk = base
    var states = [disk]
    func put(_ range: Range<Int>, _ value: UInt8) {
      disk.replaceSubrange(range, with: repeatElement(value, count: range.count))
      states.append(disk)
    }
    try fixture.append(.write, offset: 4096, length: 4096, fill: 1)
    put(4096..<8192, 1)
    try fixture.append(.write, offset: 5000, length: 1, fill: 2)
    put(5000..<5001, 2)
    try fixture.append(.trim, offset: 0, length: 4500)
    put(0..<4500, 0)
    try fixture.append(.write, disk: 1, offset: 0, length: 4096, fill: 9)
    states.append(disk)
    try fixture.append(.checkpoint, tag: "here")
    states.append(disk)
    try fixture.append(.zero, offset: 65_536, length: 100_000)
    put(65_536..<165_536, 0)
    try fixture.append(.write, offset: UInt64(size - 512), length: 512, fill: 3)
    put((size - 512)..<size, 3)
    return states
  }

  private static func baseImage() -> [UInt8] {
    (0..<size).map { $0 / 65_536 % 3 == 1 ? 0 : UInt8(truncatingIfNeeded: $0 &* 31 >> 4 | 1) }
  }

  @Test(arguments: 1...7)
  func diskAtEachInstantEqualsAPlainReplay(_ second: Int) throws {
    let fixture = try JournalFixture()
    let base = Self.baseImage()
    let basePath = fixture.path + "/base.raw"
    try Data(base).write(to: URL(fileURLWithPath: basePath))
    let states = try Self.history(fixture, base: base)
    let request = try Self.request(
      fixture, at: "2026-11-21T10:00:0\(second).5Z", base: basePath)
    let outcome = try fixture.folder().export(request, now: Self.now)
    #expect(try Self.read(request.target) == states[second])
    #expect(outcome.firstSequence == 1)
    #expect(outcome.lastSequence == UInt64(second))
    #expect(outcome.lastInstant == "2026-11-21T10:00:0\(second)Z")
    #expect(outcome.notes == [])
  }

  @Test func withoutABaseTheRestIsZeros() throws {
    let fixture = try JournalFixture()
    let states = try Self.history(fixture, base: [UInt8](repeating: 0, count: Self.size))
    let request = try Self.request(fixture)
    let outcome = try fixture.folder().export(request, now: Self.now)
    #expect(try Self.read(request.target) == states.last)
    #expect(outcome.records == 5)
    #expect(outcome.writtenBytes == 4096 + 1 + 512)
    #expect(outcome.sizeBytes == UInt64(Self.size))
  }

  @Test(arguments: [("checkpoint:here", 5), ("-3595s", 5), ("-3598.5s", 1), ("latest", 7)])
  func instantsAreResolved(_ instant: String, _ lastSequence: UInt64) throws {
    let fixture = try JournalFixture()
    _ = try Self.history(fixture, base: [UInt8](repeating: 0, count: Self.size))
    let request = try Self.request(fixture, at: instant)
    let outcome = try fixture.folder().export(request, now: Self.now)
    #expect(outcome.lastSequence == lastSequence)
  }

  /// Zeros are not what the disk was before its first record.
  @Test func `an instant before the first record needs a base`() throws {
    let fixture = try JournalFixture()
    let base = Self.baseImage()
    _ = try Self.history(fixture, base: base)
    let basePath = fixture.path + "/base.raw"
    try Data(base).write(to: URL(fileURLWithPath: basePath))
    let early = "2026-11-21T10:00:00.5Z"
    let without = try Self.request(fixture, at: early)
    #expect(throws: JournalToolsError.self) {
      try fixture.folder().export(without, now: Self.now)
    }
    #expect(!SystemIO.Directory.exists(without.target))
    let with = try Self.request(fixture, at: early, base: basePath)
    _ = try fixture.folder().export(with, now: Self.now)
    #expect(try Self.read(with.target) == base)
  }

  @Test(arguments: ["checkpoint:elsewhere", "2026-11-21T09:00:00Z"])
  func instantsThatAreNotThereAreRefused(_ instant: String) throws {
    let fixture = try JournalFixture()
    _ = try Self.history(fixture, base: [UInt8](repeating: 0, count: Self.size))
    fixture.state.applied = .init(SequenceNumber(1), Timestamp(rfc3339: "2026-11-21T10:00:01Z")!)
    try fixture.saveState(isClean: false)
    let request = try Self.request(fixture, at: instant)
    #expect(throws: JournalToolsError.self) {
      try fixture.folder().export(request, now: Self.now)
    }
    #expect(!SystemIO.Directory.exists(request.target))
  }

  @Test func existingFileIsReplacedOnlyWhenAsked() throws {
    let fixture = try JournalFixture()
    try fixture.fill(3)
    let target = fixture.path + "/out.raw"
    try Data("precious".utf8).write(to: URL(fileURLWithPath: target))
    #expect(throws: JournalToolsError.refused("\(target) exists; --force replaces it")) {
      try fixture.folder().export(try Self.request(fixture), now: Self.now)
    }
    #expect(try Self.read(target) == Array("precious".utf8))
    _ = try fixture.folder().export(try Self.request(fixture, replaces: true), now: Self.now)
    #expect(try Self.read(target).count == Self.size)
  }

  @Test func baseOfAnotherSizeIsRefusedAndLeavesNothing() throws {
    let fixture = try JournalFixture()
    try fixture.fill(3)
    let base = fixture.path + "/base.raw"
    try Data(count: 5).write(to: URL(fileURLWithPath: base))
    let request = try Self.request(fixture, base: base)
    #expect(throws: JournalToolsError.refused("\(base) has 5 bytes and the disk \(Self.size)")) {
      try fixture.folder().export(request, now: Self.now)
    }
    let left = try SystemIO.Directory.names(in: fixture.path).filter { $0.hasPrefix("out.raw") }
    #expect(left == [])
  }

  @Test func baseThatMayBeNewerThanTheInstantIsNoted() throws {
    let fixture = try JournalFixture()
    _ = try Self.history(fixture, base: [UInt8](repeating: 0, count: Self.size))
    try fixture.applyAndRecycle(
      through: SequenceNumber(4), at: Timestamp(rfc3339: "2026-11-21T10:00:04Z")!)
    let base = fixture.path + "/base.raw"
    try Data(count: Self.size).write(to: URL(fileURLWithPath: base))
    let early = try Self.request(fixture, at: "2026-11-21T10:00:02Z", base: base)
    #expect(try fixture.folder().export(early, now: Self.now).notes.count == 1)
    let late = try Self.request(fixture, at: "2026-11-21T10:00:04Z", base: base, replaces: true)
    #expect(try fixture.folder().export(late, now: Self.now).notes == [])
  }

  @Test func damageBeforeTheInstantIsRefused() throws {
    let fixture = try JournalFixture()
    try fixture.fill(8)
    try fixture.close()
    try fixture.flipBit(of: try fixture.name(ofSegment: 1), at: 4096 + 5 * (28 + 4096) + 60)
    let request = try Self.request(fixture)
    #expect {
      try fixture.folder().export(request, now: Self.now)
    } throws: { error in
      "\(error)".contains("damaged after record 5") && "\(error)".contains("--salvage")
    }
    #expect(!SystemIO.Directory.exists(request.target))
    let early = try Self.request(fixture, at: "2026-11-21T10:00:05Z")
    let outcome = try fixture.folder().export(early, now: Self.now)
    #expect(outcome.lastSequence == 5)
    let disk = try Self.read(request.target)
    #expect(disk[4 * 4096] == 5)
    #expect(disk[5 * 4096] == 0)
  }

  @Test func unknownDiskIsRefusedWithTheNames() throws {
    let fixture = try JournalFixture()
    var request = try Self.request(fixture)
    request.disk = "swap"
    #expect(
      throws: JournalToolsError.refused("there is no disk 'swap'; the group has root, data")
    ) {
      try fixture.folder().export(request, now: Self.now)
    }
  }
}
