import BlockModel
import JournalTestSupport
import TestSupport

@testable import Journal

extension TestGroup {
  /// With so many random records, in several segments.
  static func random(_ count: Int, seed: UInt64) throws -> TestGroup {
    let group = try TestGroup(seed: testSeed(seed))
    var generator = SeededGenerator(seed: testSeed(seed + 100))
    for _ in 0..<count {
      try group.record(
        .random(&generator, diskByteCounts: group.settings.diskByteCounts, writeLimit: 2000))
    }
    return group
  }

  /// In order.
  var segments: [Segment<FaultyFile>] {
    let all = journal.catalog.pinnedAll()
    for segment in all { segment.unpin() }
    return all
  }
}
