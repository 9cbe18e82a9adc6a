import BlockModel
import Foundation
import Journal
import JournalTestSupport
import JournalTools
import SystemIO
import TestSupport
import Testing

/// Proves that a salvage gets out all that is whole: up to the first damage byte for byte the disk
/// as it was, behind it every whole record; and that what it says is missing is what is missing.
@Suite struct JournalSalvageTests {
  private static let now = Timestamp(rfc3339: "2026-11-21T11:00:00Z")!
  private static let size = Int(JournalFixture.disks[0].byteCount)
  private static let recordByteCount = 28 + 4096

  /// A journal of 4 KiB writes to two disks, and the disk `root` after each record.
  private final class Scene {
    let fixture: JournalFixture
    private(set) var writes: [(range: Range<Int>, fill: UInt8)?] = []
    private(set) var states: [[UInt8]] = [[UInt8](repeating: 0, count: size)]

    init(_ records: Int, slots: Int = 6) throws {
      fixture = try JournalFixture(slots: slots)
      try add(records)
    }

    func add(_ records: Int) throws {
      var state = states[states.count - 1]
      for _ in 0..<records {
        let number = states.count
        // Every fifth goes to the other disk; blocks are written again and again.
        let isRoot = number % 5 != 0
        let start = number * 7 % 24 * 4096
        let fill = UInt8(number % 250 + 1)
        try fixture.append(
          .write, disk: isRoot ? 0 : 1, offset: UInt64(start), length: 4096, fill: fill)
        let range = start..<start + 4096
        if isRoot { state.replaceSubrange(range, with: repeatElement(fill, count: 4096)) }
        writes.append(isRoot ? (range, fill) : nil)
        states.append(state)
      }
    }

    /// The disk without the records in `lost`.
    func image(without lost: Set<Int>, onto base: [UInt8]? = nil, after first: Int = 0) -> [UInt8] {
      var image = base ?? states[0]
      for (index, write) in writes.enumerated() where index >= first && !lost.contains(index + 1) {
        guard let write else { continue }
        image.replaceSubrange(write.range, with: repeatElement(write.fill, count: 4096))
      }
      return image
    }

    /// Where record `number` (from 1) lies: segments hold 14 of them.
    func place(of number: Int) throws -> (file: String, position: Int) {
      let name = try fixture.name(ofSegment: UInt32((number - 1) / 14 + 1))
      return (name, 4096 + (number - 1) % 14 * recordByteCount)
    }

    func damage(_ number: Int, byte: Int = 1000) throws {
      let (file, position) = try place(of: number)
      try fixture.flipBit(of: file, at: position + byte)
    }

    func salvage(
      _ extent: SalvageExtent = .upToDamage, disk: String = "root", base: String? = nil,
      at instant: InstantExpression = .latest
    ) throws -> (image: [UInt8], outcome: ExportOutcome, report: SalvageReport) {
      let target = NSTemporaryDirectory() + "tapline-salvage-\(UUID().uuidString)"
      defer { try? FileManager.default.removeItem(atPath: target) }
      let request = ExportRequest(disk: disk, target: target, instant: instant, base: base)
      let outcome = try fixture.folder().salvage(request, extent, now: now)
      let report = try #require(outcome.salvage)
      return (Array(try Data(contentsOf: URL(fileURLWithPath: target))), outcome, report)
    }
  }

  @Test func `whole journal is exported with nothing missing`() throws {
    let scene = try Scene(40)
    try scene.fixture.close()
    for extent in [SalvageExtent.upToDamage, .pastDamage] {
      let (image, outcome, report) = try scene.salvage(extent)
      #expect(image == scene.states[40])
      #expect(outcome.lastSequence == 40)
      #expect(report == SalvageReport())
      #expect(report.isComplete)
    }
  }

