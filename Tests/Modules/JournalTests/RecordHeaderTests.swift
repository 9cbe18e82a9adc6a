import BlockModel
import JournalTestSupport
import TestSupport
import Testing

@testable import Journal

/// The bytes of a record are what the format's table says, and its checksum binds them to their
/// place: changed bytes, or the same bytes in another place, are refused.
@Suite struct RecordHeaderTests {
  struct Golden: Sendable, CustomTestStringConvertible {
    let header: RecordHeader
    let payload: String
    let index: UInt32
    let bytes: [UInt8]
    var testDescription: String { "\(header.kind)" }
  }

  static let identity = SegmentIdentity(
    group: GroupIdentifier(high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98_7654_3210),
    incarnation: .numbered(7), number: 42)

  /// Checksums by a bitwise CRC-32C (polynomial 0x82F63B78) outside of this project.
  static let table: [Golden] = [
    Golden(
      header: RecordHeader(
        disk: DiskNumber(0x0102), kind: .write,
        timestamp: Timestamp(rawValue: 0x1122_3344_5566_7788), offset: 0xA0_B0C0, length: 4),
      payload: "tap!", index: 5,
      bytes: [
        0x35, 0x60, 0x95, 0x4B, 0x01, 0x02, 0x00, 0x01, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
        0x77, 0x88, 0x00, 0x00, 0x00, 0x00, 0x00, 0xA0, 0xB0, 0xC0, 0x00, 0x00, 0x00, 0x04,
      ]),
    Golden(
      header: RecordHeader(
        disk: DiskNumber(1), kind: .trim, timestamp: Timestamp(rawValue: 0x20),
        offset: 0x1_0000_0000, length: .max),
      payload: "", index: 0,
      bytes: [
        0x7F, 0x4D, 0x7C, 0x9D, 0x00, 0x01, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x20, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF,
      ]),
    Golden(
      header: RecordHeader(
        disk: DiskNumber(2), kind: .zero, timestamp: Timestamp(rawValue: 3), offset: 4096,
        length: 8192),
      payload: "", index: 1,
      bytes: [
        0xF2, 0x41, 0xDF, 0x5E, 0x00, 0x02, 0x00, 0x06, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x20, 0x00,
      ]),
    Golden(
      header: RecordHeader(
        disk: DiskNumber(0), kind: .checkpoint, timestamp: Timestamp(rawValue: 0x99), offset: 0,
        length: 3),
      payload: "one", index: 0x12345,
      bytes: [
        0x88, 0x17, 0xD7, 0x71, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x99, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03,
      ]),
  ]

  static func sealed(_ golden: Golden, in identity: SegmentIdentity) -> [UInt8] {
    var record = [UInt8](repeating: 0xCC, count: RecordHeader.byteCount) + golden.payload.utf8
    unsafe record.withUnsafeMutableBytes { buffer in
      unsafe golden.header.encode(
        sealing: buffer.baseAddress!, checksumStart: identity.checksumSeed ^ golden.index)
    }
    return record
  }

  /// Whether `record` parses and its checksum is right at that place.
  static func verifies(_ record: [UInt8], index: UInt32, in identity: SegmentIdentity) -> Bool {
    unsafe record.withUnsafeBytes { buffer in
      guard let header = unsafe RecordHeader(parsing: buffer.baseAddress!),
        RecordHeader.byteCount + header.payloadByteCount <= buffer.count
      else { return false }
      return unsafe header.verifies(
        buffer.baseAddress!, checksumStart: identity.checksumSeed ^ index)
    }
  }

  @Test(arguments: table)
  func bytesAreThoseOfTheFormat(golden: Golden) {
    #expect(Self.identity.checksumSeed == 0xFC76_C6F0)
    #expect(Self.sealed(golden, in: Self.identity) == golden.bytes + golden.payload.utf8)
  }

  @Test(arguments: table)
  func parsesItsOwnBytes(golden: Golden) {
    let parsed = unsafe golden.bytes.withUnsafeBytes {
      unsafe RecordHeader(parsing: $0.baseAddress!)
    }
    #expect(parsed == golden.header)
    #expect(parsed?.payloadByteCount == golden.payload.utf8.count)
    let record = golden.bytes + golden.payload.utf8
    #expect(Self.verifies(record, index: golden.index, in: Self.identity))
  }

