import BlockModel
import JournalTestSupport
import TestSupport
import Testing

@testable import Journal

/// Proves what the journal knows of disks that come and leave: markers come back as they were,
/// records of a disk that came later find their place in old indexes, and marks behind the end are
/// void.
struct DiskChangeRecordTests {
  private static let disk = JournalState.Disk(
    number: DiskNumber(3), name: "root", byteCount: 1 << 30)

  @Test(arguments: [DiskChange.Event.added, .whole, .removed])
  func `a marker comes back as it was`(event: DiskChange.Event) throws {
    let change = DiskChange(event, Self.disk)
    let payload = change.payload
    let read = unsafe payload.withUnsafeBytes {
      unsafe DiskChange(number: DiskNumber(3), payload: $0)
    }
    #expect(read == change)
    for count in 0..<payload.count {
      let cut = unsafe payload[..<count].withUnsafeBytes {
        unsafe DiskChange(number: DiskNumber(3), payload: $0)
      }
      #expect(cut == nil)
    }
  }

  @Test func `instants show a disk from when it is whole until it has left`() {
    var disk = Self.disk
    (disk.added, disk.whole) = (mark(5), nil)
    #expect(!disk.isShown(at: Timestamp(rawValue: 90)))
    disk.whole = mark(7)
    disk.removed = mark(9)
    let shown = (1...10).filter { disk.isShown(at: Timestamp(rawValue: $0 * 10)) }
    #expect(shown == [7, 8])
  }

  private func mark(_ sequence: UInt64) -> JournalState.Mark {
    .init(SequenceNumber(sequence), Timestamp(rawValue: sequence * 10))
  }

  @Test func `what was said of disks behind the end is void`() {
    var state = JournalState(
      groupName: "g", group: GroupIdentifier(high: 1, low: 2), disks: [Self.disk],
      baseline: .complete)
    #expect(state.nextDisk == 4)
    var late = Self.disk
    late.number = DiskNumber(4)
    (late.added, late.whole) = (mark(8), nil)
    state.disks.append(late)
    state.change(DiskNumber(3)) { $0.removed = mark(6) }
    state.cutDisks(after: SequenceNumber(8))
    #expect(state.disks.count == 2 && state.disks[DiskNumber(3)]?.removed == mark(6))
    state.cutDisks(after: SequenceNumber(5))
    #expect(state.disks.map(\.number) == [DiskNumber(3)] && state.disks[0].removed == nil)
  }

  @Test func `a disk that has left is forgotten when its last marker is applied`() {
    var state = JournalState(
      groupName: "g", group: GroupIdentifier(high: 1, low: 2), disks: [Self.disk],
      baseline: .complete)
    state.change(DiskNumber(3)) { $0.removed = mark(6) }
    state.applied = mark(5)
    state.forgetGoneDisks()
    #expect(state.presentDisks.isEmpty && state.disks.count == 1)
    state.applied = mark(6)
    state.forgetGoneDisks()
    #expect(state.disks.isEmpty && state.nextDisk == 4)
    // Its records may lie anywhere.
    #expect(state.diskBounds == [.max, .max, .max, .max])
  }

  @Test func `markers that a start finds are noted where they were not`() {
    var state = JournalState(
      groupName: "g", group: GroupIdentifier(high: 1, low: 2), disks: [Self.disk],
      baseline: .complete)
    state.change(DiskNumber(3)) { ($0.added, $0.whole) = (nil, nil) }
    let found = [DiskChange.Event.added, .whole, .removed].enumerated().map { place, event in
      (change: DiskChange(event, Self.disk), mark: mark(UInt64(place + 5)))
    }
    state.noteDisks(found)
    // It comes once more.
    #expect(state.disks[0].added == nil)
    #expect(state.disks[0].whole == mark(6) && state.disks[0].removed == mark(7))
    state.ownership.change(to: .following)
    state.noteDisks(found + found.map { ($0.change, mark(9)) })
    #expect(state.disks[0].added == mark(5) && state.disks[0].removed == mark(7))
  }

  @Test func `a former owner needs a copy while not all of a disk has come that came to it`() {
    var state = JournalState(
      groupName: "g", group: GroupIdentifier(high: 1, low: 2), disks: [Self.disk],
      baseline: .complete)
    state.change(DiskNumber(3)) {
      $0.cameHere = true
      $0.whole = nil
    }
    #expect(!state.needsCopy)
    state.ownership.change(to: .following)
    #expect(state.needsCopy)
    state.change(DiskNumber(3)) { $0.cameHere = false }
    #expect(!state.needsCopy)
    state.change(DiskNumber(3)) { ($0.cameHere, $0.whole) = (true, mark(6)) }
    #expect(!state.needsCopy)
    // That it was whole is given up.
    state.cutDisks(after: SequenceNumber(5))
    #expect(state.needsCopy)
  }

  @Test func `records of a disk that came later find their place beside older indexes`() throws {
    let group = try TestGroup(seed: testSeed(5), .init(diskByteCounts: [64 << 10]))
    var random = SeededGenerator(seed: testSeed(6))
    for _ in 0..<20 {
      try group.record(.random(&random, diskByteCounts: [64 << 10], writeLimit: 2000))
    }
    try group.journal.grow(toDisks: 3)
    #expect(group.journal.diskCount == 3)
    for disk in [DiskNumber(1), DiskNumber(2)] {
      let piece = group.journal.piece(disk: disk, at: 0, limit: 4096)
      #expect(piece.length == 4096 && piece.source == nil)
    }
    for generation in group.journal.generations {
      #expect(try generation.cursors(disk: DiskNumber(2), from: 0).isEmpty)
    }
  }
}
