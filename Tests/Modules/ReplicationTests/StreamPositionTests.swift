import JournalTestSupport
import Replication
import TestSupport
import Testing

/// Proves that a position in the stream fits in the argument of a frame and that positions have the
/// order of the stream.
struct StreamPositionTests {
  static let ordered = [
    StreamPosition(segment: 0, offset: 0), StreamPosition(segment: 1, offset: 0),
    StreamPosition(segment: 1, offset: 4096), StreamPosition(segment: 1, offset: .max),
    StreamPosition(segment: 2, offset: 0), StreamPosition(segment: .max, offset: 0),
    StreamPosition(segment: .max, offset: .max),
  ]

  @Test(arguments: ordered) func `a position survives its argument`(position: StreamPosition) {
    #expect(StreamPosition(argument: position.argument) == position)
  }

  @Test func `the segment is the upper half`() {
    #expect(StreamPosition(segment: 7, offset: 4096).argument == 0x0000_0007_0000_1000)
  }

  @Test func `segments go before offsets`() {
    var random = SeededGenerator(seed: 1)
    #expect(Self.ordered.shuffled(using: &random).sorted() == Self.ordered)
    #expect(Set(Self.ordered.map(\.argument)).count == Self.ordered.count)
  }
}
