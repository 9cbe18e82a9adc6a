import BlockModel
import Journal
import SystemIO

/// Room in the journal is made before it is needed, so that neither the guest nor a peer's
/// records wait for a step of apply. What that costs is history: as much of it fits as the journal
/// has room beside the reserve.
extension Group {
  /// Once fewer segments are free than `SegmentReserve.low`, applies the oldest, whatever their
  /// age, until `high` are free. Called when a segment is begun, when a step has ended, and by each
  /// tick.
  ///
  /// Nothing is applied early that would free no room: when a follower lacks the records, or a view
  /// holds them, the history stays until the journal is full.
  func keepReserve() {
    guard let journal, lifecycle.isServing else { return }
    let wanted = room.segmentsToFree(
      free: journal.freeSegmentCount(grows: room.fileFailure == nil), journal.options.reserve,
      opened: journal.openedCount)
    guard let wanted else { return }
    commitForkForRoom(journal)
    applyAhead(freeing: wanted, journal)
  }

  /// Applies the oldest records, whatever their age, where that makes room.
  func applyAhead(freeing wanted: Int, _ journal: SiteJournal) {
    if lifecycle.runs(.apply) { return }
    recycle()
    guard let last = journal.lastToApply(freeing: wanted) else { return }
    if last > journal.durable {
      // Apply takes durable records only; it is looked at again when the sync is over.
      startSync()
      room.looksAgain()
    }
    startApply(underPressure: true, through: last)
  }

  // MARK: A full journal

  /// Whether the next request can be taken; or, when the peer begins a segment, that.
  func hasRoomForNext(_ journal: SiteJournal) -> Bool {
    receiving.receiver?.waitsForRoom ?? false
      ? journal.hasFreeSegment : journal.hasRoom(payloadByteCount: payloadLimit)
  }

  /// The journal is full: gets room by whatever the policy allows.
  func makeRoom() {
    guard let journal, !isParked else { return }
    var search = RoomSearch()
    while let step = search.next(roomFacts(journal)) {
      switch step {
      case .createFile: createSlot()
      case .free:
        keepReserve()
        recycle()
      case .apply, .applyBehindViews: startApply(underPressure: true)
      case .detachViews: detachOldestViews()
      case .dropFollower: dropFollower(journal)
      }
    }
    // No segment of a branch ever comes free.
    if let branch, !hasRoomForNext(journal), !journal.slotToCreateExists { branch.limitReached() }
  }

  private func roomFacts(_ journal: SiteJournal) -> RoomSearch.Facts {
    .init(
      fileIsComing: journal.slotToCreateExists && room.fileFailure == nil,
      hasRoom: hasRoomForNext(journal), comesFree: willRecycle(journal), viewsHold: viewsHoldRoom,
      hasFailed: failure != nil)
  }

  // MARK: Files

  /// Creates the next segment file before it is needed.
  func createSlot() {
    guard let journal, !isParked, lifecycle.mayBegin(.segmentFile),
      room.mayCreateFile(now: SystemClock.monotonicNanoseconds())
    else { return }
    let isIdle = apply.isIdle(now: loop.monotonicNow) && !lifecycle.isSettling
    // Nil when segments have come free instead.
    guard let (slot, name) = journal.slotToCreate(isIdle: isIdle) else {
      return room.filesSuffice()
    }
    guard lifecycle.begin(.segmentFile) else { return journal.slotFailed(slot) }
    let storage = journal.storage
    let byteCount = journal.options.segmentByteCount
    // Neither the guest nor another process must wait until a file is filled: on a slow disk there
    // is always the next one to fill.
    let isHurried = lifecycle.isSettling || !isIdle && journal.needsFilesQuickly
    // Not behind a step of apply, which takes long.
    lanes.files.submit { [self] in
      var file: File?
      var failure: Errno?
      do throws(Errno) {
        file =
          isHurried
          ? try storage.allocate(name, byteCount: byteCount)
          : try storage.create(name, byteCount: byteCount)
      } catch { failure = error }
      let (created, error) = (file, failure)
      loop.post { [self] in slotFinished(slot, created, error) }
    }
  }

  private func slotFinished(_ slot: Int, _ created: File?, _ error: Errno?) {
    lifecycle.ended(.segmentFile)
    defer { goOn() }
    guard let journal else { return }
    if let created {
      room.filesSuffice()
      journal.slotCreated(slot, created)
      createSlot()
      roomCame()
    } else if let error {
      journal.slotFailed(slot)
      room.fileFailed(
        "creating a segment in \(journal.storage.path): \(error.withAdvice)",
        now: SystemClock.monotonicNanoseconds())
      // Whoever waits for room gets it by apply now.
      if !journal.hasRoom(payloadByteCount: payloadLimit) { makeRoom() }
    }
  }
}
