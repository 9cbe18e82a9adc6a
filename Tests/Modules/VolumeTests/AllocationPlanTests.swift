import BlockModel
import Storage
import StorageTesting
import Testing
import Volume

/// Proves that allocation comes from the index where it knows, from the base where it does not, and
/// that a plan stays short on a disk in pieces.
@Suite struct AllocationPlanTests {
  typealias Run = StatusExtents.Run

  /// A disk of four blocks of 4 KiB.
  private func plan(_ sources: [ExtentSource?]) -> AllocationPlan {
    AllocationPlan(ByteRange(start: 0, length: UInt64(sources.count) << 12)) { offset, _ in
      (4096 - offset % 4096, sources[Int(offset >> 12)])
    }
  }

  @Test func `the index tells data, zeros and holes without the base`() throws {
    let plan = plan([ExtentSource(segment: 1, position: 9), .zeros, .hole, .hole])
    #expect(!plan.needsBase)
    let extents = try plan.extents(base: MemoryStore(byteCount: 1), limit: 10)
    #expect(
      extents.runs == [
        Run(end: 4096, status: 0), Run(end: 8192, status: 2), Run(end: 16384, status: 3),
      ])
  }

  @Test func `the base tells the rest, and only the rest`() throws {
    let store = MemoryStore(byteCount: 16384)
    try store.write([UInt8](repeating: 1, count: 16384), at: 0)
    try store.zero(ByteRange(start: 8192, length: 4096), mayFreeSpace: true)
    let plan = plan([.hole, nil, nil, nil])
    #expect(plan.needsBase)
    let extents = try plan.extents(base: store, limit: 10)
    #expect(
      extents.runs == [
        Run(end: 4096, status: 3), Run(end: 8192, status: 0), Run(end: 12288, status: 2),
        Run(end: 16384, status: 0),
      ])
  }

  @Test func `a plan looks at a bounded number of places`() throws {
    var lookUps = 0
    let plan = AllocationPlan(ByteRange(start: 0, length: 1 << 40)) { offset, _ in
      lookUps += 1
      return (512, offset % 1024 == 0 ? .hole : .zeros)
    }
    #expect(lookUps == AllocationPlan.lookUpLimit)
    let extents = try plan.extents(base: MemoryStore(byteCount: 1), limit: 10_000)
    #expect(extents.runs.last?.end == UInt64(lookUps) * 512)
  }
}
