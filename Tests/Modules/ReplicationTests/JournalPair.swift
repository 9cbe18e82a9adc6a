import BlockModel
import Foundation
import Journal
import JournalTestSupport
import SystemIO
import TestSupport

/// A journal in a temporary folder, which goes away with the value.
final class FolderJournal {
  static let segmentByteCount = 64 << 10
  static let disks = [
    JournalState.Disk(name: "root", byteCount: 1 << 20),
    JournalState.Disk(number: DiskNumber(1), name: "data", byteCount: 2 << 20),
  ]
  static let group = GroupIdentifier(high: 7, low: 9)
  private static let slots = 8

  let path: String
  let journal: Journal<FolderStorage>
  private let record: PageBuffer
  private var clock: UInt64 = 1_795_000_000_000_000_000

  /// - Parameter epoch: above 1, records begin in a later epoch.
  init(epoch: UInt64 = 1, segmentByteCount: Int = segmentByteCount) throws {
    record = PageBuffer(byteCount: segmentByteCount)
    path = NSTemporaryDirectory() + "tapline-replication-\(UUID().uuidString)"
    let storage = try FolderStorage(path: path)
    var state = JournalState(
      groupName: "shop", group: Self.group, disks: Self.disks, baseline: .complete)
    while state.epoch < epoch { state.beginIncarnation(after: .init(.none, .zero)) }
    journal = Journal(
      storage: storage,
      options: .init(
        segmentByteCount: segmentByteCount, capacityByteCount: Self.slots * segmentByteCount),
      state: state, recovered: try JournalRecovery(storage, state: state),
      continuesLastSegment: true)
    try createSlots()
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func createSlots() throws {
    while let (slot, name) = journal.slotToCreate(isIdle: false) {
      journal.slotCreated(
        slot, try journal.storage.create(name, byteCount: journal.options.segmentByteCount))
    }
  }

  // MARK: Writing

  /// One record in a batch of its own.
  func append(_ kind: RecordKind, disk: UInt16 = 0, offset: UInt64, payload: [UInt8]) throws {
    try append(kind, disk: disk, offset: offset, length: UInt32(payload.count), payload)
  }

  func append(
    _ kind: RecordKind, disk: UInt16 = 0, offset: UInt64, length: UInt32, _ payload: [UInt8] = []
  ) throws {
    if !journal.hasRoom(payloadByteCount: payload.count) { try createSlots() }
    clock += 1_000_000
    unsafe (record.base + RecordHeader.byteCount).copyMemory(
      from: payload, byteCount: payload.count)
    try unsafe journal.append(
      kind, disk: DiskNumber(disk), offset: offset, length: length,
      now: Timestamp(rawValue: clock), record: record.base)
    try journal.commit()
  }

  /// Records of all kinds and sizes until `count` segments are used.
  func fill(segments count: Int, seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    while journal.segmentCount < count || journal.newestSegment?.end ?? 0 < 32 << 10 {
      let disk = UInt16(random.below(2))
      let offset = UInt64(random.below(1 << 20 - 1 << 16))
      switch random.below(10) {
      case 0: try append(.trim, disk: disk, offset: offset, length: UInt32(random.below(1 << 16)))
      case 1: try append(.zero, disk: disk, offset: offset, length: UInt32(random.below(1 << 16)))
      case 2: try append(.checkpoint, offset: 0, payload: Array("tag \(random.below(99))".utf8))
      case 3: try append(.write, disk: disk, offset: offset, payload: [])
      default:
        let payload = random.bytes(1 + random.below(journal.payloadLimit))
        try append(.write, disk: disk, offset: offset, payload: payload)
      }
    }
  }

  // MARK: Reading

  var segments: [Segment<SystemIO.File>] {
    Array(journal.segments(after: .none, through: SequenceNumber(.max)))
  }

  /// A segment's header and records as they are in its file.
  static func bytes(of segment: Segment<SystemIO.File>) throws -> [UInt8] {
    let buffer = PageBuffer(byteCount: segment.end)
    let count = segment.end
    let room = unsafe UnsafeMutableRawBufferPointer(start: buffer.base, count: count)
    guard try unsafe segment.file.read(into: room, at: 0) == count else { throw Errno.io }
    return unsafe [UInt8](room)
  }

  /// The records of a segment, one by one, as they are sent.
  static func records(of segment: Segment<SystemIO.File>) throws -> [[UInt8]] {
    let bytes = try bytes(of: segment)
    var scanner = SegmentScanner(segment.file, header: segment.header, limit: segment.end)
    var records: [[UInt8]] = []
    while let position = try scanner.next()?.position {
      records.append(Array(bytes[position..<scanner.position]))
    }
    return records
  }
}

/// What a journal did with bytes of the peer.
enum Acceptance: Equatable {
  case taken(Int)
  /// `JournalError.notNext`: the peer is wrong.
  case notNext
  case brokenPromise(SequenceNumber)
  case behindEnd(SequenceNumber, DiskNumber, end: UInt64)
  case mismatch
  case failed(String)

  fileprivate init(_ error: JournalError) {
    switch error {
    case .notNext: self = .notNext
    case .brokenPromise(let sequence, _, _): self = .brokenPromise(sequence)
    case .behindEnd(let sequence, let disk, let end): self = .behindEnd(sequence, disk, end: end)
    case .mismatch: self = .mismatch
    default: self = .failed("\(error)")
    }
  }
}

extension FolderJournal {
  /// All that may change when bytes are taken.
  struct Position: Equatable {
    let stamped: SequenceNumber
    let timestamp: Timestamp
    let epoch: UInt64
    let segmentCount: Int
    let segment: UInt32?
    let offset: Int?
  }

  var position: Position {
    let place = journal.acceptPosition
    return Position(
      stamped: journal.stamped, timestamp: journal.newestTimestamp, epoch: journal.currentEpoch,
      segmentCount: journal.segmentCount, segment: place?.segment, offset: place?.offset)
  }

  func acceptSegment(_ header: SegmentHeader) throws -> Acceptance {
    try createSlots()
    do throws(JournalError) { try journal.acceptSegment(header) } catch { return .init(error) }
    return .taken(SegmentHeader.byteCount)
  }

  /// Offers the bytes and commits what was taken of them.
  func accept(
    _ bytes: [UInt8], disks: [UInt64] = FolderJournal.disks.map(\.byteCount)
  ) throws -> Acceptance {
    let buffer = PageBuffer(byteCount: bytes.count)
    unsafe buffer.base.copyMemory(from: bytes, byteCount: bytes.count)
    let outcome = unsafe accept(
      UnsafeMutableRawBufferPointer(start: buffer.base, count: bytes.count), disks: disks)
    try journal.commit()
    return outcome
  }

  /// The memory must stay unchanged until `commit`.
  func accept(
    _ bytes: UnsafeMutableRawBufferPointer, disks: [UInt64]
  ) -> Acceptance {
    do throws(JournalError) {
      return .taken(try unsafe journal.accept(bytes, disks: disks))
    } catch { return .init(error) }
  }
}
