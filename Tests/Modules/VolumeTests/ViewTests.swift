import BlockModel
import JournalTestSupport
import Storage
import StorageTesting
import TestSupport
import Testing

@testable import Journal
@testable import Volume

/// A view is the group as it was at its instant, byte for byte, and stays that while the group is
/// written to, applied, recycled and restarted.
@Suite struct ViewTests {
  struct Open {
    let plan: ViewPlan<FaultyFile>
    /// Nil between the two steps.
    var view: TestView?
  }

  /// An instant that exists: on a record, right before or after one, anywhere, or at an edge.
  static func instant(
    _ group: TestGroup, _ history: History, _ random: inout SeededGenerator
  ) -> Timestamp {
    let (start, end) = (history.start.rawValue, history.end.rawValue)
    let candidates = group.history.entries.map(\.timestamp.rawValue).filter {
      $0 >= start && $0 <= end
    }
    let near = candidates.isEmpty ? start : candidates[random.below(candidates.count)]
    let value =
      switch random.below(6) {
      case 0: start
      case 1: end
      case 2: near + 1
      case 3: max(near, 1) - 1
      case 4: start + random.next() % (end - start + 1)
      default: near
      }
    return Timestamp(rawValue: min(max(value, start), end))
  }

  @Test(arguments: UInt64(0)..<60)
  func equalsThePlainHistory(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var settings = TestGroup.Settings(
      diskByteCounts: (0...random.below(3)).map { _ in 3000 + random.below(20_000) })
    settings.segmentByteCount = [12 << 10, 16 << 10, 40 << 10][random.below(3)]
    settings.capacityByteCount = settings.segmentByteCount * (8 + random.below(20))
    let group = try TestGroup(seed: seed, settings)
    var open: [Open] = []
    var now: UInt64 = 1000

    func check(_ index: Int) throws {
      if open[index].view == nil { open[index].view = try group.view(open[index].plan) }
      let view = try #require(open[index].view)
      let expected = group.history.state(at: view.instant).disks
      #expect(try view.contents(expected.count) == expected, "at \(view.instant.rawValue)")
      let disk = random.below(expected.count)
      let offset = random.below(expected[disk].count)
      let count = random.below(expected[disk].count - offset + 1)
      #expect(
        try view.bytes(disk: disk, offset: offset, count: count)
          == Array(expected[disk][offset..<offset + count]))
    }

