import BlockModel
import Foundation
import Journal
import JournalTools
import SystemIO
import Testing

/// Proves that a journal folder is listed as recovery would see it, with and without a lock holder,
/// and that the lock is respected in both directions.
@Suite struct JournalListingTests {
  /// Records of 4 KiB that fit a segment of 64 KiB.
  private static let recordsPerSegment = 14

  @Test func listsSegmentsInOrderWithTheirRecords() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    try fixture.close()
    let listing = try fixture.folder().listing().filter { $0.state == "kept" }
    #expect(listing.map(\.number) == [1, 2])
    #expect(listing.map(\.epoch) == [1, 1])
    #expect(listing.map(\.firstSequence) == [1, UInt64(Self.recordsPerSegment + 1)])
    #expect(listing.map(\.lastSequence) == [UInt64(Self.recordsPerSegment), 20])
    #expect(listing.map(\.records) == [14, 6])
    #expect(listing[0].usedBytes == 4096 + 14 * (28 + 4096))
    #expect(listing[0].firstInstant == "2026-11-21T10:00:01Z")
    #expect(listing[1].lastInstant == "2026-11-21T10:00:20Z")
    #expect(listing[0].fileBytes == UInt64(JournalFixture.segmentByteCount))
  }

  @Test func filesReadyForUseAreFree() throws {
    let fixture = try JournalFixture()
    try fixture.fill(3)
    try fixture.close()
    let free = try fixture.folder().listing().filter { $0.state == "free" }
    #expect(free.count == 2)
    #expect(free.allSatisfy { $0.number == nil && $0.records == 0 })
  }

  @Test func recycledSegmentsAreFreeAndTheirSuccessorsKept() throws {
    let fixture = try JournalFixture()
    try fixture.fill(30)
    try fixture.applyAndRecycle(through: SequenceNumber(14), at: Timestamp(rawValue: 1))
    try fixture.fill(40)
    try fixture.close()
    let listing = try fixture.folder().listing()
    #expect(listing.filter { $0.state == "kept" }.map(\.number) == [2, 3, 4, 5])
  }

  @Test func tailThatAForkVoidedIsNotCounted() throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    try fixture.fork(after: SequenceNumber(17))
    try fixture.fill(1)
    try fixture.close()
    #expect(try fixture.folder().verify().damages == [])
    let listing = try fixture.folder().listing()
    let cut = try #require(listing.first { $0.state == "cut" })
    #expect(cut.number == 2)
    #expect(cut.records == 3)
    #expect(cut.lastSequence == 17)
    #expect(cut.lastInstant == "2026-11-21T10:00:17Z")
    #expect(cut.usedBytes == 4096 + 3 * (28 + 4096))
  }

  @Test func statesAreUnknownWithoutAStateFile() throws {
    let fixture = try JournalFixture()
    try fixture.fill(3)
    try fixture.remove(JournalFolder.stateName)
    let folder = try fixture.folder()
    #expect(folder.stateReading != .state(fixture.state))
    #expect(try folder.listing().first?.state == "unknown")
    #expect(try folder.listing().first?.records == 3)
  }

  @Test func folderOfARunningSiteIsReadAndSaidToBeInUse() throws {
    let fixture = try JournalFixture()
    try fixture.fill(3)
    let lock = try SystemIO.File(opening: "\(fixture.path)/lock", .readWrite)
    #expect(try lock.tryLock())
    let folder = try fixture.folder()
    #expect(folder.isInUse)
    #expect(try folder.listing().first?.records == 3)
  }

  @Test func noSiteCanStartWhileAFolderIsRead() throws {
    let fixture = try JournalFixture()
    let lock = try SystemIO.File(opening: "\(fixture.path)/lock", .readWrite)
    do {
      let folder = try fixture.folder()
      #expect(!folder.isInUse)
      #expect(try !lock.tryLock())
    }
    #expect(try lock.tryLock())
  }

  @Test func folderWithoutJournalIsRefused() throws {
    let path = NSTemporaryDirectory() + "tapline-empty-\(UUID().uuidString)"
    try SystemIO.Directory.create(path)
    defer { try? FileManager.default.removeItem(atPath: path) }
    #expect(throws: JournalToolsError.notAJournal(path)) { try JournalFolder(path) }
    #expect(throws: JournalToolsError.file(path + "/no", .notFound, doing: "reading")) {
      try JournalFolder(path + "/no")
    }
  }
}

/// Proves that `dump` lists each record with what it does, and selects as it is asked to.
@Suite struct RecordListingTests {
  private static func dump(
    _ fixture: JournalFixture, _ selection: RecordSelection = RecordSelection()
  ) throws -> [RecordListing] {
    var lines: [RecordListing] = []
    try fixture.folder().forEachRecord(selection) { lines.append($0) }
    return lines
  }

  @Test func listsEveryKindOfRecord() throws {
    let fixture = try JournalFixture()
    try fixture.append(.write, disk: 1, offset: 512, length: 1024, fill: 3)
    try fixture.append(.trim, offset: 4096, length: 8192)
    try fixture.append(.zero, disk: 1, offset: 0, length: 4096)
    try fixture.append(.checkpoint, tag: "before-upgrade")
    let lines = try Self.dump(fixture)
    #expect(lines.map(\.sequence) == [1, 2, 3, 4])
    #expect(lines.map(\.kind) == ["write", "trim", "zero", "checkpoint"])
    #expect(lines.map(\.disk) == ["data", "root", "data", nil])
    #expect(lines.map(\.offset) == [512, 4096, 0, nil])
    #expect(lines.map(\.length) == [1024, 8192, 4096, nil])
    #expect(lines.map(\.tag) == [nil, nil, nil, "before-upgrade"])
    #expect(lines[0].instant == "2026-11-21T10:00:01Z")
    #expect(lines[0].position == 4096)
    #expect(lines[1].position == 4096 + 28 + 1024)
  }

  @Test(arguments: [
    (RecordSelection(), Array(1...20)),
    (RecordSelection(segment: 2), Array(15...20)),
    (RecordSelection(fromSequence: SequenceNumber(18)), [18, 19, 20]),
    (RecordSelection(limit: 2), [1, 2]),
    (RecordSelection(fromSequence: SequenceNumber(13), limit: 3), [13, 14, 15]),
    (RecordSelection(limit: 0), []),
  ])
  func selects(_ selection: RecordSelection, _ expected: [Int]) throws {
    let fixture = try JournalFixture()
    try fixture.fill(20)
    try fixture.close()
    #expect(try Self.dump(fixture, selection).map { Int($0.sequence) } == expected)
  }

  @Test func unknownSegmentIsRefused() throws {
    let fixture = try JournalFixture()
    #expect(throws: JournalToolsError.refused("there is no segment 9")) {
      try Self.dump(fixture, RecordSelection(segment: 9))
    }
  }

  @Test func disksHaveNumbersWithoutAStateFile() throws {
    let fixture = try JournalFixture()
    try fixture.append(.write, disk: 1, length: 512)
    try fixture.remove(JournalFolder.stateName)
    #expect(try Self.dump(fixture).map(\.disk) == ["#1"])
  }
}
