import BlockModel
import JournalTestSupport
import Testing

@testable import Journal

/// Proves that who looks up in the index names, and so pins, no segment that only waits to be
/// recycled: with reads always under way the journal would fill up.
@Suite struct IndexFloorTests {
  /// The peer has no record.
  private static let nothing = SequenceNumber(0)

  /// Six segments, which the peer still needs, whatever is applied.
  private func group() throws -> TestGroup {
    let group = try TestGroup(seed: 1)
    for value in UInt8(1)...6 {
      try group.record(.write(disk: 0, offset: Int(value), [value]))
      try group.journal.sealActive()
    }
    try group.sync()
    return group
  }

  @Test func `segments whose records are applied are recycled while somebody looks up`() throws {
    let group = try group()
    try group.apply(limit: 3, peerMark: Self.nothing)
    #expect(group.journal.oldestSegment?.number == 1)
    let oldest = try #require(group.journal.oldestNamedSegment)
    oldest.pin()
    defer { oldest.unpin() }
    #expect(try group.recycle() == 3)
  }

  @Test func `when all is applied the newest segment alone may be named`() throws {
    let group = try group()
    try group.apply(peerMark: Self.nothing)
    #expect(group.journal.segmentCount == 6)
    #expect(group.journal.oldestNamedSegment?.number == 6)
  }

  @Test(arguments: [3, 6])
  func `a start knows what is applied`(count: Int) throws {
    let group = try group()
    try group.apply(limit: count, peerMark: Self.nothing)
    try group.restart(.kill)
    #expect(group.journal.oldestSegment?.number == 1)
    #expect(group.journal.oldestNamedSegment?.number == UInt32(min(count + 1, 6)))
  }
}
