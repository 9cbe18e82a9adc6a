import BlockModel
import Journal
import JournalTools
import SystemIO
import Testing

/// Proves that `verify` accepts what the product writes, in every state that a crash may leave, and
/// names file and position of each byte that changed.
@Suite struct JournalVerificationTests {
  private static let recordByteCount = 28 + 4096

  private static func position(ofRecord index: Int) -> Int { 4096 + index * recordByteCount }

  @Test func wholeJournalHasNoDamage() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    try fixture.close()
    let report = try fixture.folder().verify()
    #expect(report.damages == [])
    #expect(report.notes == [])
    #expect(report.records == 20)
    #expect(report.keptSegments == 2)
    #expect(report.firstSequence == 1)
    #expect(report.lastSequence == 20)
    #expect(report.firstInstant == "2026-11-21T10:00:01Z")
    #expect(report.lastInstant == "2026-11-21T10:00:20Z")
  }

  @Test func journalWithoutRecordsHasNoDamage() throws {
    let fixture = try JournalFixture()
    let report = try fixture.folder().verify()
    #expect(report.damages == [])
    #expect(report.records == 0)
  }

  @Test func recycledAndUncleanJournalHasNoDamage() throws {
    let fixture = try JournalFixture()
    try fixture.fill(40)
    try fixture.applyAndRecycle(through: SequenceNumber(28), at: Timestamp(rawValue: 1))
    try fixture.fill(45)
    #expect(try fixture.folder().verify().damages == [])
  }

  /// The bit's place in its record: checksum, disk, kind, timestamp, offset, length, payload.
  @Test(arguments: [0, 5, 7, 12, 20, 25, 28, 4000])
  func changedBitIsNamed(_ byte: Int) throws {
    let fixture = try JournalFixture()
    try fixture.fill(8)
    try fixture.close()
    let name = try fixture.name(ofSegment: 1)
    let position = Self.position(ofRecord: 3)
    try fixture.flipBit(of: name, at: position + byte)
    let report = try fixture.folder().verify()
    let damage = try #require(report.damages.first)
    #expect(damage.file == name)
    #expect(damage.position == position)
    #expect(damage.what.hasPrefix("record 4 does not verify, and record 5"))
    #expect(report.lastSequence == 3)
    #expect(report.damages.contains { $0.what.hasPrefix("records up to 8 were durable") })
  }

  @Test func eachDamageOfASegmentIsNamed() throws {
    let fixture = try JournalFixture()
    try fixture.fill(12)
    let name = try fixture.name(ofSegment: 1)
    for index in [2, 6, 7] {
      try fixture.flipBit(of: name, at: Self.position(ofRecord: index) + 100)
    }
    let damages = try fixture.folder().verify().damages
    #expect(damages.map(\.position) == [2, 6].map(Self.position(ofRecord:)))
    #expect(damages.allSatisfy { $0.file == name })
    #expect(damages[1].what.hasPrefix("records 7 to 8 do not verify"))
  }

  @Test func damagesBehindADamageAreNamed() throws {
    let fixture = try JournalFixture()
    try fixture.fill(40)
    try fixture.close()
    let names = try [UInt32(1), 3].map(fixture.name(ofSegment:))
    try fixture.flipBit(of: names[0], at: Self.position(ofRecord: 13) + 50)
    try fixture.flipBit(of: names[1], at: Self.position(ofRecord: 2) + 50)
    let damages = try fixture.folder().verify().damages.filter { $0.position != nil }
    #expect(damages.map(\.file) == names)
    #expect(damages.map(\.position) == [13, 2].map(Self.position(ofRecord:)))
  }

  @Test func damageInAFullSegmentIsNamedOnceAndWhatFollowsIsUnreachable() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    try fixture.close()
    let name = try fixture.name(ofSegment: 1)
    try fixture.flipBit(of: name, at: Self.position(ofRecord: 2) + 50)
    let folder = try fixture.folder()
    #expect(
      try folder.verify().damages.map(\.position) == [Self.position(ofRecord: 2), nil])
    #expect(folder.isIncomplete)
    #expect(try folder.listing().map(\.state) == ["kept", "unreachable", "free"])
  }

  @Test func changedLastRecordThatWasDurableIsDamage() throws {
    let fixture = try JournalFixture()
    try fixture.fill(5)
    try fixture.close()
    let name = try fixture.name(ofSegment: 1)
    try fixture.flipBit(of: name, at: Self.position(ofRecord: 4) + 1000)
    let damages = try fixture.folder().verify().damages
    #expect(
      damages.first
        == JournalDamage(
          file: name, position: Self.position(ofRecord: 4),
          what: "record 5 was durable and does not verify", records: 5...5, isDurable: true))
  }

  @Test func unfinishedLastRecordOfACrashIsOnlyNoted() throws {
    let fixture = try JournalFixture()
    try fixture.fill(5)
    let name = try fixture.name(ofSegment: 1)
    try fixture.flipBit(of: name, at: Self.position(ofRecord: 4) + 1000)
    let report = try fixture.folder().verify()
    #expect(report.damages == [])
    #expect(report.notes.count == 1)
    #expect(report.notes.first?.contains("the beginning of record 5") == true)
    #expect(report.lastSequence == 4)
  }

  @Test func tailThatARestartGaveUpIsNoDamage() throws {
    let fixture = try JournalFixture()
    try fixture.fill(8)
    try fixture.flipBit(
      of: try fixture.name(ofSegment: 1), at: Self.position(ofRecord: 5) + 9)
    #expect(try !fixture.folder().verify().damages.isEmpty)
    try fixture.restartAfterCrash()
    #expect(try fixture.folder().verify().damages == [])
    try fixture.fill(4)
    try fixture.close()
    let report = try fixture.folder().verify()
    #expect(report.damages == [])
    #expect(report.lastSequence == 9)
  }

  @Test func shortenedSegmentIsDamage() throws {
    let fixture = try JournalFixture()
    try fixture.fill(10)
    try fixture.close()
    let name = try fixture.name(ofSegment: 1)
    try fixture.truncate(name, to: 20_000)
    let damages = try fixture.folder().verify().damages
    #expect(damages.first?.file == name)
    #expect(damages.first?.position == 20_000)
    #expect(damages.contains { $0.what == "record 4 was durable and does not verify" })
  }

  @Test func segmentShorterThanItsHeaderIsDamage() throws {
    let fixture = try JournalFixture()
    try fixture.fill(2)
    try fixture.close()
    let name = try fixture.name(ofSegment: 1)
    try fixture.truncate(name, to: 100)
    let damages = try fixture.folder().verify().damages
    #expect(
      damages.first
        == JournalDamage(
          file: name, what: "the file has 100 bytes, fewer than a header"))
  }

  @Test func missingSegmentIsDamage() throws {
    let fixture = try JournalFixture()
    try fixture.fill(40)
    let name = try fixture.name(ofSegment: 3)
    try fixture.remove(try fixture.name(ofSegment: 2))
    let damages = try fixture.folder().verify().damages
    #expect(damages.map(\.file) == [name])
    #expect(damages.first?.what.hasPrefix("segment 3 follows segment 1") == true)
  }

  @Test func missingFirstSegmentIsDamage() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    let name = try fixture.name(ofSegment: 2)
    try fixture.remove(try fixture.name(ofSegment: 1))
    let damages = try fixture.folder().verify().damages
    #expect(
      damages == [
        JournalDamage(
          file: name, what: "records 1 to 14, which come before it, are missing",
          records: 1...14, isDurable: false)
      ])
  }

  @Test func changedHeaderBeforeRecordsIsDamage() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    let name = try fixture.name(ofSegment: 2)
    try fixture.flipBit(of: name, at: 50)
    let damages = try fixture.folder().verify().damages
    #expect(
      damages == [
        JournalDamage(
          file: name, position: 0,
          what: "the header does not verify, and records of segment 2, epoch 1, follow it")
      ])
  }

  @Test func changedHeaderOfAFreeFileIsOnlyNoted() throws {
    let fixture = try JournalFixture()
    try fixture.fill(2)
    let folder = try fixture.folder()
    let free = try #require(folder.segments.last { $0.reading == .blank })
    try fixture.flipBit(of: free.name, at: 10)
    let report = try fixture.folder().verify()
    #expect(report.damages == [])
    #expect(report.notes.count == 1)
  }

  @Test func recordOutsideOfItsDiskIsDamage() throws {
    let fixture = try JournalFixture()
    try fixture.append(.write, offset: (1 << 20) - 512, length: 1024)
    let name = try fixture.name(ofSegment: 1)
    let damage = try #require(try fixture.folder().verify().damages.first)
    #expect(damage.file == name)
    #expect(damage.position == 4096)
    #expect(damage.what.hasPrefix("record 1 lies outside of its disk"))
  }

  @Test func oneTornCopyOfTheStateIsNoDamageAndTwoAre() throws {
    let fixture = try JournalFixture()
    try fixture.fill(2)
    try fixture.close()
    try fixture.flipBit(of: JournalFolder.stateName, at: 40)
    #expect(try fixture.folder().state != nil)
    try fixture.flipBit(of: JournalFolder.stateName, at: (256 << 10) + 40)
    let damages = try fixture.folder().verify().damages
    #expect(
      damages == [
        JournalDamage(
          file: JournalFolder.stateName, what: "neither of its two copies verifies",
          remedy: .restoreState)
      ])
  }

  // MARK: Sidecars

  @Test func `sidecars that agree with their segments are not mentioned`() throws {
    let fixture = try JournalFixture()
    try fixture.append(.checkpoint, tag: "noon")
    try fixture.fill(40)
    try fixture.append(.trim, disk: 1, offset: 4096, length: 512)
    try fixture.writeSidecars()
    let names = try Directory.names(in: fixture.path).filter { $0.hasSuffix(".index") }
    #expect(names == ["segment-00000.index", "segment-00001.index"])
    let report = try fixture.folder().verify()
    #expect(report.damages == [] && report.notes == [])
    // Nor one of an earlier use of the file, nor one that names what a cut has made void.
    try fixture.fork(after: SequenceNumber(20))
    try fixture.fill(3)
    #expect(try fixture.folder().verify().damages == [])
    try fixture.applyAndRecycle(through: SequenceNumber(20), at: Timestamp(rawValue: 1))
    try fixture.fill(60)
    #expect(try fixture.folder().verify().damages == [])
  }

  @Test func `segment that a running site has filled since it was read is no damage`() throws {
    let fixture = try JournalFixture()
    let lock = try SystemIO.File(opening: "\(fixture.path)/lock", .readWrite)
    #expect(try lock.tryLock())
    try fixture.fill(3)
    let folder = try fixture.folder()
    try fixture.fill(30)
    try fixture.writeSidecars()
    #expect(try folder.verify().damages == [])
  }

  @Test func `sidecar that does not verify is only noted`() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    try fixture.writeSidecars()
    try fixture.flipBit(of: "segment-00000.index", at: 200)
    let report = try fixture.folder().verify()
    #expect(report.damages == [])
    #expect(
      report.notes == [
        "segment-00000.index does not verify: segment-00000 is read in its place"
      ])
  }

  @Test func `segment with fewer records than its sidecar is damage of both`() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    try fixture.writeSidecars()
    let name = try fixture.name(ofSegment: 1)
    try fixture.flipBit(of: name, at: Self.position(ofRecord: 3) + 100)
    let damages = try fixture.folder().verify().damages
    #expect(damages.map(\.file).contains(name))
    #expect(
      damages.contains(
        JournalDamage(
          file: "\(name).index",
          what: "it indexes 14 records, but \(name) has 3 that verify")))
  }

  @Test func `sidecar with another index is damage`() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    try fixture.writeSidecars()
    try fixture.moveLastExtent(inSidecarOf: "segment-00000")
    let damages = try fixture.folder().verify().damages
    #expect(
      damages == [
        JournalDamage(
          file: "segment-00000.index", what: "it disagrees with the records of segment-00000",
          remedy: .removeSidecar)
      ])
  }

  @Test func `unknown files are not mentioned`() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    for name in ["segment-00000.index.new", "segment-00009.index", "segment-x", "notes.txt"] {
      try FolderStorage(existing: fixture.path).replace(name, with: [1, 2, 3])
    }
    let report = try fixture.folder().verify()
    #expect(report.damages == [] && report.notes == [])
    #expect(report.records == 20)
  }
}
