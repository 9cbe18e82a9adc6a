import SystemIO

/// The threads that work for one opening of a group, each kind of work for itself: what hangs keeps
/// neither another group nor another kind of work of this one waiting. Threads that have nothing to
/// do end, so an idle group has none.
struct GroupLanes: Sendable {
  /// Syncs of the journal, or of a plain group's stores: one at a time.
  let syncs: WorkerPool
  /// New segment files, and notes for the state file that wait for no step of apply: which are
  /// void, what is promised, which disks come and leave.
  let files: WorkerPool
  /// Views and lists of changes that are opened: they scan the journal.
  let views: WorkerPool
  /// The index: what frees memory, and merges, which take long.
  let index: WorkerPool
  /// What the state file, apply, sidecars and full copies do, one after the other.
  let keeper: WorkerPool

  private static let openingViews = 2

  init(group name: String) {
    syncs = WorkerPool(name: "sync-\(name)", threadLimit: 1)
    files = WorkerPool(name: "file-\(name)", threadLimit: 1)
    views = WorkerPool(name: "view-\(name)", threadLimit: Self.openingViews)
    index = WorkerPool(name: "index-\(name)", threadLimit: 2, priority: .background)
    keeper = WorkerPool(name: "keeper-\(name)", threadLimit: 1, priority: .background)
  }

  /// Runs what was submitted and takes nothing more. Blocks until all of it has ended.
  func finish() {
    for pool in [syncs, files, views, index, keeper] { pool.finish() }
  }
}
