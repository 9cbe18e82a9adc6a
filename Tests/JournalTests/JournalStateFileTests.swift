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
      disks: [.init(name: "root", byteCount: 20 << 30), .init(name: "data", byteCount: 1)],
      baseline: .copying)
    state.beginEpoch(after: SequenceNumber(41))
    state.applied = .init(SequenceNumber(10), Timestamp(rawValue: 100))
    state.applyTarget = .init(SequenceNumber(12), Timestamp(rawValue: 120))
    state.durable = SequenceNumber(40)
    state.peerDurable = SequenceNumber(9)
    state.historyStart = Timestamp(rawValue: 77)
    state.isClean = false
    state.noteGap(.init(from: Timestamp(rawValue: 3), to: Timestamp(rawValue: 5)))
    return state
  }()

  /// With `disks`, the state spans many sectors.
  static func wide(_ name: String) -> JournalState {
    JournalState(
      groupName: name, group: GroupIdentifier(high: 1, low: 2),
      disks: (0..<200).map { .init(name: "\(name)-\($0)", byteCount: UInt64($0 + 1)) },
      baseline: .complete)
  }

  static func file(seed: UInt64 = 1) throws -> (FaultyStorage, JournalStateFile<FaultyFile>) {
    let storage = FaultyStorage(seed: seed)
    return (storage, try .create(in: storage))
  }

  @Test func aNewFileIsBlank() throws {
    #expect(try Self.file().1.read() == .blank)
  }

  @Test(arguments: [JournalState.Baseline.missing, .copying, .complete])
  func everyFieldComesBack(baseline: JournalState.Baseline) throws {
    let (_, file) = try Self.file()
    var state = Self.state
    state.baseline = baseline
    try file.write(state, generation: 1)
    #expect(try file.read() == .state(state, generation: 1))
    state.peerDurable = nil
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
    raw.damage((32 << 10) + 40) { $0 ^ 1 }
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
    raw.damage((32 << 10) + 40) { $0 ^ 1 }
    #expect(try file.read() == .state(Self.state, generation: 2))
    #expect(try file.lacksCopy(beside: 2))
    raw.damage((32 << 10) + 40) { $0 ^ 1 }
    #expect(try !file.lacksCopy(beside: 3))
    raw.damage(40) { $0 ^ 1 }
    #expect(try file.read() == .state(Self.state, generation: 3))
    #expect(try file.lacksCopy(beside: 3))
  }

  @Test func aNewerVersionIsNamed() throws {
    let (storage, file) = try Self.file()
    try file.write(Self.state, generation: 2)
    try storage.open("state").damage(11) { _ in 9 }
    #expect(try file.read() == .newerVersion(9))
  }

  /// A newer program wrote last: what an older one wrote before it is history.
  @Test(arguments: [UInt64(2), 3])
  func aNewerVersionBesideAnOlderStateIsNamed(generation: UInt64) throws {
    let (storage, file) = try Self.file()
    try file.write(Self.state, generation: generation)
    try file.write(Self.state, generation: generation + 1)
    let newer = Int((generation + 1) % 2) * (32 << 10)
    try storage.open("state").damage(newer + 11) { _ in 2 }
    #expect(try file.read() == .newerVersion(2))
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
  @Test func epochsBeginAfterTheLastRecord() {
    var state = JournalStateFileTests.state
    state.beginEpoch(after: SequenceNumber(50))
    #expect(state.epoch == 3)
    #expect(
      state.epochs == [
        .init(epoch: 1, firstSequence: SequenceNumber(1)),
        .init(epoch: 2, firstSequence: SequenceNumber(42)),
        .init(epoch: 3, firstSequence: SequenceNumber(51)),
      ])
  }

  @Test func notingAnEpochReplacesItAndLaterOnes() {
    var state = JournalStateFileTests.state
    state.beginEpoch(after: SequenceNumber(50))
    state.noteEpoch(.init(epoch: 2, firstSequence: SequenceNumber(30)))
    #expect(state.epoch == 3)
    #expect(state.epochs.map(\.epoch) == [1, 2])
    #expect(state.epochs.last?.firstSequence == SequenceNumber(30))
  }

  @Test func listsAreBoundedAndKeepTheNewest() {
    var state = JournalStateFileTests.state
    for round in UInt64(0)..<400 {
      state.beginEpoch(after: SequenceNumber(100 + round))
      state.noteGap(.init(from: Timestamp(rawValue: round), to: Timestamp(rawValue: round + 1)))
    }
    #expect(state.epochs.count == JournalState.epochLimit)
    #expect(state.epochs.last?.epoch == state.epoch)
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
