import BlockModel
import JournalTestSupport
import StorageTesting
import Synchronization
import SystemIO
import TestSupport
import Testing
import Volume

@testable import Journal

/// Random writes, steps, views and detachings against the plain history: every view equals its
/// instant at all times, also between the save and the write of every step, and for readers on
/// other threads.
@Suite struct DetachedViewModelTests {
  struct Open {
    let view: TestView
    let plan: ViewPlan<FaultyFile>
    let expected: [[UInt8]]
    /// Nil while it is attached.
    var overlay: SavedExtents<FaultyFile>?
  }

  /// A group that is written to without end: views give way when the journal is full.
  final class World {
    let group: TestGroup
    let scratch: FaultyStorage
    let budget = ScratchBudget(byteLimit: 1 << 30)
    var random: SeededGenerator
    var open: [Open] = []
    var now: UInt64 = 1000
    var checksInSteps = 0

    init(seed: UInt64, diskByteCounts: [Int]) throws {
      random = SeededGenerator(seed: seed)
      var settings = TestGroup.Settings(diskByteCounts: diskByteCounts)
      settings.segmentByteCount = [12 << 10, 16 << 10, 40 << 10][random.below(3)]
      settings.capacityByteCount = settings.segmentByteCount * (4 + random.below(6))
      group = try TestGroup(seed: seed, settings)
      scratch = FaultyStorage(seed: seed)
      for store in group.stores {
        store.onChange.set { [unowned self] in
          checksInSteps += 1
          #expect(throws: Never.self) { try checkPart() }
        }
      }
    }

    func openView() throws {
      let history = group.instants(now: Timestamp(rawValue: now))
      let instant = ViewTests.instant(group, history, &random)
      let plan = try group.plan(at: instant)
      open.append(
        Open(
          view: try group.view(plan), plan: plan,
          expected: group.history.state(at: instant).disks))
    }

    var oldestAttached: Timestamp? {
      open.filter { $0.overlay == nil }.map(\.view.instant).min()
    }

    /// All views of the instant, as a site does; they share an overlay.
    func detach(at instant: Timestamp) {
      let overlay = SavedExtents(diskCount: group.stores.count, budget: budget) {
        [scratch] () throws(Errno) -> FaultyFile in try scratch.create("scratch", byteCount: 0)
      }
      for index in open.indices
      where open[index].view.instant == instant && open[index].overlay == nil {
        open[index].view.detach(
          keepingIn: overlay, floor: group.journal.firstUnappliedSegment)
        open[index].plan.release()
        open[index].overlay = overlay
      }
    }

    func apply(limit: Int) throws {
      var overlays: Set<ObjectIdentifier> = []
      var savers: [TestView] = []
      var sharing: [TestView] = []
      for one in open.shuffled(using: &random) {
        guard let overlay = one.overlay else { continue }
        let isFirst = overlays.insert(ObjectIdentifier(overlay)).inserted
        if isFirst { savers.append(one.view) } else { sharing.append(one.view) }
      }
      try group.apply(
        limit: limit, through: oldestAttached ?? .distantFuture, savingFor: savers,
        sharing: sharing)
    }

    func makeRoom() throws {
      while !group.hasSpareSegment {
        try apply(limit: 8)
        guard !group.hasSpareSegment, let oldest = oldestAttached else { continue }
        detach(at: oldest)
      }
    }

    func write(_ count: Int) throws {
      for _ in 0..<count {
        try makeRoom()
        now += UInt64(random.below(40))
        let operation = Operation.random(
          &random, diskByteCounts: group.settings.diskByteCounts, writeLimit: 2500)
        #expect(try group.record(operation, now: now))
      }
    }

    func checkPart() throws {
      guard !open.isEmpty else { return }
      let one = open[random.below(open.count)]
      let disk = random.below(one.expected.count)
      let offset = random.below(one.expected[disk].count)
      let count = 1 + random.below(one.expected[disk].count - offset)
      try #require(
        try one.view.bytes(disk: disk, offset: offset, count: count)
          == Array(one.expected[disk][offset..<offset + count]))
    }

