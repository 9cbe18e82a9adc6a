import BlockModel
import Journal
import Replication
import Storage
import SystemIO
import Volume

/// What a former owner, which follows now, lacks of the disks here though no record says so: on its
/// way into the group's order. Confined to the group's loop.
///
/// The follower has the disks as its own records left them, and takes the records after the
/// *common* one, up to which both had the same. It names what its own had changed since. Each byte
/// of that must have a record after the common one by which it becomes what it is here: one that a
/// client wrote, or one that is made here of what the byte is *now*, which changes nothing here. It
/// needs none where the follower has what is here: see below.
///
/// Once all are done, the follower has the disks with the last of these records, `m`:
///
/// - a byte that a record after the common one wrote is as the newest of these left it, and the
///   follower takes them all, in their order, up to `m`;
/// - any other byte was not named, or was the same. In the first case no own record of the follower
///   wrote it after the common one, and none of the owner's: at both it is as it was with the
///   common record. In the second see below.
///
/// What is made is right because nothing comes between a look and the record:
///
/// 1. The loop hands the index of what was closed to the keeper, which reads the piece between two
///    steps of apply: from the journal what the index knows, from the base what it does not. That
///    is the piece as of the newest closed record, which is not earlier than the common one.
/// 2. What the active index knows, and what came since, was written after the common record: such
///    bytes have their record. The loop leaves them out, and stamps all others in the same turn.
///
/// What records after the common one had written when this began is left out, too, as far as it is
/// known: it comes anyway. After a break all begins anew, with what the follower still lacks.
///
/// The follower says by digests what it has, block by block (`Digesting`). A block that is the same
/// here is passed. The follower had read it with all records up to some `p`, and the keeper here
/// with all up to some `n`, neither of them before the common one. Take a byte that no record after
/// the common one wrote, up to `m`: at both it was what it is with `m`, whatever `p` and `n`
/// were, and these are the same. Of any other byte a record comes. So what is said late, or not at
/// all, costs bytes and never content; nothing is done about a block before it is known which.
struct Restamping {
  fileprivate enum Stage {
    /// What the follower has forgotten of it is looked up in what is parked.
    case remembering
    /// Which of the bytes come anyway is found out.
    case learning(RecordedChanges)
    /// A segment is looked at for that.
    case looking
    case stamping
  }

  /// What one link has asked for.
  fileprivate struct Work {
    let request: FollowerLack.Request
    let link: Int
    /// What is written from here on is not looked for.
    let last: SequenceNumber
    var stage: Stage
    /// All that the follower lacks.
    var lacking: DiskExtents
    /// What is to be stamped, in order; what lies before `next` is done.
    var extents: [DiskExtent] = []
    var place = 0
    var next = DiskPosition.start
    /// Of what the follower lacks.
    var doneByteCount: UInt64 = 0
    /// Of that, what it had already.
    var equalByteCount: UInt64 = 0
  }

  fileprivate var work: Work?
  fileprivate var retryNanoseconds: UInt64 = 0
  /// Pieces that may come before the next tick, though guests are at work.
  fileprivate var allowance = 0
  /// Why the last piece could not be read; nil when it could.
  fileprivate(set) var failure: String?
}

extension Group {
  /// For each tick, with guests at work: 20 MiB a second.
  private static var piecesPerTick: Int { 8 }
  private static var retryNanoseconds: UInt64 { 1_000_000_000 }
  private static var spanLimit: Int { 256 }

  /// Several times a second.
  func tickRestamping() {
    restamping.allowance = Self.piecesPerTick
    continueRestamping()
  }

  /// When a piece is done, and when there may be a first one.
  private func continueRestamping() {
    // Whoever owns the group from here on lacks what would be stamped.
    guard duty == .owning, fence == nil, lifecycle.isServing, let journal,
      loop.monotonicNow >= restamping.retryNanoseconds
    else { return }
    takeRequest(journal)
    guard let work = restamping.work else { return }
    switch work.stage {
    case .learning(let changes): learn(changes, until: work.last, journal)
    case .looking: return
    case .remembering: return remember(work.request)
    case .stamping: stampNext(of: work, journal)
    }
  }

