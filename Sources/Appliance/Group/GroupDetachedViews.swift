import BlockModel
import Journal
import Storage
import SystemIO
import Volume

typealias SiteOverlay = SavedExtents<SiteSegmentFile>

/// Views that the journal has no room for: they are detached from it, and apply saves for them what
/// it overwrites. On the loop, but for `createScratch`.
extension Group {
  /// The journal is full. Whether that is because views hold apply back, or segments that are
  /// applied already.
  var viewsHoldRoom: Bool {
    guard let journal, let instant = views.oldestInstant else { return false }
    if let oldest = journal.oldestSegment, oldest.number < journal.firstUnappliedSegment {
      return true
    }
    return journal.generations.first.map { $0.span.lastTimestamp > instant } ?? false
  }

  /// The oldest views give way, because the guest must not wait for a reader. Views at one instant
  /// share what is saved.
  func detachOldestViews() {
    guard let journal, let instant = views.oldestInstant else { return }
    let oldest = views.attached(at: instant)
    // One whose worker still scans the journal gives way when it is asked for room again.
    guard oldest.allSatisfy({ !$0.isOpening }) else { return endUnopened(oldest) }
    if views.expireChanges(since: instant) {
      log(
        "group \(configuration.name): the client that looks at changed blocks since \(instant) is "
          + "cut off: the journal is full")
    }
    guard oldest.contains(where: { $0.view != nil }) else { return }
    let overlay = makeOverlay(in: journal.storage.path)
    let floor = journal.firstUnappliedSegment
    for hold in oldest {
      hold.view?.detach(keepingIn: hold.branch?.saved ?? overlay, floor: floor)
      if let branch = hold.branch {
        log(
          "group \(configuration.name): the journal is full: branch \(branch.name) now keeps what "
            + "apply overwrites, up to \(ByteCount.format(branch.record.byteLimit))")
      }
    }
    views.detach(at: instant, overlay)
    if oldest.allSatisfy({ $0.branch != nil }) { return recycle() }
    if viewScratch.byteLimit == 0 {
      overlay.giveUp(.scratchFull(byteLimit: 0))
      closeLostViews()
    } else {
      log(
        "group \(configuration.name): the journal is full: the view at \(instant) now keeps what "
          + "apply overwrites, up to \(ByteCount.format(viewScratch.byteLimit))")
    }
    recycle()
  }

  /// One view for each overlay, for a step of apply. The newest instant first, so that when the
  /// scratch space ends it is the oldest that is lost.
  var viewsToSaveFor: [SiteView] { views.savers }

  /// After a step, before its segments are recycled.
  func raiseFloors() {
    guard let journal else { return }
    let floor = journal.firstUnappliedSegment
    for hold in views.holds.values where hold.overlay != nil { hold.view?.raiseFloor(to: floor) }
  }

  /// Cuts off the clients of views whose bytes could not be saved.
  func closeLostViews() {
    for (instant, reason) in views.takeLost() {
      log(
        "group \(configuration.name): the view at \(instant) is closed: the journal is full and "
          + "cannot keep that instant any longer: \(reason)")
    }
  }

  private func makeOverlay(in folder: String) -> SiteOverlay {
    let diskCount = journal?.diskCount ?? 0
    return SiteOverlay(diskCount: diskCount, budget: viewScratch) { () throws(Errno) -> File in
      try Self.createScratch(in: folder)
    }
  }

  /// A file without a name: it is gone when it is closed, also by a crash. By the keeper.
  private static func createScratch(in folder: String) throws(Errno) -> File {
    let path = "\(folder)/view.scratch"
    // A crash between the two steps below leaves an empty file.
    if Directory.exists(path) { try Directory.remove(path) }
    let file = try File(creating: path)
    try Directory.remove(path)
    return file
  }
}
