import BlockModel
import Configuration
import Journal
import SystemIO

extension Group {
  /// On the loop, once, before anything else. What has failed meanwhile just ends.
  func begin() {
    guard lifecycle.isServing else { return }
    // What was there before this start is no news.
    checkpoints.quietThrough = stamped
    loop.every(milliseconds: 50, for: self) { [unowned self] in tick() }
    loop.every(milliseconds: 200, for: self) { [unowned self] in noteConditions() }
    loop.every(milliseconds: 1000, for: self) { [unowned self] in
      giveBackIdleMemory()
      publish()
    }
    // What has come by the first time may be told of no more then.
    noteConditions()
    listenForRivals()
    tick()
    makeFirstChanges()
  }

  private func giveBackIdleMemory() {
    for connection in connections.members { connection.giveBackIdleMemory() }
    tap?.giveBackIdleMemory()
  }

  func checkpoint(
    tag: String, _ done: @escaping @Sendable (Result<TimelineStatus.Checkpoint, SiteError>) -> Void
  ) {
    guard duty == .owning else {
      return done(
        .failure(
          SiteError(
            "group \(configuration.name) is \(duty.role.rawValue) at this site; "
              + "checkpoints are made at the protected site")))
    }
    if let fenceText {
      return done(.failure(SiteError("group \(configuration.name): \(fenceText)")))
    }
    guard let checkpoint = writeCheckpoint(tag: tag) else {
      return done(
        .failure(
          SiteError(
            failure ?? "group \(configuration.name): no room in the journal; try again")))
    }
    let answer = TimelineStatus.Checkpoint(checkpoint)
    durability.add(checkpoint.sequence) { done(.success(answer)) }
    loop.enlist(self)
  }

  /// As it is now. On the loop.
  var status: GroupStatus {
    noteConditions()
    let counts = connectionCounts
    return GroupStatus(
      name: configuration.name, role: duty.role.rawValue, duty: dutyName,
      term: stateKeeper?.state.ownership.term, failover: failoverStatus, fenced: fenceText,
      conditions: conditionStatus,
      epoch: journal?.currentEpoch ?? 0, watermarks: watermarkStatus,
      history: historyStatus, journal: journalStatus, link: linkStatus, links: linkStatuses,
      writeLatency: latency.status,
      disks: disks.map { disk in
        DiskStatus(
          name: disk.name, sizeBytes: disk.store.byteCount, backing: disk.store.description,
          connections: counts[disk.number] ?? 0)
      }, removedDisks: removedDisks, tests: openTests)
  }

  private var dutyName: String? {
    switch duty {
    case .plain: nil
    case .owning: "owning"
    case .following: "following"
    }
  }

  private var openTests: [OpenTestStatus]? {
    let tests = branches.listed.map(\.record).map {
      OpenTestStatus(name: $0.name, instant: "\($0.instant)", reason: $0.ending)
    }
    return tests.isEmpty ? nil : tests
  }

  private var removedDisks: [RemovedDiskStatus]? {
    let removed = (stateKeeper?.state.disks ?? []).compactMap { disk in
      disk.removed.map {
        RemovedDiskStatus(name: disk.name, backing: disk.backing, removed: "\($0.timestamp)")
      }
    }
    return removed.isEmpty ? nil : removed
  }

  private var watermarkStatus: WatermarkStatus {
    guard let journal else {
      return WatermarkStatus(
        stamped: stamped.rawValue, appended: stamped.rawValue,
        durable: durability.durable.rawValue, applied: stamped.rawValue)
    }
    let marks = journal.watermarks
    let link = links.count == 1 ? links[0] : nil
    return WatermarkStatus(
      stamped: journal.stamped.rawValue, appended: marks[.appended], durable: marks[.durable],
      applied: marks[.applied], peerReceived: link?.follower.received.rawValue,
      peerDurable: link.map { $0.snapshot.isRecoverable ? $0.follower.durable.rawValue : 0 },
      peerApplied: link?.follower.applied.rawValue)
  }

  private var historyStatus: HistoryStatus? {
    guard let journal, let history = offeredHistory, history.start <= history.end
    else { return nil }
    return HistoryStatus(
      start: "\(history.start)", end: "\(history.end)",
      seconds: Double(history.end.nanoseconds(since: history.start)) / 1e9,
      checkpoints: journal.checkpointCount, openViews: views.count,
      viewScratchBytes: viewScratch.usedByteCount)
  }

  private var journalStatus: JournalStatus? {
    guard let journal else { return nil }
    return JournalStatus(
      usedBytes: UInt64(journal.usedByteCount), capacityBytes: UInt64(journal.capacityByteCount),
      segments: journal.segmentCount, oldestSegment: journal.oldestSegment?.number,
      newestSegment: journal.newestSegment?.number,
      indexMemoryBytes: UInt64(max(0, journal.indexUse.memoryByteCount)),
      indexFileBytes: UInt64(max(0, journal.indexUse.fileByteCount)))
  }

  /// At a recovery site: how old the newest durable record is, seen from here.
  var receivingStatus: LinkStatus? {
    guard duty == .following, !isParked, let journal else { return nil }
    let known = journal.floor
    return LinkStatus(
      peerSite: receiving.peerSite ?? configuration.peer?.site ?? "",
      state: receiving.divergence != nil
        ? "diverged" : receiving.receiver == nil ? "waiting" : "connected",
      detail: receiving.divergence ?? "",
      rpoSeconds: known == .zero ? nil : Double(loop.now.nanoseconds(since: known)) / 1e9,
      lagRecords: 0, lagBytes: 0, sentBytes: 0, wireBytes: 0, reconnects: 0, restoredRecords: 0,
      syncProgress: nil)
  }
}