  private func takeRequest(_ journal: SiteJournal) {
    if let work = restamping.work, links[work.link].lack.request?.number == work.request.number {
      return
    }
    restamping.work = nil
    restamping.failure = nil
    for link in links.indices {
      guard let request = links[link].lack.request else { continue }
      // What was recycled since is not known any more.
      let oldest = journal.catalog.oldest?.firstSequence.rawValue ?? 1
      let first = max(request.common, SequenceNumber(oldest - 1))
      restamping.work = .init(
        request: request, link: link, last: journal.appended,
        stage: request.exactAfter.sequence > request.common
          ? .remembering : .learning(RecordedChanges(after: first)),
        lacking: request.extents)
      return
    }
  }

  private func isCurrent(_ request: FollowerLack.Request) -> Bool {
    restamping.work?.request.number == request.number
  }

  // MARK: What the follower has forgotten

  private func remember(_ request: FollowerLack.Request) {
    guard lifecycle.begin(.content) else { return }
    restamping.work?.stage = .looking
    let parked = branches.listed.filter { $0.record.kind == .parked && !$0.record.isApart }
    keeper.submit { [self] in
      let found = Self.changes(in: parked, request)
      loop.post { [self] in
        lifecycle.ended(.content)
        if isCurrent(request) { remembered(found, request) }
        continueRestamping()
        goOn()
      }
    }
  }

  private func remembered(_ found: DiskExtents?, _ request: FollowerLack.Request) {
    guard let found else {
      restamping.work?.stage = .looking
      if let link = restamping.work?.link { links[link].lack.giveUp(request.number) }
      return log(
        "group \(configuration.name): what records \(request.common.rawValue + 1) to "
          + "\(request.exactAfter.sequence.rawValue) changed is not known any more, and they are "
          + "not parked here: all that the peer has is compared")
    }
    restamping.failure = nil
    var all = DiskExtentCollector()
    for extent in request.extents.extents + found.extents { all.add(extent) }
    restamping.work?.lacking = all.finish()
    let oldest = journal?.catalog.oldest?.firstSequence.rawValue ?? 1
    restamping.work?.stage = .learning(
      RecordedChanges(after: max(request.common, SequenceNumber(oldest - 1))))
  }

  /// What the records changed of which the follower says that they are parked here; nil: they are
  /// not. Blocks.
  private static func changes(
    in branches: [Branch], _ request: FollowerLack.Request
  ) -> DiskExtents? {
    for branch in branches {
      guard let state = try? GroupOpening.presentState(branch.folder),
        state.applied.sequence <= request.common,
        state.lineage.holder(of: request.exactAfter.sequence)?.identifier
          == request.exactAfter.incarnation,
        let recovered = try? JournalRecovery(FolderStorage(existing: branch.folder), state: state),
        recovered.lastSequence >= request.exactAfter.sequence,
        let changes = try? RecordedChanges.extents(
          in: recovered.segments, after: request.common, through: recovered.lastSequence)
      else { continue }
      return changes
    }
    return nil
  }

  // MARK: What comes anyway

  /// Looks at the next segment with records after the common one.
  private func learn(
    _ known: RecordedChanges, until last: SequenceNumber, _ journal: SiteJournal
  ) {
    guard known.through < last, let work = restamping.work,
      let segment = journal.catalog.segment(holding: known.through.rawValue + 1)
        .flatMap({ journal.catalog.pinned($0.number) })
    else { return learned(known) }
    guard lifecycle.begin(.content) else { return segment.unpin() }
    restamping.work?.stage = .looking
    keeper.submit { [self] in
      var changes = known
      var isKnown = false
      // What is damaged is found by those who must have it; here it is only not known.
      do throws(JournalError) { isKnown = try changes.take(segment) } catch {}
      segment.unpin()
      let (found, goesOn) = (changes, isKnown && changes.through > known.through)
      loop.post { [self] in
        lifecycle.ended(.content)
        if isCurrent(work.request) {
          restamping.work?.stage = .learning(found)
          if !goesOn { learned(found) }
        }
        continueRestamping()
        goOn()
      }
    }
  }

