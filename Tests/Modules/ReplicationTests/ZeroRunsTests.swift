import TestSupport
import Testing

@testable import Replication

/// Zeros in a piece of a disk are found, and nothing else is taken for zeros.
@Suite struct ZeroRunsTests {
  private static func runs(_ bytes: [UInt8]) -> [(Range<Int>, Bool)] {
    var runs: [(Range<Int>, Bool)] = []
    unsafe bytes.withUnsafeBytes { buffer in
      unsafe ZeroRuns.forEach(buffer) { runs.append(($0, $1)) }
    }
    return runs
  }

  @Test func `a byte anywhere keeps its block`() {
    for offset in [0, 7, 63, 64, 65_535, 65_536, 131_071, 131_072, 140_000] {
      var bytes = [UInt8](repeating: 0, count: 140_001)
      bytes[offset] = 1
      let runs = Self.runs(bytes)
      #expect(runs.filter { !$0.1 }.map(\.0).contains { $0.contains(offset) })
      #expect(runs.first?.0.lowerBound == 0 && runs.last?.0.upperBound == bytes.count)
      #expect(runs.count { !$0.1 } == 1)
      #expect(zip(runs, runs.dropFirst()).allSatisfy { $0.0.upperBound == $1.0.lowerBound })
    }
  }

  @Test func `what is all zeros is one run`() {
    let runs = Self.runs([UInt8](repeating: 0, count: 1 << 20))
    #expect(runs.count == 1 && runs[0].0 == 0..<1 << 20 && runs[0].1)
  }
}
