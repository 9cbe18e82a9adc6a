import BlockModel
import JournalTestSupport
import TestSupport
import Testing
import Volume

/// Proves that runs of bytes become a list that a BLOCK_STATUS reply may carry: complete, in order,
/// with borders on sectors, never claiming more than is so, and bounded.
@Suite struct StatusExtentsTests {
  typealias Run = StatusExtents.Run

  private func extents(
    from start: UInt64 = 0, winner: StatusExtents.Winner = .lowest, limit: Int = 100,
    _ pieces: [(UInt64, UInt32)]
  ) -> [Run] {
    var extents = StatusExtents(start: start, winner: winner, limit: limit)
    for (length, status) in pieces { extents.add(length: length, status: status) }
    extents.finish()
    return extents.runs
  }

  @Test func `neighbours with one status are one run`() {
    let runs = extents([(512, 0), (512, 0), (1024, 3), (512, 3), (512, 0)])
    #expect(
      runs == [Run(end: 1024, status: 0), Run(end: 2560, status: 3), Run(end: 3072, status: 0)])
  }

  @Test func `the winner has the whole sector`() {
    let pieces: [(UInt64, UInt32)] = [(1000, 3), (10, 0), (1062, 3)]
    #expect(
      extents(pieces) == [
        Run(end: 512, status: 3), Run(end: 1024, status: 0), Run(end: 2072, status: 3),
      ])
    #expect(extents(winner: .highest, pieces) == [Run(end: 2072, status: 3)])
  }

  @Test func `the ends need not lie on sectors`() {
    #expect(
      extents(from: 100, [(50, 3), (1000, 0), (7, 0)]) == [Run(end: 1157, status: 0)])
    #expect(
      extents(from: 100, [(412, 3), (7, 0)])
        == [Run(end: 512, status: 3), Run(end: 519, status: 0)])
  }

  @Test func `no more runs than the limit are listed`() {
    let pieces = (0..<10).map { (UInt64(512), UInt32($0 % 2)) }
    #expect(extents(limit: 3, pieces).map(\.end) == [512, 1024, 1536])
    #expect(extents(limit: 1, pieces) == [Run(end: 512, status: 0)])
  }

  @Test(arguments: 0..<200 as Range<UInt64>)
  func `each sector has the winner of its bytes`(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let start = UInt64.random(in: 0...2000, using: &random)
    let pieces = (0..<Int.random(in: 1...30, using: &random)).map { _ in
      (
        UInt64.random(in: 1...[3, 600, 3000].randomElement(using: &random)!, using: &random),
        [0, 2, 3].randomElement(using: &random)! as UInt32
      )
    }
    let bytes = pieces.flatMap { [UInt32](repeating: $0.1, count: Int($0.0)) }
    for winner in [StatusExtents.Winner.lowest, .highest] {
      let runs = extents(from: start, winner: winner, pieces)
      #expect(runs.last?.end == start + UInt64(bytes.count))
      var at = start
      for (index, run) in runs.enumerated() {
        #expect(run.end > at)
        if index > 0 { #expect(runs[index - 1].status != run.status) }
        if index < runs.count - 1 { #expect(run.end % 512 == 0) }
        while at < run.end {
          let end = min(run.end, (at / 512 + 1) * 512)
          let sector = bytes[Int(at - start)..<Int(end - start)]
          #expect(run.status == (winner == .lowest ? sector.min() : sector.max()))
          at = end
        }
      }
    }
  }
}