  private func learned(_ changes: RecordedChanges) {
    guard var work = restamping.work else { return }
    var changes = changes
    let known = changes.finish()
    let rest = changes.isExact ? work.lacking.subtracting(known) : work.lacking
    let byteCount = rest.byteCount
    work.extents = rest.extents
    #if MUTANTS
      if Mutant.skipRestamp.isOn { work.extents = rest.extents.dropLast() }
    #endif
    work.doneByteCount = work.lacking.byteCount - byteCount
    work.stage = .stamping
    restamping.work = work
    log(
      "group \(configuration.name): \(links[work.link].peerSite) lacks \(byteCount) bytes that no "
        + "record has: what differs there becomes records")
  }

  // MARK: Pieces

  private func stampNext(of work: Restamping.Work, _ journal: SiteJournal) {
    guard work.place < work.extents.count else { return endRestamping(work, journal) }
    let extent = work.extents[work.place]
    // Of a disk that has left, no instant that the follower will have shows anything.
    guard let disk = diskTable.withLock({ $0[extent.disk] }), isListed(extent.disk) else {
      passed(DiskPosition(extent.disk, .max))
      return continueRestamping()
    }
    // What lies before it comes anyway: the follower need not wait to say what it has here.
    if work.next < extent.start {
      passed(extent.start)
      return continueRestamping()
    }
    let spans = nextSpans(of: work, disk)
    // What the follower has there is to come.
    if spans.isEmpty { return }
    guard hasRoomForContents(journal), commit(),
      closeIndex(through: work.request.common, journal), lifecycle.begin(.content)
    else { return }
    readPiece(spans, of: disk, work, journal)
  }

  /// What comes next of the disk and can be done.
  private func nextSpans(of work: Restamping.Work, _ disk: GroupDisk) -> [PresentReader.Span] {
    let lack = links[work.link].lack
    var spans: [PresentReader.Span] = []
    var next = work.next
    for extent in work.extents[work.place...] where spans.count < Self.spanLimit {
      guard extent.disk == disk.number else { break }
      next = max(next, extent.start)
      while next < extent.end, spans.count < Self.spanLimit {
        let end: DiskPosition
        var said: (block: ByteRange, digest: BlockDigest)?
        switch lack.word(at: next, of: work.request.number) {
        case .awaited: return spans
        case .nothing(let until): end = min(until, extent.end)
        case .said(let block, let digest):
          end = min(block.end, extent.end)
          said = (block.range, digest)
        }
        let part = ByteRange(start: next.offset, end: end.offset)
        if let said, spans.last?.said?.block == said.block {
          spans[spans.count - 1].parts.append(part)
        } else {
          spans.append(.init(parts: [part], said: said))
        }
        next = end
      }
    }
    return spans
  }

  private func readPiece(
    _ spans: [PresentReader.Span], of disk: GroupDisk, _ work: Restamping.Work,
    _ journal: SiteJournal
  ) {
    let (content, oldest) = presentContent(of: disk, journal)
    let known =
      journal.activeSpan.map { SequenceNumber($0.firstSequence.rawValue - 1) } ?? journal.stamped
    let last = stamped
    let reader = PresentReader(
      content: content, common: work.request.common, byteLimit: UInt64(payloadLimit))
    keeper.submit { [self] in
      let piece = reader.piece(spans)
      loop.post { [self] in
        oldest?.unpin()
        lifecycle.ended(.content)
        let isQuiet = stamped == last
        if isCurrent(work.request) { take(piece, of: disk, known) }
        restamping.allowance -= 1
        if restamping.failure == nil, isQuiet || restamping.allowance > 0 { continueRestamping() }
        goOn()
      }
    }
  }