    for _ in 0..<80 {
      now += UInt64(random.below(40))
      let oldest = open.map(\.plan.instant).min() ?? .distantFuture
      switch random.below(14) {
      case 0, 1, 2:
        let history = group.instants(now: Timestamp(rawValue: now))
        let instant = Self.instant(group, history, &random)
        open.append(Open(plan: try group.plan(at: instant)))
      case 3: try group.apply(limit: 1 + random.below(4), through: oldest)
      case 4: try group.journal.sealActive()
      case 5: try group.journal.freezeActive()
      case 6, 7:
        if !open.isEmpty { try check(random.below(open.count)) }
      case 8:
        if !open.isEmpty { open.remove(at: random.below(open.count)).plan.release() }
      case 9:
        guard open.isEmpty else { break }
        try group.restart(random.chance(50) ? .clean : .kill)
      case 10: group.keepIndex(limit: 1 + random.below(6))
      default:
        for _ in 0...random.below(5) {
          // A full journal would have to apply past the views.
          guard group.hasSpareSegment else { break }
          let operation = Operation.random(
            &random, diskByteCounts: settings.diskByteCounts, writeLimit: 2500)
          #expect(try group.stage(operation, now: now))
        }
        try group.commit()
      }
    }
    for index in open.indices { try check(index) }
    open.forEach { $0.plan.release() }
    // Nothing holds the journal any more.
    try group.apply()
    #expect(group.journal.segmentCount <= 1)
  }

  @Test func recordsAtTheInstantBelongToIt() throws {
    let group = try TestGroup(seed: 1)
    for value in UInt8(1)...9 {
      try group.record(.write(disk: 0, offset: 0, [value]), now: UInt64(value) * 10)
      if value % 3 == 0 { try group.journal.sealActive() }
      if value % 4 == 0 { try group.journal.freezeActive() }
    }
    for value in UInt8(1)...9 {
      for (instant, expected) in [(-1, value - 1), (0, value), (1, value), (9, value)] {
        let plan = try group.plan(at: Timestamp(rawValue: UInt64(Int(value) * 10 + instant)))
        #expect(try group.view(plan).bytes(disk: 0, offset: 0, count: 1) == [expected])
        plan.release()
      }
    }
  }

  @Test func laterRecordsOfTheSameSegmentAreNotInTheView() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1]), now: 10)
    let plan = try group.plan(at: Timestamp(rawValue: 10))
    // Written between the two steps, with a clock that stands still.
    try group.record(.write(disk: 0, offset: 0, [2]), now: 10)
    let view = try group.view(plan)
    try group.record(.zero(disk: 0, offset: 0, length: 1), now: 10)
    #expect(try view.bytes(disk: 0, offset: 0, count: 2) == [1, 0])
    plan.release()
  }

  @Test func aViewPinsItsSegments() throws {
    let group = try TestGroup(seed: 1)
    for value in UInt8(1)...4 {
      try group.record(.write(disk: 0, offset: Int(value), [value]), now: UInt64(value) * 10)
      try group.journal.sealActive()
    }
    let plan = try group.plan(at: Timestamp(rawValue: 25))
    #expect(plan.floor == 1 && plan.cutSegment?.number == 2)
    let view = try group.view(plan)
    try group.apply(through: Timestamp(rawValue: 25))
    #expect(group.journal.applied == SequenceNumber(2))
    #expect(group.journal.segmentCount == 4)
    #expect(try view.contents(2) == group.history[SequenceNumber(2)].disks)
    plan.release()
    #expect(try group.recycle() == 2)
  }

  @Test func anEmptyJournalIsTheBase() throws {
    let group = try TestGroup(seed: 1)
    let plan = try group.plan(at: Timestamp(rawValue: 5))
    let view = try group.view(plan)
    #expect(view.instant == Timestamp(rawValue: 5))
    #expect(view.piece(disk: DiskNumber(0), at: 7, limit: 100).length == 100)
    #expect(view.piece(disk: DiskNumber(0), at: 7, limit: 100).source == nil)
    #expect(try view.contents(2) == group.history.last.disks)
    plan.release()
  }

  @Test func aJournalThatCannotBeReadIsReported() throws {
    let group = try TestGroup(seed: 1)
    try group.record(.write(disk: 0, offset: 0, [1]), now: 10)
    let plan = try group.plan(at: Timestamp(rawValue: 10))
    group.storage.faults.fail(.read, with: .io)
    do {
      _ = try group.view(plan)
      Issue.record("a failed read was not reported")
    } catch VolumeError.index(.storage(let errno, let doing)) {
      #expect(errno == .io && doing.contains("segment 1"))
    }
    let view = try group.view(plan)
    group.storage.faults.fail(.read, with: .io)
    #expect(throws: VolumeError.self) { try view.bytes(disk: 0, offset: 0, count: 1) }
    group.stores[0].failNext(.read, with: .io)
    #expect(throws: VolumeError.self) { try view.bytes(disk: 0, offset: 5, count: 1) }
    #expect(try view.bytes(disk: 0, offset: 0, count: 2) == [1, 0])
    plan.release()
  }

  /// Bytes of the second of three records: its disk, kind, timestamp, offset, length and payload.
  /// Where one is not what was written, the record would be missing, or be another one.
  @Test(arguments: [5, 7, 15, 23, 27, 28])
  func aSegmentThatIsDamagedWhereTheInstantLiesIsReported(position: Int) throws {
    let group = try TestGroup(seed: 1)
    for value in UInt8(1)...3 {
      try group.record(.write(disk: 0, offset: Int(value), [value]), now: UInt64(value) * 10)
    }
    try group.storage.open("segment-00000").damage(4096 + 29 + position) { $0 ^ 1 }
    let before = try group.plan(at: Timestamp(rawValue: 10))
    #expect(throws: VolumeError.self) { try group.view(before) }
    let after = try group.plan(at: Timestamp(rawValue: 30))
    #expect {
      _ = try group.view(after)
    } throws: { error in
      "\(error)".contains("record 2 in segment 1 does not verify")
    }
    before.release()
    after.release()
  }
}

extension TestGroup {
  var hasSpareSegment: Bool {
    createSlots()
    return journal.hasFreeSegment
  }
}