    func checkAll() throws {
      for one in open {
        try #require(try one.view.contents(one.expected.count) == one.expected)
      }
    }

    func close(_ index: Int) {
      let one = open.remove(at: index)
      if one.overlay == nil { one.plan.release() }
    }
  }

  @Test(arguments: UInt64(0)..<30)
  func `every view equals the plain history`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed ^ 0xDE7)
    let world = try World(
      seed: seed, diskByteCounts: (0...random.below(3)).map { _ in 3000 + random.below(20_000) })
    for _ in 0..<70 {
      switch random.below(12) {
      case 0, 1: if world.open.count < 6 { try world.openView() }
      case 2: try world.apply(limit: 1 + random.below(4))
      case 3: if let oldest = world.oldestAttached { world.detach(at: oldest) }
      case 4: try world.group.journal.sealActive()
      case 5: try world.group.journal.freezeActive()
      case 6: world.group.keepIndex(limit: 1 + random.below(3))
      case 7: if !world.open.isEmpty { world.close(random.below(world.open.count)) }
      default: try world.write(1 + random.below(12))
      }
      try world.checkPart()
    }
    try world.openView()
    try world.write(60)
    while let oldest = world.oldestAttached { world.detach(at: oldest) }
    try world.apply(limit: .max)
    try world.checkAll()
    #expect(try world.group.contents() == world.group.history.last.disks)
    while !world.open.isEmpty { world.close(0) }
    #expect(world.budget.usedByteCount == 0)
    #expect(world.checksInSteps > 0)
  }

  /// What the readers of the stress found.
  private final class Findings: Sendable {
    let isOver = Atomic<Bool>(false)
    let reads = Atomic<Int>(0)
    let problem = Mutex<String?>(nil)
  }

  private static func read(_ views: [Open], seed: UInt64, _ findings: Findings) {
    var random = SeededGenerator(seed: seed)
    while !findings.isOver.load(ordering: .relaxed) {
      let one = views[random.below(views.count)]
      let disk = random.below(one.expected.count)
      let offset = random.below(one.expected[disk].count)
      let count = 1 + random.below(min(3000, one.expected[disk].count - offset))
      do {
        let bytes = try one.view.bytes(disk: disk, offset: offset, count: count)
        if bytes != Array(one.expected[disk][offset..<offset + count]) {
          findings.problem.withLock {
            $0 = "disk \(disk), \(count) bytes at \(offset) of \(one.view.instant.rawValue)"
          }
        }
      } catch { findings.problem.withLock { $0 = "\(error)" } }
      findings.reads.add(1, ordering: .relaxed)
    }
  }

  @Test func `readers on other threads see only their instant while apply passes it`() throws {
    let world = try World(seed: 5, diskByteCounts: [40 << 10, 9 << 10])
    for store in world.group.stores { store.onChange.stop() }
    for _ in 0..<3 {
      try world.write(40)
      try world.openView()
    }
    let findings = Findings()
    let views = world.open
    let readers = (UInt64(0)..<3).map { seed in
      Thread(name: "reader-\(seed)") { Self.read(views, seed: seed, findings) }
    }
    // Until the journal was written many times over, and the readers came along.
    var rounds = 0
    while findings.problem.withLock({ $0 }) == nil,
      rounds < 100 || findings.reads.load(ordering: .relaxed) < 20_000
    {
      try world.write(10)
      rounds += 1
    }
    findings.isOver.store(true, ordering: .relaxed)
    for reader in readers { reader.join() }
    #expect(findings.problem.withLock { $0 } == nil)
    #expect(world.open.allSatisfy { $0.overlay != nil } && world.budget.usedByteCount > 0)
    #expect(world.group.journal.oldestSegment?.number ?? 0 > 20)
    try world.checkAll()
  }
}