  @Test(arguments: table)
  func aFlippedBitAnywhereIsRefused(golden: Golden) {
    let record = golden.bytes + golden.payload.utf8
    for bit in 0..<record.count * 8 {
      var damaged = record
      damaged[bit / 8] ^= 1 << UInt8(bit % 8)
      // A longer length may ask for bytes behind the record: they are there, and are others.
      damaged += [UInt8](repeating: 0x5A, count: 1 << 12)
      #expect(
        !Self.verifies(damaged, index: golden.index, in: Self.identity), "bit \(bit) flipped")
    }
  }

  @Test(arguments: table)
  func theSameBytesDoNotVerifyElsewhere(golden: Golden) {
    let record = golden.bytes + golden.payload.utf8
    let own = Self.identity
    for index in UInt32(0)..<2000 where index != golden.index {
      #expect(!Self.verifies(record, index: index, in: own))
    }
    let others = [
      SegmentIdentity(group: own.group, incarnation: .numbered(7), number: 43),
      SegmentIdentity(group: own.group, incarnation: .numbered(7), number: 0),
      SegmentIdentity(group: own.group, incarnation: .numbered(8), number: 42),
      SegmentIdentity(group: own.group, incarnation: .numbered(42), number: 7),
      SegmentIdentity(
        group: GroupIdentifier(high: own.group.low, low: own.group.high),
        incarnation: .numbered(7), number: 42),
    ]
    for other in others {
      #expect(!Self.verifies(record, index: golden.index, in: other), "\(other)")
    }
  }

  @Test func seedsOfNeighboursDiffer() {
    var seeds: Set<UInt32> = []
    for epoch in UInt64(0)..<40 {
      for number in UInt32(0)..<250 {
        let identity = SegmentIdentity(
          group: Self.identity.group, incarnation: .numbered(epoch), number: number)
        seeds.insert(identity.checksumSeed)
      }
    }
    #expect(seeds.count == 40 * 250)
  }

  struct Impossible: Sendable, CustomTestStringConvertible {
    let what: String
    let kind: UInt16
    let offset: UInt64
    let length: UInt32
    var testDescription: String { what }
  }

  @Test(arguments: [
    Impossible(what: "kind 0", kind: 0, offset: 0, length: 1),
    Impossible(what: "a read", kind: 2, offset: 0, length: 1),
    Impossible(what: "kind 258", kind: 258, offset: 0, length: 1),
    Impossible(what: "payload over the limit", kind: 1, offset: 0, length: 1 << 20 + 1),
    Impossible(what: "tag over the limit", kind: 256, offset: 0, length: 1 << 20 + 1),
    Impossible(what: "range that overflows", kind: 4, offset: .max - 9, length: 10),
    Impossible(what: "write that overflows", kind: 1, offset: .max, length: 1),
  ])
  func impossibleFieldsAreNoRecord(fields: Impossible) {
    var bytes = [UInt8](repeating: 0, count: RecordHeader.byteCount)
    unsafe bytes.withUnsafeMutableBytes { buffer in
      unsafe buffer.storeBytes(of: fields.kind.bigEndian, toByteOffset: 6, as: UInt16.self)
      unsafe buffer.storeBytes(of: fields.offset.bigEndian, toByteOffset: 16, as: UInt64.self)
      unsafe buffer.storeBytes(of: fields.length.bigEndian, toByteOffset: 24, as: UInt32.self)
    }
    let parsed = unsafe bytes.withUnsafeBytes { unsafe RecordHeader(parsing: $0.baseAddress!) }
    #expect(parsed == nil)
  }

  @Test func randomBytesAreNeverARecord() {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<2000 {
      var bytes = random.bytes(4200)
      // A possible kind and length, so that the checksum is what refuses.
      bytes[6...7] = [0, 1]
      bytes[24...25] = [0, 0]
      bytes[16] = 0
      bytes[26] &= 0x0F
      #expect(!Self.verifies(bytes, index: 0, in: Self.identity))
    }
  }
}
