import Testing

@testable import Analyzer

/// Proves which writes count as sequential: those in runs of two or more, also in interleaved and
/// slightly reordered streams, and no others.
@Suite struct RunDetectorTests {
  /// Feeds blocks of 4 KiB by number.
  private func sequentialWrites(_ blocks: some Sequence<UInt64>) -> UInt64 {
    var detector = RunDetector()
    var total: UInt64 = 0
    for block in blocks {
      let run = detector.note(start: block * 4096, end: (block + 1) * 4096)
      #expect(run.bytes == run.writes * 4096)
      total += run.writes
    }
    return total
  }

  @Test func everyWriteOfARunCounts() {
    #expect(sequentialWrites(0..<1000) == 1000)
  }

  @Test func loneWritesDoNotCount() {
    #expect(sequentialWrites((0..<1000).map { $0 * 2 }) == 0)
  }

  @Test func rewritingOnePlaceIsNotSequential() {
    #expect(sequentialWrites(repeatElement(7, count: 100)) == 0)
  }

  @Test func backwardsIsNotSequential() {
    #expect(sequentialWrites((0..<100).reversed()) == 0)
  }

  @Test(arguments: [2, 5, 16])
  func interleavedStreamsAllCount(streams: UInt64) {
    let blocks = (0..<100 as Range<UInt64>).flatMap { step in
      (0..<streams).map { $0 * 1_000_000 + step }
    }
    #expect(sequentialWrites(blocks) == 100 * streams)
  }

  @Test func swappedNeighboursStillCount() {
    // 0 2 1 3, 4 6 5 7, …: each swap begins a run of its own that the next write joins.
    var blocks: [UInt64] = []
    for first in stride(from: 0 as UInt64, to: 1000, by: 4) {
      blocks += [first, first + 2, first + 1, first + 3]
    }
    #expect(sequentialWrites(blocks) == 1000)
  }

  @Test(arguments: [(1, 500), (4, 500), (15, 500), (16, 0)] as [(UInt64, UInt64)])
  func streamIsSeenThroughScatteredWrites(scattered: UInt64, sequential: UInt64) {
    var blocks: [UInt64] = []
    for step in 0..<500 as Range<UInt64> {
      blocks.append(step)
      for place in 0..<scattered { blocks.append(1_000_000 + (step * scattered + place) * 2) }
    }
    #expect(sequentialWrites(blocks) == sequential)
  }
}
