import BlockModel
import Journal
import TestSupport

/// What a guest, or the checkpoint schedule, asks of a group.
public enum Operation: Equatable, Sendable {
  case write(disk: Int, offset: Int, [UInt8])
  case zero(disk: Int, offset: Int, length: Int)
  case trim(disk: Int, offset: Int, length: Int)
  case checkpoint(tag: String)

  public var kind: RecordKind {
    switch self {
    case .write: .write
    case .zero: .zero
    case .trim: .trim
    case .checkpoint: .checkpoint
    }
  }

  public var disk: DiskNumber {
    switch self {
    case .write(let disk, _, _), .zero(let disk, _, _), .trim(let disk, _, _):
      DiskNumber(UInt16(disk))
    case .checkpoint: DiskNumber(0)
    }
  }

  public var offset: Int {
    switch self {
    case .write(_, let offset, _), .zero(_, let offset, _), .trim(_, let offset, _): offset
    case .checkpoint: 0
    }
  }

  public var length: Int {
    switch self {
    case .write(_, _, let bytes): bytes.count
    case .zero(_, _, let length), .trim(_, _, let length): length
    case .checkpoint(let tag): tag.utf8.count
    }
  }

  public var payload: [UInt8] {
    switch self {
    case .write(_, _, let bytes): bytes
    case .checkpoint(let tag): Array(tag.utf8)
    case .zero, .trim: []
    }
  }

  /// Something that fits the disks; a write has at most `writeLimit` bytes.
  public static func random(
    _ random: inout SeededGenerator, diskByteCounts: [Int], writeLimit: Int
  ) -> Operation {
    if random.chance(4) {
      return .checkpoint(tag: random.chance(50) ? "" : "tag\(random.below(9))")
    }
    let disk = random.below(diskByteCounts.count)
    let size = diskByteCounts[disk]
    // Mostly small and often at the same places, so that records overlap in every way.
    let unit = [1, 512, 4096][random.below(3)]
    let limit = min(size, random.chance(80) ? min(2048, writeLimit) : writeLimit)
    let offset = min(random.below(size) / unit * unit, size - 1)
    let length = 1 + random.below(min(limit, size - offset))
    if random.chance(70) { return .write(disk: disk, offset: offset, random.bytes(length)) }
    let cleared = min(size - offset, length * (random.chance(20) ? 8 : 1))
    return random.chance(50)
      ? .zero(disk: disk, offset: offset, length: cleared)
      : .trim(disk: disk, offset: offset, length: cleared)
  }

  public func apply(to disks: inout [[UInt8]]) {
    switch self {
    case .write(let disk, let offset, let bytes):
      disks[disk].replaceSubrange(offset..<offset + bytes.count, with: bytes)
    case .zero(let disk, let offset, let length), .trim(let disk, let offset, let length):
      disks[disk].replaceSubrange(
        offset..<offset + length, with: repeatElement(0, count: length))
    case .checkpoint: break
    }
  }
}

/// Every state that a group has been in, the plain way: a copy of all disks after each record.
public struct RecordHistory: Sendable {
  public struct Entry: Sendable {
    public let timestamp: Timestamp
    public let operation: Operation?
    public let disks: [[UInt8]]
  }

  /// Entry `n` is the state after record `n`; entry 0 is the beginning.
  public private(set) var entries: [Entry]

  public init(diskByteCounts: [Int]) {
    entries = [
      Entry(
        timestamp: .zero, operation: nil,
        disks: diskByteCounts.map { [UInt8](repeating: 0, count: $0) })
    ]
  }

  public var last: Entry { entries[entries.count - 1] }
  public var lastSequence: SequenceNumber { SequenceNumber(UInt64(entries.count - 1)) }

  public mutating func append(_ operation: Operation, at timestamp: Timestamp) {
    var disks = last.disks
    operation.apply(to: &disks)
    entries.append(Entry(timestamp: timestamp, operation: operation, disks: disks))
  }

  /// Forgets the records after `sequence`: a crash took them.
  public mutating func truncate(after sequence: SequenceNumber) {
    entries.removeSubrange((Int(sequence.rawValue) + 1)...)
  }

  public subscript(sequence: SequenceNumber) -> Entry { entries[Int(sequence.rawValue)] }

  /// The state at an instant: after the last record that is not later.
  public func state(at instant: Timestamp) -> Entry {
    entries[(entries.firstIndex { $0.timestamp > instant } ?? entries.count) - 1]
  }
}
