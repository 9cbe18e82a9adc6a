import BlockModel
import JournalTestSupport
import SystemIO
import Testing

@testable import Journal

/// The header of a segment: every field comes back, the bytes are those of the format's table, and
/// whatever is not whole counts as blank.
@Suite struct SegmentHeaderTests {
  static let header = SegmentHeader(
    identity: SegmentIdentity(
      group: GroupIdentifier(high: 0x0102_0304_0506_0708, low: 0x1112_1314_1516_1718),
      incarnation: Incarnation(
        identifier: .init(high: 0x6162, low: 0x6364), parent: .init(high: 0x6566, low: 0x6768),
        term: 3, epoch: 7, after: .init(SequenceNumber(0x7172), Timestamp(rawValue: 0x7374))),
      number: 0x3132_3334),
    segmentByteCount: 64 << 20, firstSequence: SequenceNumber(0x4142_4344_4546_4748),
    firstTimestamp: Timestamp(rawValue: 0x5152_5354_5556_5758))

  static func resealed(_ bytes: [UInt8]) -> [UInt8] {
    let body = Array(bytes[..<4092])
    let sum = unsafe body.withUnsafeBytes { unsafe CRC32C.standard($0) }
    return body + (0..<4).map { UInt8(truncatingIfNeeded: sum >> UInt32(24 - 8 * $0)) }
  }

  @Test func bytesAreThoseOfTheFormat() {
    var expected = Array("TAPLSEG1".utf8)
    expected += [0, 0, 0, 2]
    expected += [4, 0, 0, 0]
    let words: [UInt64] = [
      0x0102_0304_0506_0708, 0x1112_1314_1516_1718, 0x3132_3334, 0x4142_4344_4546_4748,
      0x5152_5354_5556_5758, 0x6162, 0x6364, 0x6566, 0x6768, 3, 7, 0x7172, 0x7374,
    ]
    for word in words {
      for place in 0..<8 {
        expected.append(UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * place)))
      }
    }
    let bytes = Self.header.encoded()
    #expect(bytes.count == 4096)
    #expect(Array(bytes[..<120]) == expected)
    #expect(bytes[120..<4092].allSatisfy { $0 == 0 })
    #expect(bytes == Self.resealed(bytes))
  }

  @Test func comesBackWhole() throws {
    #expect(try SegmentHeader(decoding: Self.header.encoded()) == Self.header)
  }

  @Test func zerosAndOtherLengthsAreBlank() {
    let whole = Self.header.encoded()
    for bytes in [[], Array(whole.dropLast()), whole + [0], [UInt8](repeating: 0, count: 4096)] {
      #expect(throws: SegmentHeader.Refusal.blank) { try SegmentHeader(decoding: bytes) }
    }
  }

  @Test func aFlippedBitAnywhereMakesItBlank() {
    let whole = Self.header.encoded()
    for bit in stride(from: 0, to: whole.count * 8, by: 7) {
      var bytes = whole
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(throws: SegmentHeader.Refusal.blank) { try SegmentHeader(decoding: bytes) }
    }
  }

  /// A header that replaces an older one is 8 sectors; any mixture of the two is neither.
  @Test func aTornReplacementIsBlankOrWhole() throws {
    let old = Self.header
    let new = SegmentHeader(
      identity: SegmentIdentity(
        group: old.identity.group, incarnation: old.incarnation, number: 9),
      segmentByteCount: 64 << 20, firstSequence: SequenceNumber(0x8000_0000),
      firstTimestamp: Timestamp(rawValue: 6))
    for mixture in 0..<256 {
      var bytes = old.encoded()
      for sector in 0..<8 where mixture >> sector & 1 == 1 {
        bytes.replaceSubrange(
          sector * 512..<sector * 512 + 512,
          with: new.encoded()[sector * 512..<sector * 512 + 512])
      }
      let decoded = try? SegmentHeader(decoding: bytes)
      // Only the first and the last sector differ.
      switch (mixture & 1, mixture >> 7) {
      case (0, 0): #expect(decoded == old)
      case (1, 1): #expect(decoded == new)
      default: #expect(decoded == nil)
      }
    }
  }

  @Test func aNewerVersionIsNamed() {
    var bytes = Self.header.encoded()
    bytes[11] = 3
    #expect(throws: SegmentHeader.Refusal.otherVersion(3)) {
      try SegmentHeader(decoding: Self.resealed(bytes))
    }
  }

  @Test func aSegmentNumberBeyond32BitsIsRefused() {
    var bytes = Self.header.encoded()
    bytes[35] = 1
    #expect(throws: SegmentHeader.Refusal.blank) {
      try SegmentHeader(decoding: Self.resealed(bytes))
    }
  }

  /// Field by field: number, first sequence, first timestamp.
  @Test(arguments: [(0, 1, 1), (.max, 1, 1), (1, 0, 1), (1, 1, 0)] as [(UInt32, UInt64, UInt64)])
  func `a header that nobody writes is blank, although it verifies`(
    number: UInt32, first: UInt64, timestamp: UInt64
  ) {
    let header = SegmentHeader(
      identity: SegmentIdentity(
        group: Self.header.identity.group, incarnation: .numbered(1), number: number),
      segmentByteCount: 64 << 20, firstSequence: SequenceNumber(first),
      firstTimestamp: Timestamp(rawValue: timestamp))
    #expect(throws: SegmentHeader.Refusal.blank) {
      try SegmentHeader(decoding: header.encoded())
    }
  }
}