  private func take(
    _ piece: PresentReader.Piece, of disk: GroupDisk, _ known: SequenceNumber
  ) {
    restamping.failure = piece.failure
    if piece.failure != nil {
      restamping.retryNanoseconds = loop.monotonicNow + Self.retryNanoseconds
      return
    }
    guard lifecycle.isServing, isListed(disk.number) else { return }
    for part in piece.parts {
      // What the index must be asked for again, or has no room yet, is read again.
      guard stamp(part, of: disk, after: known) else { return }
    }
    passed(DiskPosition(disk.number, piece.end), equal: piece.equalByteCount)
  }

  /// What lies before the position is in the order, or was the same at the follower.
  private func passed(_ position: DiskPosition, equal byteCount: UInt64 = 0) {
    guard var work = restamping.work, let stamped = journal?.stamped else { return }
    work.equalByteCount += byteCount
    while work.place < work.extents.count {
      let extent = work.extents[work.place]
      let start = max(extent.start, work.next)
      if position <= start { break }
      work.doneByteCount += min(extent.end, position).offset - start.offset
      if position < extent.end { break }
      work.place += 1
    }
    work.next = position
    links[work.link].lack.reached(
      position, by: stamped, byteCount: work.doneByteCount, equal: work.equalByteCount,
      of: work.request.number)
    restamping.work = work
  }

  private func endRestamping(_ work: Restamping.Work, _ journal: SiteJournal) {
    guard commit() else { return }
    // What was the same leaves no record, and the end is told by one that comes after the common.
    if journal.stamped <= work.request.common, writeCheckpoint(tag: "") == nil { return }
    restamping.work = nil
    log(
      "group \(configuration.name): \(links[work.link].peerSite) lacks nothing any more with "
        + "record \(journal.appended.rawValue): of \(work.lacking.byteCount) bytes, "
        + "\(work.equalByteCount) were the same there")
    links[work.link].lack.ended(
      at: .init(journal.appended, journal.newestTimestamp), of: work.request.number)
    // The follower hears of it when that is durable.
    startSync()
  }

  /// False when not all of it could be.
  private func stamp(
    _ part: PresentReader.Part, of disk: GroupDisk, after known: SequenceNumber
  ) -> Bool {
    guard let journal else { return false }
    var rest = part.range
    while !rest.isEmpty {
      let (length, change) = journal.change(
        disk: disk.number, at: rest.start, limit: rest.length, after: known)
      guard let isChanged = change else { return false }
      let range = ByteRange(start: rest.start, length: length)
      #if MUTANTS
        if Mutant.restampLate.isOn, isChanged { _ = stamp(range, of: part, disk, journal) }
      #endif
      if !isChanged, !stamp(range, of: part, disk, journal) { return false }
      rest = ByteRange(start: range.end, end: rest.end)
    }
    return true
  }

  private func stamp(
    _ range: ByteRange, of part: PresentReader.Part, _ disk: GroupDisk, _ journal: SiteJournal
  ) -> Bool {
    let payload = part.bytes(range)
    guard let tap, journal.hasRoom(payloadByteCount: payload.count) else { return false }
    var memory = [UInt8](repeating: 0, count: RecordHeader.byteCount) + payload
    return unsafe memory.withUnsafeMutableBytes { bytes in
      guard let record = bytes.baseAddress else { return false }
      do throws(JournalError) {
        try unsafe tap.content(
          part.kind, disk.number, offset: range.start, length: UInt32(range.length),
          now: readClock(), record: record)
      } catch { fail("\(error)") }
      // The record is in this array: it is written before the array ends.
      return commit()
    }
  }
}
