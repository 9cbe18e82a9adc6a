import JournalTestSupport
import Replication
import TestSupport
import Testing

/// Proves that the 16 bytes in front of every message say what the table of `LinkFrame` promises,
/// and that bytes which cannot be a frame are refused.
struct LinkFrameTests {
  static let kinds: [LinkFrameKind] = [
    .hello, .begin, .cut, .baselineBegin, .baselineData, .baselineZeros, .baselineEnd, .segment,
    .records, .compressedRecords, .heartbeat, .durable, .diverged, .restamped,
    .reconciled, .owed, .jump, .welcome, .refused, .progress, .lacking, .lackingEnd, .digests,
  ]

  private static func parse(_ bytes: [UInt8]) -> LinkFrame? {
    unsafe bytes.withUnsafeBytes { buffer in
      unsafe buffer.baseAddress.flatMap { unsafe LinkFrame(parsing: $0) }
    }
  }

  private static func header(kind: UInt16, bodyByteCount: UInt32) -> [UInt8] {
    [UInt8(kind >> 8), UInt8(kind & 0xFF), 0, 0]
      + (0..<4).map { UInt8(truncatingIfNeeded: bodyByteCount >> (24 - 8 * $0)) }
      + [UInt8](repeating: 0, count: 8)
  }

  @Test(arguments: kinds) func `a frame comes back as it was`(kind: LinkFrameKind) {
    let frame = LinkFrame(kind, bodyByteCount: 60_000, argument: 0x0102_0304_0506_0708)
    #expect(frame.encoded.count == LinkFrame.byteCount)
    #expect(Self.parse(frame.encoded) == frame)
  }

  @Test func `fields are big-endian and in their places`() {
    let frame = LinkFrame(.welcome, bodyByteCount: 0x01_0203, argument: 0x1112_1314_1516_1718)
    #expect(
      frame.encoded == [
        0, 32, 0, 0, 0, 1, 2, 3, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
      ])
  }

  @Test(arguments: [0, 24, 30, 41, 256, 0x2000, .max] as [UInt16])
  func `an unknown kind is refused`(kind: UInt16) {
    #expect(Self.parse(Self.header(kind: kind, bodyByteCount: 0)) == nil)
  }

  @Test(arguments: kinds) func `a body is as long as its kind may be`(kind: LinkFrameKind) {
    let limit = UInt32(LinkFrame.bodyLimit(of: kind))
    for count in [0, 1, limit] {
      let parsed = Self.parse(Self.header(kind: kind.rawValue, bodyByteCount: count))
      #expect(parsed?.bodyByteCount == Int(count))
    }
    for count in [limit + 1, 1 << 31, .max] {
      #expect(Self.parse(Self.header(kind: kind.rawValue, bodyByteCount: count)) == nil)
    }
  }

  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `random bytes are a known frame or none`(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<2000 {
      var bytes = random.bytes(LinkFrame.byteCount)
      // Half of them with a small kind, so that more than the first field is looked at.
      if random.below(2) == 0 { bytes[0] = 0 }
      guard let frame = Self.parse(bytes) else { continue }
      #expect(frame.encoded.prefix(2) == bytes.prefix(2))
      #expect(frame.encoded.suffix(12) == bytes.suffix(12))
    }
  }
}
