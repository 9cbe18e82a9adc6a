import BlockModel
import JournalTestSupport
import Storage
import StorageTesting
import SystemIO
import Testing
import Volume

@testable import Journal

/// A detached view is the group as it was at its instant while apply passes the instant and
/// segments are recycled: between any two steps, in the middle of every step and read, and from
/// other threads. When it cannot be, it fails, and nothing else does.
@Suite struct DetachedViewTests {
  let scratch = FaultyStorage(seed: 7)
  let budget = ScratchBudget(byteLimit: 1 << 30)

  func overlay(_ group: TestGroup, limit: ScratchBudget? = nil) -> SavedExtents<FaultyFile> {
    SavedExtents(diskCount: group.stores.count, budget: limit ?? budget) {
      [scratch] () throws(Errno) -> FaultyFile in try scratch.create("scratch", byteCount: 0)
    }
  }

  /// A view of now that is detached.
  func detached(_ group: TestGroup, limit: ScratchBudget? = nil) throws -> TestView {
    let plan = try group.plan(at: group.journal.newestTimestamp)
    let view = try group.view(plan)
    view.detach(
      keepingIn: overlay(group, limit: limit), floor: group.journal.firstUnappliedSegment)
    plan.release()
    return view
  }

  // MARK: What is saved

  @Test func `saves what a step overwrites, once`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [UInt8](repeating: 1, count: 4096)), now: 10)
    try group.apply()
    let view = try detached(group)
    for round in UInt8(2)...5 {
      try group.record(.write(disk: 0, offset: 0, [UInt8](repeating: round, count: 2048)))
      try group.apply(savingFor: [view])
    }
    #expect(budget.usedByteCount == 2048)
    #expect(try view.contents(2) == group.history[SequenceNumber(1)].disks)
    #expect(group.stores[0].bytes == group.history.last.disks[0])
  }

  @Test func `saves nothing where a step writes what the view reads`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [UInt8](repeating: 1, count: 4096)), now: 10)
    try group.record(.zero(disk: 0, offset: 8192, length: 4096), now: 10)
    let view = try detached(group)
    try group.record(.write(disk: 1, offset: 0, [UInt8](repeating: 9, count: 512)), now: 20)
    try group.apply(savingFor: [view])
    // The base of disk 1, of which the view has no record.
    #expect(budget.usedByteCount == 512)
    #expect(try view.contents(2) == group.history[SequenceNumber(2)].disks)
  }

  @Test func `a hole that is trimmed or overwritten takes no scratch bytes`() throws {
    var settings = TestGroup.Settings(diskByteCounts: [1 << 20])
    settings.segmentByteCount = 2 << 20
    settings.capacityByteCount = 16 << 20
    let group = try TestGroup(seed: 1, settings)
    try group.record(.write(disk: 0, offset: 300_000, [7, 7]), now: 10)
    try group.apply()
    let view = try detached(group)
    try group.record(.trim(disk: 0, offset: 0, length: 900_000))
    try group.record(.write(disk: 0, offset: 910_000, [UInt8](repeating: 3, count: 80_000)))
    try group.apply(savingFor: [view])
    #expect(budget.usedByteCount <= 5 * 512)
    #expect(try view.contents(1) == group.history[SequenceNumber(1)].disks)
  }

  @Test func `needs no segment that is applied`() throws {
    let group = try TestGroup(seed: 1)
    for value in UInt8(1)...4 {
      try group.record(.write(disk: 0, offset: Int(value), [value]), now: UInt64(value) * 10)
      try group.journal.sealActive()
    }
    let plan = try group.plan(at: Timestamp(rawValue: 25))
    let view = try group.view(plan)
    try group.apply(through: Timestamp(rawValue: 25))
    #expect(group.journal.segmentCount == 4)
    view.detach(
      keepingIn: overlay(group), floor: group.journal.firstUnappliedSegment)
    plan.release()
    #expect(try group.recycle() == 2)
    try group.apply(savingFor: [view])
    #expect(group.journal.segmentCount <= 1)
    #expect(try view.contents(2) == group.history[SequenceNumber(2)].disks)
  }

  // MARK: Interleavings

  @Test func `a read of the base that apply overtakes gives what was there before`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1, 1, 1, 1]), now: 10)
    try group.apply()
    let view = try detached(group)
    try group.record(.write(disk: 0, offset: 1, [2, 2]))
    let store = group.stores[0]
    var overtaken = 0
    store.onRead.set {
      store.onRead.stop()
      overtaken += 1
      #expect(throws: Never.self) { try group.apply(savingFor: [view]) }
    }
    #expect(try view.bytes(disk: 0, offset: 0, count: 4) == [1, 1, 1, 1])
    #expect(overtaken == 1 && store.bytes[1] == 2)
  }

  @Test func `a read of a segment that is recycled meanwhile gives what it held`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [UInt8](repeating: 1, count: 600)), now: 10)
    try group.journal.sealActive()
    let view = try detached(group)
    var overtaken = 0
    group.storage.faults.onRead.set {
      group.storage.faults.onRead.stop()
      overtaken += 1
      #expect(throws: Never.self) {
        try group.apply(savingFor: [view])
        // All files are used again, so the one that is being read holds other bytes now.
        for _ in 0..<40 {
          while !group.hasSpareSegment { try group.apply(savingFor: [view]) }
          try group.record(.write(disk: 0, offset: 0, [UInt8](repeating: 2, count: 4000)))
        }
      }
    }
    let bytes = try view.bytes(disk: 0, offset: 0, count: 600)
    #expect(bytes == [UInt8](repeating: 1, count: 600))
    #expect(overtaken == 1 && group.journal.newestSegment?.number ?? 0 > 9)
  }

  @Test func `an error from a segment that is recycled meanwhile is none`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1, 2, 3]), now: 10)
    try group.journal.sealActive()
    let view = try detached(group)
    let faults = group.storage.faults
    faults.onRead.set {
      faults.onRead.stop()
      #expect(throws: Never.self) { try group.apply(savingFor: [view]) }
      faults.fail(.read, with: .io)
    }
    #expect(try view.bytes(disk: 0, offset: 0, count: 3) == [1, 2, 3])
    // The same error of a segment that is kept is reported.
    try group.record(.write(disk: 0, offset: 0, [4]), now: 20)
    let other = try detached(group)
    faults.fail(.read, with: .io)
    #expect(throws: VolumeError.self) { try other.bytes(disk: 0, offset: 0, count: 1) }
  }

  @Test func `a view that is detached in the middle of a read is read right`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1, 1, 1]), now: 10)
    try group.apply()
    let plan = try group.plan(at: group.journal.newestTimestamp)
    let view = try group.view(plan)
    try group.record(.write(disk: 0, offset: 0, [2, 2, 2]))
    group.stores[0].onRead.set {
      group.stores[0].onRead.stop()
      view.detach(
        keepingIn: self.overlay(group), floor: group.journal.firstUnappliedSegment)
      plan.release()
      #expect(throws: Never.self) { try group.apply(savingFor: [view]) }
    }
    #expect(try view.bytes(disk: 0, offset: 0, count: 3) == [1, 1, 1])
    #expect(group.stores[0].bytes[0] == 2)
  }

  @Test func `a step that failed half-way and is repeated leaves the view right`() throws {
    let group = try TestGroup(seed: 1)
    for index in 0..<4 {
      try group.record(
        .write(disk: 0, offset: index * 8192, [UInt8](repeating: 1, count: 4096)), now: 10)
    }
    try group.apply()
    let view = try detached(group)
    let expected = group.history.last.disks
    for index in 0..<4 {
      try group.record(
        .write(disk: 0, offset: index * 8192, [UInt8](repeating: 2, count: 512)))
      try group.record(.trim(disk: 0, offset: index * 8192 + 1024, length: 512))
    }
    for operation in [StorageError.Operation.zero, .sync] {
      group.stores[0].failNext(operation, with: .io)
      #expect(throws: VolumeError.self) { try group.apply(savingFor: [view]) }
      #expect(try view.contents(2) == expected)
    }
    try group.apply(savingFor: [view])
    #expect(try view.contents(2) == expected)
    #expect(group.stores.map(\.bytes) == group.history.last.disks)
  }

  // MARK: Losing a view

  @Test func `a view that cannot be saved is lost, and apply goes on`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [UInt8](repeating: 1, count: 8192)), now: 10)
    try group.apply()
    let small = try detached(group, limit: ScratchBudget(byteLimit: 2000))
    let large = try detached(group)
    let expected = group.history.last.disks
    for round in UInt8(0)..<8 {
      try group.record(
        .write(disk: 0, offset: Int(round) * 1024, [UInt8](repeating: 2, count: 1024)))
      try group.apply(savingFor: [large, small])
    }
    #expect(group.stores.map(\.durableBytes) == group.history.last.disks)
    #expect(try large.contents(2) == expected)
    // What was saved is still right; the rest is not given out.
    #expect(try small.bytes(disk: 0, offset: 0, count: 1024) == Array(expected[0][..<1024]))
    let error = #expect(throws: VolumeError.self) {
      try small.bytes(disk: 0, offset: 0, count: 8192)
    }
    #expect(error?.isViewLost == true)
  }

  @Test func `a read that the loss of its view overtakes fails`() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1, 1, 1]), now: 10)
    try group.apply()
    let view = try detached(group)
    try group.record(.write(disk: 0, offset: 0, [2, 2, 2]))
    scratch.faults.fail(.write, with: .noSpace)
    group.stores[0].onRead.set {
      group.stores[0].onRead.stop()
      #expect(throws: Never.self) { try group.apply(savingFor: [view]) }
    }
    let error = #expect(throws: VolumeError.self) {
      try view.bytes(disk: 0, offset: 0, count: 3)
    }
    #expect(error?.isViewLost == true && group.stores[0].bytes[0] == 2)
  }
}

extension VolumeError {
  fileprivate var isViewLost: Bool { if case .viewLost = self { true } else { false } }
}
