import Testing

@testable import Journal

/// How much of a journal is kept free, and in which steps room is made.
@Suite struct SegmentReserveTests {
  private static func marks(_ limit: Int, _ segmentByteCount: Int) -> [Int] {
    let reserve = SegmentReserve(segmentLimit: limit, segmentByteCount: segmentByteCount)
    return [reserve.low, reserve.high]
  }

  @Test func theReserveIsSmallAndNeverMoreThanAQuarter() {
    #expect(Self.marks(2, 64 << 10) == [1, 1])
    #expect(Self.marks(4, 1 << 20) == [1, 1])
    #expect(Self.marks(8, 64 << 20) == [2, 2])
    #expect(Self.marks(16, 64 << 10) == [2, 2])
    #expect(Self.marks(128, 64 << 20) == [8, 8])
    #expect(Self.marks(128, 1 << 20) == [8, 15])
    #expect(Self.marks(1 << 20, 64 << 10) == [65_536, 65_791])
  }

  @Test func roomIsMadeBelowTheLowMarkUntilTheHighOne() {
    let reserve = SegmentReserve(segmentLimit: 128, segmentByteCount: 1 << 20)
    #expect(reserve.segmentsToFree(free: 8, isRefilling: false) == nil)
    #expect(reserve.segmentsToFree(free: 7, isRefilling: false) == 8)
    #expect(reserve.segmentsToFree(free: 14, isRefilling: true) == 1)
    #expect(reserve.segmentsToFree(free: 15, isRefilling: true) == nil)
  }

  @Test func theLessIsLeftTheSmallerTheSteps() {
    let reserve = SegmentReserve(segmentLimit: 1024, segmentByteCount: 64 << 20)
    let steps = [63, 40, 8, 2, 1, 0].map { reserve.segmentsToFree(free: $0, isRefilling: true) }
    #expect(steps == [1, 20, 4, 1, 1, 1])
  }
}
