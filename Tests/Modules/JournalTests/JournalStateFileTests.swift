import BlockModel
import JournalTestSupport
import SystemIO
import Testing

@testable import Journal

/// The state file gives back the newest state that was written whole, whatever happens to the
/// write of the next one.
@Suite struct JournalStateFileTests {
  static let state: JournalState = {
    var state = JournalState(
      groupName: "läden", group: GroupIdentifier(high: 1, low: .max),
      disks: [
        .init(name: "root", byteCount: 20 << 30),
        .init(number: DiskNumber(9), name: "data", byteCount: 1),
      ],
      baseline: .copying)
    state.folder = "/srv/läden"
    state.ownership = Ownership(
      duty: .owning, term: 7, configured: .following, highestTerm: 9, isTaken: true)
    state.fork = Fork(
      at: .init(
        last: .init(SequenceNumber(8), Timestamp(rawValue: 80)), tail: 5,
        end: .init(SequenceNumber(9), Timestamp(rawValue: 90)), byteCount: 4096),
      instant: Timestamp(rawValue: 85), began: Timestamp(rawValue: 1000),
      commits: Timestamp(rawValue: 2000), parked: "parked2", epoch: 3,
      identity: GroupIdentifier(high: 4, low: 5))
    state.fork?.stage = .returning
    state.fork?.returned = "rolled-back"
    state.fences = [
      Fence(term: 9, site: "süd", isPending: true, isMove: true),
      Fence(term: 8, site: "north", isPending: false),
    ]
    state.lineage = Lineage([.numbered(1), .numbered(2, after: 41, at: 110)])
    state.ownerDurable = .init(.numbered(2), SequenceNumber(44))
    state.applied = .init(SequenceNumber(10), Timestamp(rawValue: 100))
    state.applyTarget = .init(SequenceNumber(12), Timestamp(rawValue: 120))
    state.durable = SequenceNumber(40)
    state.followers = [
      .init(site: "west", durable: SequenceNumber(9)),
      .init(site: "süd", durable: .none, isKept: false),
    ]
    state.historyStart = Timestamp(rawValue: 77)
    state.lack = .init(list: 5, by: SequenceNumber(3), before: "before-gap-g")
    state.nextDisk = 17
    state.disks[0].removed = .init(SequenceNumber(39), Timestamp(rawValue: 390))
    state.disks[0].backing = "file:/srv/root.raw"
    (state.disks[1].added, state.disks[1].whole) = (nil, nil)
    state.disks[1].cameHere = true
    state.isClean = false
    state.noteGap(.init(from: Timestamp(rawValue: 3), to: Timestamp(rawValue: 5)))
    return state
  }()

  /// With `disks`, the state spans many sectors.
  static func wide(_ name: String) -> JournalState {
    JournalState(
      groupName: name, group: GroupIdentifier(high: 1, low: 2),
      disks: (0..<200).map {
        .init(
          number: DiskNumber(UInt16($0)), name: "\(name)-\($0)", byteCount: UInt64($0 + 1))
      },
      baseline: .complete)
  }

  static func file(seed: UInt64 = 1) throws -> (FaultyStorage, JournalStateFile<FaultyFile>) {
    let storage = FaultyStorage(seed: seed)
    return (storage, try .create(in: storage))
  }

  @Test func aNewFileIsBlank() throws {
    #expect(try Self.file().1.read() == .blank)
  }

  @Test(arguments: [JournalState.Baseline.missing, .copying, .reconciling, .complete])
  func everyFieldComesBack(baseline: JournalState.Baseline) throws {
    let (_, file) = try Self.file()
    var state = Self.state
    state.baseline = baseline
    try file.write(state, generation: 1)
    #expect(try file.read() == .state(state, generation: 1))
    state.followers = []
    state.isClean = true
    try file.write(state, generation: 2)
    #expect(try file.read() == .state(state, generation: 2))
  }

  @Test func whatWasWrittenIsDurable() throws {
    let (storage, file) = try Self.file()
    for generation in UInt64(1)...9 {
      let state = Self.wide("generation\(generation)")
      try file.write(state, generation: generation)
      storage.crash()
      #expect(try file.read() == .state(state, generation: generation))
    }
  }