  @Test(arguments: [0, 5, 7, 12, 20, 25, 28, 4000])
  func `changed bit ends the state, and only its record is lost behind it`(_ byte: Int) throws {
    let scene = try Scene(40)
    try scene.fixture.close()
    try scene.damage(6, byte: byte)
    let (image, outcome, report) = try scene.salvage()
    #expect(image == scene.states[5])
    #expect(outcome.lastSequence == 5)
    #expect(report.isConsistent && !report.isComplete)
    #expect(report.leftOut.map(\.kind) == ["lost", "behind"])
    #expect(report.leftOut.map(\.firstSequence) == [6, 7])
    #expect(report.leftOut.map(\.lastSequence) == [6, 40])
    #expect(report.leftOut[0].position == 4096 + 5 * Self.recordByteCount)
    #expect(report.leftOut[0].after == "2026-11-21T10:00:05Z")
    #expect(report.leftOut[0].before == "2026-11-21T10:00:07Z")
    #expect(report.leftOutRecords == 35)
    let past = try scene.salvage(.pastDamage)
    #expect(past.image == scene.image(without: [6]))
    #expect(!past.report.isConsistent)
    #expect(past.report.leftOutRecords == 1)
  }

  /// Every difference from what the disk should be lies in a range that is named, unless a lost
  /// record's range is said to be unknown.
  @Test(arguments: 1...20)
  func `what is said to be missing is what is missing`(_ seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let scene = try Scene(60)
    try scene.fixture.close()
    var lost: Set<Int> = []
    for _ in 0..<Int.random(in: 1...6, using: &generator) {
      let number = Int.random(in: 1...60, using: &generator)
      if !lost.insert(number).inserted { continue }
      // In the payload, so that the header still tells where the record belongs.
      try scene.damage(number, byte: Int.random(in: 28..<4124, using: &generator))
    }
    let first = try #require(lost.min())
    for extent in [SalvageExtent.upToDamage, .pastDamage] {
      let (image, _, report) = try scene.salvage(extent)
      #expect(
        image
          == (extent == .pastDamage ? scene.image(without: lost) : scene.states[first - 1]))
      #expect(report.leftOutRecords == UInt64(extent == .pastDamage ? lost.count : 61 - first))
      #expect(report.recordsWithoutRange == 0)
      for block in stride(from: 0, to: Self.size, by: 4096)
      where image[block] != scene.states[60][block] {
        #expect(
          report.stale.contains { $0.offset <= block && block < Int($0.offset + $0.length) },
          "block \(block)")
      }
      #expect(report.staleBytes == report.stale.map(\.length).reduce(0, +))
    }
  }

  @Test func `missing segment is a hole, and what follows it is whole`() throws {
    let scene = try Scene(40)
    try scene.fixture.close()
    try scene.fixture.remove(try scene.fixture.name(ofSegment: 2))
    let prefix = try scene.salvage()
    #expect(prefix.image == scene.states[14])
    #expect(prefix.report.leftOut.map(\.firstSequence) == [15, 29])
    #expect(prefix.report.recordsWithoutRange == 14)
    let past = try scene.salvage(.pastDamage)
    #expect(past.image == scene.image(without: Set(15...28)))
    #expect(past.report.leftOut.map(\.lastSequence) == [28])
  }

  @Test func `records that a shortened segment lost are counted`() throws {
    let scene = try Scene(20)
    try scene.fixture.close()
    let (name, position) = try scene.place(of: 17)
    try scene.fixture.truncate(name, to: UInt64(position + 100))
    let (image, outcome, report) = try scene.salvage()
    #expect(image == scene.states[16])
    #expect(outcome.lastSequence == 16)
    #expect(report.leftOut.map(\.firstSequence) == [17])
    #expect(report.leftOut.map(\.lastSequence) == [20])
  }

  /// Its records name the segment, and the segments beside it its place.
  @Test func `nothing is lost with the header of a segment between two others`() throws {
    let scene = try Scene(40)
    try scene.fixture.close()
    try scene.fixture.flipBit(of: try scene.fixture.name(ofSegment: 2), at: 50)
    let (image, outcome, report) = try scene.salvage()
    #expect(image == scene.states[40])
    #expect(outcome.lastSequence == 40)
    #expect(report.isComplete)
  }

  @Test func `newest segment without a header is only read past damage`() throws {
    let scene = try Scene(20)
    try scene.fixture.close()
    try scene.fixture.flipBit(of: try scene.fixture.name(ofSegment: 2), at: 50)
    let prefix = try scene.salvage()
    #expect(prefix.image == scene.states[14])
    #expect(!prefix.report.isComplete)
    #expect(try scene.salvage(.pastDamage).image == scene.states[20])
  }

  @Test func `unfinished record that was never durable is no loss`() throws {
    let scene = try Scene(8)
    try scene.damage(8)
    let (image, _, report) = try scene.salvage()
    #expect(image == scene.states[7])
    #expect(report.isComplete)
  }

  @Test(arguments: [5.0, 5.5, 9.0])
  func `instant before the damage is whole`(_ second: Double) throws {
    let scene = try Scene(40)
    try scene.fixture.close()
    try scene.damage(10)
    let instant = Timestamp(
      rawValue: Timestamp(rfc3339: "2026-11-21T10:00:00Z")!.rawValue + UInt64(second * 1e9))
    let (image, _, report) = try scene.salvage(at: .at(instant))
    #expect(image == scene.states[Int(second)])
    #expect(report.isComplete)
    let target = scene.fixture.path + "/out.raw"
    var request = ExportRequest(disk: "root", target: target, instant: .at(instant))
    _ = try scene.fixture.folder().export(request, now: Self.now)
    request = ExportRequest(disk: "root", target: target, replacesTarget: true)
    #expect(throws: JournalToolsError.self) {
      try scene.fixture.folder().export(request, now: Self.now)
    }
  }

  @Test func `damage in records that the base holds already is no loss`() throws {
    let scene = try Scene(20)
    try scene.fixture.applyAndRecycle(
      through: SequenceNumber(10), at: Timestamp(rfc3339: "2026-11-21T10:00:10Z")!)
    try scene.fixture.close()
    try scene.damage(8)
    let base = scene.fixture.path + "/base.raw"
    try Data(scene.states[10]).write(to: URL(fileURLWithPath: base))
    let (image, outcome, report) = try scene.salvage(base: base)
    #expect(image == scene.states[20])
    #expect(outcome.firstSequence == 11)
    #expect(report.isComplete, "\(report)")
  }

  @Test func `base that an apply step has changed already is said to be newer`() throws {
    let scene = try Scene(20)
    scene.fixture.state.applyTarget = .init(
      SequenceNumber(12), Timestamp(rfc3339: "2026-11-21T10:00:12Z")!)
    try scene.fixture.close()
    try scene.damage(8)
    let base = scene.fixture.path + "/base.raw"
    try Data(scene.states[0]).write(to: URL(fileURLWithPath: base))
    let (_, outcome, report) = try scene.salvage(base: base)
    #expect(!report.isConsistent)
    #expect(outcome.notes.contains { $0.contains("up to 12") })
  }

  @Test func `records of a later epoch replace those that it made void`() throws {
    let scene = try Scene(20)
    try scene.fixture.fork(after: SequenceNumber(10))
    try scene.fixture.append(.write, offset: 0, length: 4096, fill: 99)
    try scene.fixture.close()
    try scene.fixture.flipBit(of: JournalFolder.stateName, at: 40)
    try scene.fixture.flipBit(of: JournalFolder.stateName, at: (256 << 10) + 40)
    var expected = scene.states[10]
    expected.replaceSubrange(0..<4096, with: repeatElement(99, count: 4096))
    let image = try scene.salvage(disk: "#0").image
    #expect(image.count > 10 * 4096 && image == Array(expected.prefix(image.count)))
  }

  enum StateHarm: CaseIterable { case missing, blank, damaged, newer }

  @Test(arguments: StateHarm.allCases)
  func `disk is got out without the state file`(_ harm: StateHarm) throws {
    let scene = try Scene(40)
    try scene.fixture.close()
    try scene.fixture.harmState(harm)
    let end = 24 * 4096
    let (image, outcome, report) = try scene.salvage(disk: "#0")
    #expect(image == Array(scene.states[40].prefix(end)))
    #expect(report.isComplete)
    #expect(outcome.notes.count == 1)
    // With a base the disk has its full size.
    let base = scene.fixture.path + "/base.raw"
    try Data(count: Self.size).write(to: URL(fileURLWithPath: base))
    #expect(try scene.salvage(disk: "#0", base: base).image == scene.states[40])
    #expect(throws: JournalToolsError.self) { try scene.salvage(disk: "root") }
    // Two faults at once.
    try scene.damage(6)
    #expect(try scene.salvage(disk: "#0", base: base).image == scene.states[5])
  }

  @Test func `without a state file what was recycled must be in the base`() throws {
    let scene = try Scene(40, slots: 4)
    try scene.fixture.applyAndRecycle(
      through: SequenceNumber(28), at: Timestamp(rfc3339: "2026-11-21T10:00:28Z")!)
    try scene.add(30)
    try scene.fixture.close()
    try scene.fixture.harmState(.missing)
    let base = scene.fixture.path + "/base.raw"
    try Data(scene.states[28]).write(to: URL(fileURLWithPath: base))
    let (image, outcome, report) = try scene.salvage(disk: "#0", base: base)
    #expect(image == scene.states[70])
    #expect((outcome.firstSequence ?? 0) > 1)
    #expect(!report.isComplete)
  }

  @Test func `segment of another group is left alone, and named`() throws {
    let scene = try Scene(20)
    try scene.fixture.close()
    let other = try JournalFixture(group: GroupIdentifier(high: 1, low: 2))
    try other.fill(3)
    try FileManager.default.copyItem(
      atPath: "\(other.path)/segment-00000", toPath: "\(scene.fixture.path)/segment-00077")
    let (image, _, report) = try scene.salvage()
    #expect(image == scene.states[20])
    #expect(report.isComplete)
    let damages = try scene.fixture.folder().verify().damages
    #expect(damages.map(\.file) == ["segment-00077"])
    #expect(damages.map(\.remedy) == [.moveAway])
    try scene.fixture.harmState(.missing)
    #expect(throws: JournalToolsError.self) { try scene.salvage(disk: "#0") }
  }

  @Test func `segment that cannot be read is skipped`() throws {
    let scene = try Scene(40)
    try scene.fixture.close()
    let name = try scene.fixture.name(ofSegment: 2)
    try scene.fixture.remove(name)
    // Reading a folder fails, as reading a bad sector does.
    try Directory.create("\(scene.fixture.path)/\(name)")
    let damages = try scene.fixture.folder().verify().damages
    #expect(damages.contains { $0.file == name && $0.what.contains("cannot be read") })
    #expect(try scene.salvage(.pastDamage).image == scene.image(without: Set(15...28)))
  }

  @Test func `folder is not changed`() throws {
    let scene = try Scene(40)
    try scene.fixture.close()
    try scene.damage(6)
    func contents() throws -> [String: Data] {
      try Directory.names(in: scene.fixture.path).reduce(into: [:]) {
        $0[$1] = try Data(contentsOf: URL(fileURLWithPath: "\(scene.fixture.path)/\($1)"))
      }
    }
    let before = try contents()
    _ = try scene.salvage(.pastDamage)
    #expect(try contents() == before)
  }
}

extension JournalFixture {
  func harmState(_ harm: JournalSalvageTests.StateHarm) throws {
    let name = JournalFolder.stateName
    switch harm {
    case .missing: try remove(name)
    case .blank:
      try truncate(name, to: 0)
      try truncate(name, to: 128 << 10)
    case .damaged:
      try flipBit(of: name, at: 40)
      try flipBit(of: name, at: (256 << 10) + 40)
    case .newer:
      // Its last byte of version: 2 becomes 18.
      try flipBit(of: name, at: 11)
      try flipBit(of: name, at: (256 << 10) + 11)
    }
  }
}
