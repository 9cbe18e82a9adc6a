import JournalTestSupport
import Replication
import TestSupport
import Testing

/// Proves that what was compressed comes back, and that bytes from the wire which are no LZ4 block
/// give nil and write nothing past the room they were given.
struct LZ4Tests {
  struct Sample: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let bytes: [UInt8]
    init(_ description: String, _ bytes: [UInt8]) {
      testDescription = description
      self.bytes = bytes
    }
  }

  static let samples: [Sample] = {
    var random = SeededGenerator(seed: 4)
    return [
      Sample("one byte", [7]), Sample("zeros", [UInt8](repeating: 0, count: 1 << 20)),
      Sample("random", random.bytes(100_000)),
      Sample("text", Array(String(repeating: "continuous data protection ", count: 500).utf8)),
    ]
  }()

  private static func compress(_ bytes: [UInt8], room: Int? = nil) -> [UInt8]? {
    var target = [UInt8](repeating: 0, count: room ?? LZ4.compressedLimit(bytes.count))
    let count = unsafe bytes.withUnsafeBytes { source in
      unsafe target.withUnsafeMutableBytes { unsafe LZ4.compress(source, into: $0) }
    }
    return count.map { Array(target.prefix($0)) }
  }

  /// Gives the decoder `room` bytes in front of a guard that must stay as it is.
  private static func decompress(_ bytes: [UInt8], room: Int) -> [UInt8]? {
    var target = [UInt8](repeating: 0xA5, count: room + 64)
    let count = unsafe bytes.withUnsafeBytes { source in
      unsafe target.withUnsafeMutableBytes { buffer in
        unsafe LZ4.decompress(
          source, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<room]))
      }
    }
    #expect(target.suffix(64).allSatisfy { $0 == 0xA5 })
    return count.map { Array(target.prefix($0)) }
  }

  @Test(arguments: samples) func `bytes come back as they were`(sample: Sample) throws {
    let packed = try #require(Self.compress(sample.bytes))
    #expect(packed.count <= LZ4.compressedLimit(sample.bytes.count))
    #expect(Self.decompress(packed, room: sample.bytes.count) == sample.bytes)
    #expect(Self.decompress(packed, room: sample.bytes.count + 100) == sample.bytes)
  }

  @Test func `repetitions shrink`() throws {
    let packed = try #require(Self.compress([UInt8](repeating: 9, count: 1 << 20)))
    #expect(packed.count < 1 << 14)
  }

  @Test func `what does not fit gives nil`() throws {
    var random = SeededGenerator(seed: 5)
    let bytes = random.bytes(10_000)
    #expect(Self.compress(bytes, room: 5000) == nil)
    let packed = try #require(Self.compress(bytes))
    #expect(Self.decompress(packed, room: 9999) == nil)
  }

  @Test(
    arguments: [
      // A token that promises literals which are not there; lengths without an end; a match that
      // goes back before the beginning.
      [0xF0], [0x50, 1, 2], [0xF0, 255, 255, 255], [0x10, 7, 9, 0, 0], [0x1F, 7, 200, 1, 255, 255],
      [],
    ] as [[UInt8]])
  func `malformed input gives nil`(bytes: [UInt8]) {
    #expect(Self.decompress(bytes, room: 4096) == nil)
  }

  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func `random and damaged input never leaves its room`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let packed = try #require(Self.compress(Self.samples[3].bytes))
    for _ in 0..<500 {
      var bytes = random.bytes(random.below(200))
      if random.below(2) == 0 {
        bytes = packed
        bytes[random.below(bytes.count)] ^= 1 << random.below(8)
      }
      let room = 1 + random.below(20_000)
      #expect(Self.decompress(bytes, room: room)?.count ?? 0 <= room)
    }
  }
}