  @Test(arguments: UInt64(0)..<200)
  func aTornWriteLeavesTheOlderOrTheNewer(seed: UInt64) throws {
    let (storage, file) = try Self.file(seed: seed)
    let old = Self.wide("old")
    let new = Self.wide("new")
    try file.write(Self.wide("older"), generation: seed)
    try file.write(old, generation: seed + 1)
    storage.faults.fail(.sync, with: .io)
    if seed % 2 == 0 { storage.faults.fail(.write, with: .io) }
    #expect(throws: Errno.io) { try file.write(new, generation: seed + 2) }
    storage.crash()
    let reading = try file.read()
    #expect(
      reading == .state(old, generation: seed + 1)
        || reading == .state(new, generation: seed + 2))
  }

  @Test func withoutAWholeCopyItIsDamaged() throws {
    let (storage, file) = try Self.file()
    try file.write(Self.state, generation: 1)
    let raw = try storage.open("state")
    raw.damage((256 << 10) + 40) { $0 ^ 1 }
    #expect(try file.read() == .damaged)
  }

  @Test func anyDamageToACopyIsNoticed() throws {
    let (storage, file) = try Self.file()
    try file.write(Self.state, generation: 3)
    try file.write(Self.state, generation: 4)
    let raw = try storage.open("state")
    // From behind the version to the end of the encoded state; generation 4 is the first copy.
    for position in 20..<120 {
      raw.damage(position) { $0 ^ 0x10 }
      #expect(try file.read() == .state(Self.state, generation: 3), "byte \(position)")
      raw.damage(position) { $0 ^ 0x10 }
    }
    #expect(try file.read() == .state(Self.state, generation: 4))
  }

  @Test func `a lost copy is noticed, whichever it is`() throws {
    let (storage, file) = try Self.file()
    try file.write(Self.state, generation: 1)
    #expect(try !file.lacksCopy(beside: 1))
    try file.write(Self.state, generation: 2)
    #expect(try !file.lacksCopy(beside: 2))
    let raw = try storage.open("state")
    raw.damage(40) { $0 ^ 1 }
    #expect(try file.read() == .state(Self.state, generation: 1))
    #expect(try file.lacksCopy(beside: 1))
    raw.damage(40) { $0 ^ 1 }
    try file.write(Self.state, generation: 3)
    raw.damage((256 << 10) + 40) { $0 ^ 1 }
    #expect(try file.read() == .state(Self.state, generation: 2))
    #expect(try file.lacksCopy(beside: 2))
    raw.damage((256 << 10) + 40) { $0 ^ 1 }
    #expect(try !file.lacksCopy(beside: 3))
    raw.damage(40) { $0 ^ 1 }
    #expect(try file.read() == .state(Self.state, generation: 3))
    #expect(try file.lacksCopy(beside: 3))
  }

  /// The most disks, with the longest names, and lists as long as they get.
  @Test func `the largest state has its place`() throws {
    let (_, file) = try Self.file()
    let name = String(repeating: "n", count: 64)
    var state = JournalState(
      groupName: name, group: GroupIdentifier(high: 1, low: 2),
      disks: (0..<256).map { .init(number: DiskNumber($0), name: name, byteCount: 1) },
      baseline: .complete)
    state.fillLists()
    try file.write(state, generation: 1)
    #expect(try file.read() == .state(state, generation: 1))
  }

  /// Present ones and such as have left, with the bytes of a path; the names have 20.
  @Test(arguments: [(1800, 50), (1000, 150), (512, 350), (256, 850), (59, 4000)])
  func `so many disks have their place`(count: Int, path: Int) throws {
    var state = Self.state(disks: count, path: path)
    // Only the answer: a failure would describe the whole state.
    let fits = JournalStateFile<FaultyFile>.fits(state)
    let more = JournalStateFile<FaultyFile>.fits(Self.state(disks: count * 5 / 4, path: path))
    state.fillLists()
    let fitsStill = JournalStateFile<FaultyFile>.fits(state)
    #expect(fits && fitsStill && !more)
  }

  /// What fits has kept the place for all else, to the byte.
  @Test func `a state at the brim has its place with lists of full length`() throws {
    let (_, file) = try Self.file()
    var state = Self.state(disks: 256, path: 850)
    let name = state.groupName
    var length = 0
    for step in (0..<14).reversed().map({ 1 << $0 }) {
      state.groupName = name + String(repeating: "n", count: length + step)
      if JournalStateFile<FaultyFile>.fits(state) { length += step }
    }
    state.groupName = name + String(repeating: "n", count: length)
    state.fillLists()
    try file.write(state, generation: 1)
    #expect(try file.read() == .state(state, generation: 1))
    state.groupName += "n"
    #expect(throws: Errno.overflow) { try file.write(state, generation: 2) }
  }

  @Test func `a state that exceeds its copy is refused, and the one before stays`() throws {
    let (_, file) = try Self.file()
    try file.write(Self.state, generation: 1)
    for generation in UInt64(2)...3 {
      #expect(throws: Errno.overflow) {
        try file.write(Self.state(disks: 4000, path: 100), generation: generation)
      }
      #expect(try file.read() == .state(Self.state, generation: 1))
    }
    #expect(Errno.overflow.withAdvice.contains("use shorter paths"))
  }

  private static func state(disks count: Int, path: Int) -> JournalState {
    var state = JournalState(
      groupName: "g", group: GroupIdentifier(high: 1, low: 2),
      disks: (0..<count).map {
        .init(
          number: DiskNumber(UInt16($0)), name: String(repeating: "n", count: 20), byteCount: 1)
      }, baseline: .complete)
    for place in state.disks.indices {
      state.disks[place].backing = String(repeating: "p", count: path)
    }
    return state
  }

  @Test func `a state of an older version is refused with words`() throws {
    let (storage, file) = try Self.file()
    try file.write(Self.state, generation: 2)
    try storage.open("state").damage(11) { _ in 1 }
    #expect(try file.read() == .otherVersion(1))
    #expect(FormatVersion.advice(1, own: 2).contains("older version"))
    #expect(FormatVersion.advice(3, own: 2).contains("start that version"))
  }

  @Test func aNewerVersionIsNamed() throws {
    let (storage, file) = try Self.file()
    try file.write(Self.state, generation: 2)
    try storage.open("state").damage(11) { _ in 11 }
    #expect(try file.read() == .otherVersion(11))
  }

  /// A newer program wrote last: what an older one wrote before it is history.
  @Test(arguments: [UInt64(2), 3])
  func aNewerVersionBesideAnOlderStateIsNamed(generation: UInt64) throws {
    let (storage, file) = try Self.file()
    try file.write(Self.state, generation: generation)
    try file.write(Self.state, generation: generation + 1)
    let newer = Int((generation + 1) % 2) * (256 << 10)
    try storage.open("state").damage(newer + 11) { _ in 11 }
    #expect(try file.read() == .otherVersion(11))
  }

  @Test(arguments: [Faults.Operation.write, .sync])
  func anErrorOfTheStorageIsPassedOn(operation: Faults.Operation) throws {
    let (storage, file) = try Self.file()
    storage.faults.fail(operation, with: .noSpace)
    #expect(throws: Errno.noSpace) { try file.write(Self.state, generation: 1) }
  }
}

