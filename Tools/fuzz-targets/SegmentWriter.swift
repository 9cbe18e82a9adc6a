import BlockModel
import Journal

/// Makes segments whose sums are right and whose contents the input chooses: mostly what comes
/// next, at times something else. Bytes with wrong sums would never reach what is behind the sum.
struct SegmentWriter {
  static let group = GroupIdentifier(high: 7, low: 9)
  static let segmentByteCount: UInt32 = 16 << 10

  /// Epochs and records are numbered to here: a million records a second come so far in 146,000
  /// years.
  static let largest: UInt64 = 1 << 62

  let disks: [UInt64]
  private(set) var header: SegmentHeader?
  /// The next record's number, place and earliest time, if nothing is out of order.
  private(set) var nextSequence: UInt64 = 1
  private(set) var position = SegmentHeader.byteCount
  private(set) var lastTimestamp: UInt64 = 1 << 60
  /// Of all segments so far: a group's state knows it before the first record is written.
  private(set) var newestEpoch: UInt64 = 1
  private(set) var recordCount: UInt32 = 0

  init(disks: [UInt64]) { self.disks = disks }

  static func incarnation(_ epoch: UInt64, after sequence: UInt64 = 0) -> Incarnation {
    Incarnation(
      identifier: .init(high: 3, low: epoch), epoch: epoch,
      after: .init(SequenceNumber(sequence), .zero))
  }

  /// The header of another segment.
  mutating func begin(_ input: inout FuzzInput) -> [UInt8] {
    let next = (header?.epoch ?? 1) + (input.byte() & 7 == 7 ? 1 : 0)
    let epoch = min(near(next, &input), Self.largest)
    newestEpoch = max(newestEpoch, epoch)
    let number = near(UInt64(header?.number ?? 0) + 1, &input)
    let isForeign = input.byte() == 255
    let first = near(nextSequence, &input)
    let time = near(lastTimestamp + 1, &input)
    let size = near(UInt64(Self.segmentByteCount), &input)
    let identity = SegmentIdentity(
      group: isForeign ? GroupIdentifier(high: 1, low: 1) : Self.group,
      incarnation: Self.incarnation(epoch),
      number: UInt32(truncatingIfNeeded: number))
    let begun = SegmentHeader(
      identity: identity, segmentByteCount: UInt32(truncatingIfNeeded: size),
      firstSequence: SequenceNumber(first), firstTimestamp: Timestamp(rawValue: time))
    header = begun
    nextSequence = first
    position = SegmentHeader.byteCount
    recordCount = 0
    return begun.encoded()
  }

  /// The next record, with its sum.
  mutating func record(_ input: inout FuzzInput) -> [UInt8] {
    let kind: RecordKind = [.write, .write, .trim, .zero, .checkpoint][input.below(5)]
    let disk = near(UInt64(input.below(max(1, disks.count))), &input)
    let size = disks.isEmpty ? 0 : disks[Int(disk % UInt64(disks.count))]
    let offset = near(size == 0 ? 0 : UInt64(input.integer(UInt16.self)) % size, &input)
    let isInMemory = kind == .write || kind == .checkpoint
    let byteCount = input.below(isInMemory ? 64 : 255)
    let timestamp = near(lastTimestamp + 1, &input)
    let record = RecordHeader(
      disk: DiskNumber(UInt16(truncatingIfNeeded: disk)), kind: kind,
      timestamp: Timestamp(rawValue: timestamp), offset: offset, length: UInt32(byteCount))
    var payload = isInMemory ? input.bytes(byteCount) : []
    payload += [UInt8](repeating: 0x5a, count: record.payloadByteCount - payload.count)
    var bytes = [UInt8](repeating: 0, count: RecordHeader.byteCount) + payload
    let seed = header?.identity.checksumSeed ?? 0
    unsafe bytes.withUnsafeMutableBytes { bytes in
      guard let start = bytes.baseAddress else { return }
      unsafe record.encode(sealing: start, checksumStart: seed ^ recordCount)
    }
    recordCount += 1
    nextSequence &+= 1
    position += bytes.count
    lastTimestamp = max(lastTimestamp, min(timestamp, 1 << 62))
    return bytes
  }

  /// `value` in most cases; else something beside it, or anything.
  func near(_ value: UInt64, _ input: inout FuzzInput) -> UInt64 {
    switch input.byte() {
    case 250: value &+ 1
    case 251: value &- 1
    case 252: 0
    case 253: .max
    case 254: input.integer()
    case 255: value &+ UInt64(input.byte())
    default: value
    }
  }
}
