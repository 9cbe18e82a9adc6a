import BlockModel
import Journal
import JournalTestSupport
import Storage
import StorageTesting
import Volume

typealias TestView = View<FaultyFile, MemoryStore>

extension TestGroup {
  /// The instants that exist, as a protected site's group says.
  func instants(now: Timestamp) -> History {
    History(
      start: max(state.applyTarget.timestamp, state.historyStart),
      end: max(journal.newestTimestamp, now), generations: journal.generations,
      activeSpan: journal.activeSpan, activeCheckpoints: journal.activeCheckpoints,
      gaps: state.gaps)
  }

  /// The first step of opening a view. From now on apply may not pass the instant.
  func plan(at instant: Timestamp) throws -> ViewPlan<FaultyFile> {
    try commit()
    try journal.closeInstants(through: instant)
    return ViewPlan(
      instant: instant, generations: journal.maps(notLaterThan: instant),
      cut: journal.generation(cutBy: instant),
      segments: journal.segments(after: journal.applied, through: journal.stamped),
      diskCount: settings.diskByteCounts.count, shelf: journal.shelf)
  }

  /// The second step.
  func view(_ plan: ViewPlan<FaultyFile>) throws -> TestView {
    try View(plan, applied: journal.applied, stores: stores, catalog: journal.catalog)
  }
}

extension View {
  func bytes(disk: Int, offset: Int, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xEE, count: count)
    let result = unsafe bytes.withUnsafeMutableBytes { buffer -> Result<Void, VolumeError> in
      do throws(VolumeError) {
        return .success(
          try unsafe read(
            disk: DiskNumber(UInt16(disk)), at: UInt64(offset), into: buffer))
      } catch { return .failure(error) }
    }
    try result.get()
    return bytes
  }

  func contents(_ diskCount: Int) throws -> [[UInt8]] {
    try (0..<diskCount).map { disk in
      let store = reader(disk: DiskNumber(UInt16(disk))).store
      return try bytes(disk: disk, offset: 0, count: Int(store.byteCount))
    }
  }
}