/// The lists in the state are bounded, and keep the newest.
@Suite struct JournalStateTests {
  @Test func listsAreBoundedAndKeepTheNewest() {
    var state = JournalStateFileTests.state
    for round in UInt64(0)..<400 {
      state.beginIncarnation(after: .init(SequenceNumber(100 + round), .zero))
      state.noteGap(.init(from: Timestamp(rawValue: round), to: Timestamp(rawValue: round + 1)))
    }
    #expect(state.lineage.incarnations.count == Lineage.limit)
    #expect(state.lineage.newest?.after.sequence == SequenceNumber(499))
    #expect(state.gaps.count == JournalState.gapLimit)
    #expect(state.gaps.last?.to == Timestamp(rawValue: 400))
  }

  @Test func `a gap ends when the full copy that began it is complete`() {
    var state = JournalStateFileTests.state
    state.baseline = .copying
    state.noteGap(.init(from: Timestamp(rawValue: 10), to: Timestamp(rawValue: 20)))
    state.completeBaseline(at: Timestamp(rawValue: 50))
    #expect(state.baseline == .complete && state.historyStart == Timestamp(rawValue: 50))
    #expect(state.gaps.last == .init(from: Timestamp(rawValue: 10), to: Timestamp(rawValue: 50)))
  }
}

extension JournalState {
  /// As long as they get, with the longest names.
  fileprivate mutating func fillLists() {
    isClean = false
    for number in UInt64(1)...400 {
      beginIncarnation(after: .init(SequenceNumber(number), .zero))
      noteGap(.init(from: .zero, to: Timestamp(rawValue: number)))
    }
    let name = String(repeating: "n", count: EntityName.maximumBytes)
    followers = (0..<Self.followerLimit).map { _ in
      .init(site: name, durable: .none)
    }
    fork = Fork(
      at: .init(last: .origin, tail: 1, end: .origin, byteCount: 1), instant: .zero, began: .zero,
      commits: Timestamp(rawValue: 1), parked: name, epoch: 1, identity: group)
    fork?.returned = name
    lack.before = name
    fences = (0..<Self.followerLimit).map { _ in Fence(term: 1, site: name, isPending: true) }
  }
}
