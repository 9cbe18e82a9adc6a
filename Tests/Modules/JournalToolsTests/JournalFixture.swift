import BlockModel
import Foundation
import JournalTools
import SystemIO
import Testing

@testable import Journal

/// A journal folder that the product's own `Journal` writes, as a site does: records, syncs, state,
/// recycling. Goes away with the value.
final class JournalFixture {
  static let segmentByteCount = 64 << 10
  static let disks = [
    JournalState.Disk(name: "root", byteCount: 1 << 20),
    JournalState.Disk(number: DiskNumber(1), name: "data", byteCount: 2 << 20),
  ]

  let path: String
  var state: JournalState
  private(set) var journal: Journal<FolderStorage>
  private let storage: FolderStorage
  private let stateFile: JournalStateFile<SystemIO.File>
  private var generation: UInt64 = 0
  private var clock = Timestamp(rfc3339: "2026-11-21T10:00:00Z")!
  private let record = PageBuffer(byteCount: 64 << 10)

  init(
    slots: Int = 6, group: GroupIdentifier = GroupIdentifier(high: 7, low: 9)
  ) throws {
    path = NSTemporaryDirectory() + "tapline-journal-\(UUID().uuidString)"
    storage = try FolderStorage(path: path)
    stateFile = try .create(in: storage)
    _ = try storage.create(JournalFolder.lockName, byteCount: 1)
    state = JournalState(
      groupName: "shop", group: group, disks: Self.disks,
      baseline: .complete)
    journal = try Self.open(storage, state, slots: slots, continuesLastSegment: true)
    try saveState(isClean: false)
    try createSlots()
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  private static func open(
    _ storage: FolderStorage, _ state: JournalState, slots: Int, continuesLastSegment: Bool
  ) throws -> Journal<FolderStorage> {
    Journal(
      storage: storage,
      options: .init(
        segmentByteCount: segmentByteCount, capacityByteCount: slots * segmentByteCount),
      state: state, recovered: try JournalRecovery(storage, state: state),
      continuesLastSegment: continuesLastSegment)
  }

  /// Starts again as after a crash: recovers, and begins the next epoch.
  func restartAfterCrash(slots: Int = 6) throws {
    let recovered = try JournalRecovery(storage, state: state)
    state.beginIncarnation(after: .init(recovered.lastSequence, .zero))
    try saveState(isClean: false)
    journal = try Self.open(storage, state, slots: slots, continuesLastSegment: false)
    try createSlots()
  }

  /// Goes back to `sequence` and begins the next epoch there, as after a failover.
  func fork(after sequence: SequenceNumber, slots: Int = 6) throws {
    state.beginIncarnation(after: .init(sequence, .zero))
    try saveState(isClean: false)
    let file = journal.catalog.segment(holding: sequence.rawValue)?.file
    let bytes = PageBuffer(byteCount: Self.segmentByteCount)
    let all = unsafe UnsafeMutableRawBufferPointer(start: bytes.base, count: bytes.count)
    _ = try unsafe file?.read(into: all, at: 0)
    let recovered = try JournalRecovery(storage, state: state, cut: sequence)
    // A crash leaves what is void.
    try unsafe file?.write(UnsafeRawBufferPointer(all), at: 0)
    journal = Journal(
      storage: storage, options: journal.options, state: state, recovered: recovered,
      continuesLastSegment: false)
    try createSlots()
  }

  func createSlots() throws {
    while let (slot, name) = journal.slotToCreate() {
      journal.slotCreated(slot, try storage.create(name, byteCount: Self.segmentByteCount))
    }
  }

  func saveState(isClean: Bool) throws {
    generation += 1
    state.isClean = isClean
    try stateFile.write(state, generation: generation)
  }

  /// One second later than the record before, in a batch of its own.
  @discardableResult
  func append(
    _ kind: RecordKind, disk: UInt16 = 0, offset: UInt64 = 0, length: UInt32 = 0,
    fill: UInt8 = 0, tag: String = ""
  ) throws -> SequenceNumber {
    clock = Timestamp(rawValue: clock.rawValue + 1_000_000_000)
    let payload: [UInt8]
    switch kind {
    case .write: payload = [UInt8](repeating: fill, count: Int(length))
    case .checkpoint, .disk: payload = Array(tag.utf8)
    case .trim, .zero: payload = []
    }
    if !journal.hasRoom(payloadByteCount: payload.count) { try createSlots() }
    let count = kind.isMarker ? UInt32(payload.count) : length
    unsafe record.base.advanced(by: RecordHeader.byteCount).copyMemory(
      from: payload, byteCount: payload.count)
    try unsafe journal.append(
      kind, disk: DiskNumber(disk), offset: offset, length: count, now: clock,
      record: record.base)
    try journal.commit()
    return journal.appended
  }

  /// `count` writes of 4 KiB over disk 0; each fills its block with its number.
  func fill(_ count: Int) throws {
    for number in 0..<count {
      try append(
        .write, offset: UInt64(number % 128) * 4096, length: 4096,
        fill: UInt8(truncatingIfNeeded: number + 1))
    }
  }

  /// Makes all records durable and says so in the state file, as a clean stop does.
  func close() throws {
    if let job = journal.syncJob() {
      try job.run()
      journal.syncCompleted(job)
    }
    state.durable = journal.durable
    try saveState(isClean: true)
  }

  /// Makes all records durable and writes the sidecars, as a site's keeper does.
  func writeSidecars() throws {
    try sync()
    while let job = journal.sidecarJob() { _ = try job.run() }
  }

  private func sync() throws {
    guard let job = journal.syncJob() else { return }
    try job.run()
    journal.syncCompleted(job)
  }

  /// As after an apply step: the bases hold everything through `sequence`.
  func applyAndRecycle(through sequence: SequenceNumber, at timestamp: Timestamp) throws {
    state.applied = .init(sequence, timestamp)
    state.applyTarget = state.applied
    state.durable = max(state.durable, sequence)
    try saveState(isClean: false)
    try sync()
    journal.applyCompleted(through: sequence)
    if let oldest = journal.oldestNeeded {
      state.oldestSegment = oldest
      try saveState(isClean: false)
      journal.recycle(before: oldest)
    }
  }

  func folder() throws -> JournalFolder { try JournalFolder(path) }

  // MARK: Harm

  /// The file that holds segment `number`.
  func name(ofSegment number: UInt32) throws -> String {
    let found = try folder().segments.first { $0.header?.number == number }
    guard let found else { throw FixtureError("no segment \(number)") }
    return found.name
  }

  func flipBit(of name: String, at position: Int) throws {
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: "\(path)/\(name)"))
    defer { try? handle.close() }
    try handle.seek(toOffset: UInt64(position))
    guard let byte = try handle.read(upToCount: 1)?.first else { throw FixtureError("too short") }
    try handle.seek(toOffset: UInt64(position))
    try handle.write(contentsOf: Data([byte ^ 0x10]))
  }

  /// Puts another sidecar of the same segment in the place of this one: its last extent lies
  /// elsewhere, and all its sums are right.
  func moveLastExtent(inSidecarOf name: String) throws {
    let file = try storage.open(name)
    let sidecarName = SidecarIndex.name(ofSegmentFile: name)
    let header = try #require(try JournalRecovery<FolderStorage>.readHeader(of: file))
    guard
      case .whole(let sidecar) = try SidecarIndex.read(
        try storage.open(sidecarName), of: header, disks: state.disks.map(\.byteCount))
    else { throw FixtureError("\(sidecarName) has no index") }
    let maps = try sidecar.generation.sealedMaps().map { map in
      try SealedExtentMap(checking: map.count) { index in
        var extent = map[index]
        if index == map.count - 1 { extent.source.rawValue -= 1 }
        return extent
      }
    }
    let other = SidecarIndex(
      of: header, end: sidecar.end,
      generation: Generation(
        span: sidecar.generation.span, checkpoints: sidecar.generation.checkpoints, maps: maps))
    try storage.replace(sidecarName, with: try other.encoded())
  }

  func truncate(_ name: String, to byteCount: UInt64) throws {
    try SystemIO.File(opening: "\(path)/\(name)", .readWrite).truncate(to: byteCount)
  }

  func remove(_ name: String) throws { try SystemIO.Directory.remove("\(path)/\(name)") }
}

struct FixtureError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
