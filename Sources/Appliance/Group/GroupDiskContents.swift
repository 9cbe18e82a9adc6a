import BlockModel
import Journal
import Storage
import SystemIO
import Volume

/// What a disk held when it was added, on its way into the group's order. Confined to the group's
/// loop.
///
/// In the order the disk begins as zeros, and clients use it at once. So a byte has its place in
/// the order when a record since the marker wrote it, or when it is zero. Of all others the value
/// is in the base, and becomes a record, piece by piece:
///
/// 1. The keeper reads the piece, between two steps of apply, and asks the index of what was closed
///    when the piece was given to it which of its bytes records wrote.
/// 2. The loop asks the index of what came since. No step of apply has ended in between, so what
///    neither knows is in the base, and is what was read: it is stamped in this turn.
///
/// After a restart it begins anew. What is in the base then is in the order already or not; to
/// stamp it again changes nothing.
struct DiskContents {
  fileprivate var number: DiskNumber?
  fileprivate(set) var offset: UInt64 = 0
  fileprivate var retryNanoseconds: UInt64 = 0
  /// Pieces that may come before the next tick, though guests are at work.
  fileprivate var allowance = 0
  /// Why the last piece could not be read; nil when it could.
  fileprivate(set) var failure: String?
  fileprivate(set) var byteCount: UInt64 = 0

  /// A part of a piece that no record has written as far as its reader knows.
  fileprivate struct Part: Sendable {
    let start: UInt64
    let bytes: [UInt8]
  }

  fileprivate struct Piece: Sendable {
    var parts: [Part] = []
    /// All before it is done; nil: there is nothing but zeros behind the piece.
    var next: UInt64?
    var failure: String?
  }
}

extension Group {
  private static var pieceByteLimit: UInt64 { 128 << 10 }
  /// For each tick, with guests at work: 20 MiB a second.
  private static var piecesPerTick: Int { 8 }
  private static var retryNanoseconds: UInt64 { 1_000_000_000 }

  /// Several times a second.
  func tickContents() {
    contents.allowance = Self.piecesPerTick
    continueContents()
  }

  /// When a piece is done, and when there may be a first one.
  func continueContents() {
    guard duty == .owning, lifecycle.isServing, let journal, let state = stateKeeper?.state,
      loop.monotonicNow >= contents.retryNanoseconds
    else { return }
    let isNext = { (disk: JournalState.Disk) in
      disk.added != nil && disk.whole == nil && disk.removed == nil
    }
    guard let next = state.disks.first(where: isNext), isListed(next.number) else { return }
    if contents.number != next.number {
      (contents.number, contents.offset) = (next.number, 0)
      contents.byteCount = next.byteCount
    }
    if contents.offset >= contents.byteCount {
      guard !diskChanges.hasWish(.whole, next.name) else { return }
      return change(.init(event: .whole, name: next.name, number: next.number))
    }
    guard hasRoomForContents(journal), commit(), lifecycle.begin(.content) else { return }
    readPiece(disk(next.number), journal)
  }

  /// Guests come first: what they may need of the journal is left to them.
  func hasRoomForContents(_ journal: SiteJournal) -> Bool {
    if writesWait { return false }
    let lacking = followers.mark.map { journal.segmentCount(after: $0) } ?? 0
    guard lacking < journal.capacityByteCount / journal.options.segmentByteCount / 2 else {
      return false
    }
    let (free, reserve) = (
      journal.freeSegmentCount(grows: room.fileFailure == nil), journal.options.reserve
    )
    // History gives way to it as to what guests write, and so do readers where apply waits for them
    // alone; what guests have ready stays theirs.
    if free <= reserve.low || room.isRefilling {
      applyAhead(freeing: max(1, reserve.high + 1 - free), journal)
      if !lifecycle.runs(.apply), viewsHoldRoom { detachOldestViews() }
      return false
    }
    return journal.hasRoom(payloadByteCount: min(payloadLimit, Int(Self.pieceByteLimit)))
  }

  private func readPiece(_ disk: GroupDisk, _ journal: SiteJournal) {
    let (cover, floor) = journal.closedIndex
    let oldest = journal.oldestNamedSegment
    oldest?.pin()
    // What the cover does not know: the active generation, and what comes.
    let known =
      journal.activeSpan.map { SequenceNumber($0.firstSequence.rawValue - 1) } ?? journal.stamped
    let last = stamped
    let (offset, end) = (contents.offset, contents.byteCount)
    let limit = min(Self.pieceByteLimit, UInt64(payloadLimit))
    keeper.submit { [self] in
      let piece = Self.piece(of: disk, offset, end, limit, cover, floor)
      loop.post { [self] in
        oldest?.unpin()
        lifecycle.ended(.content)
        let isQuiet = stamped == last
        take(piece, of: disk, known)
        contents.allowance -= 1
        if contents.failure == nil, isQuiet || contents.allowance > 0 { continueContents() }
        goOn()
      }
    }
  }

  /// Blocks; on the keeper.
  private static func piece(
    of disk: GroupDisk, _ offset: UInt64, _ end: UInt64, _ limit: UInt64, _ cover: IndexCover,
    _ floor: UInt32
  ) -> DiskContents.Piece {
    var piece = DiskContents.Piece()
    let (range, bytes): (ByteRange, [UInt8])
    do throws(StorageError) {
      guard let data = try disk.store.nextDataRange(from: offset, limit: end) else {
        return piece
      }
      range = ByteRange(start: data.start, end: min(data.end, data.start + limit))
      bytes = try read(range, of: disk)
    } catch {
      piece.failure = "\(error)"
      return piece
    }
    var position = range.start
    do throws(JournalError) {
      while position < range.end {
        let found = try cover.pieceWaiting(
          disk: disk.number, at: position, limit: range.end - position, floor: floor)
        let first = Int(position - range.start)
        let part = bytes[first..<first + Int(found.length)]
        if found.source == nil, part.contains(where: { $0 != 0 }) {
          piece.parts.append(.init(start: position, bytes: Array(part)))
        }
        position += found.length
      }
      piece.next = range.end
    } catch { piece.failure = "\(error)" }
    return piece
  }

  private static func read(
    _ range: ByteRange, of disk: GroupDisk
  ) throws(StorageError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Int(range.length))
    var failure: StorageError?
    unsafe bytes.withUnsafeMutableBytes { buffer in
      do throws(StorageError) { try unsafe disk.store.read(into: buffer, at: range.start) } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return bytes
  }

  private func take(_ piece: DiskContents.Piece, of disk: GroupDisk, _ known: SequenceNumber) {
    contents.failure = piece.failure
    if piece.failure != nil {
      contents.retryNanoseconds = loop.monotonicNow + Self.retryNanoseconds
      return
    }
    guard lifecycle.isServing, isListed(disk.number), contents.number == disk.number else { return }
    for part in piece.parts {
      // What the index must be asked for again, or has no room yet, is read again.
      guard stamp(part, of: disk, known) else { return }
    }
    contents.offset = piece.next ?? contents.byteCount
  }

  /// False when not all of it could be.
  private func stamp(
    _ part: DiskContents.Part, of disk: GroupDisk, _ known: SequenceNumber
  ) -> Bool {
    guard let journal, let tap else { return false }
    var done = 0
    while done < part.bytes.count {
      let offset = part.start + UInt64(done)
      let (length, change) = journal.change(
        disk: disk.number, at: offset, limit: UInt64(part.bytes.count - done), after: known)
      guard let isChanged = change else { return false }
      if !isChanged {
        guard journal.hasRoom(payloadByteCount: Int(length)) else { return false }
        var memory = [UInt8](repeating: 0, count: RecordHeader.byteCount)
        memory += part.bytes[done..<done + Int(length)]
        let isStaged = unsafe memory.withUnsafeMutableBytes { bytes -> Bool in
          guard let record = bytes.baseAddress else { return false }
          do throws(JournalError) {
            try unsafe tap.content(
              .write, disk.number, offset: offset, length: UInt32(length), now: readClock(),
              record: record)
          } catch { fail("\(error)") }
          return commit()
        }
        guard isStaged else { return false }
      }
      done += Int(length)
    }
    return true
  }

  /// What is still missing of disks that were added; nil when nothing is.
  var contentsText: (disk: String, text: String)? {
    guard let number = contents.number, let disk = diskTable.withLock({ $0[number] }),
      stateKeeper?.state.disks[number]?.whole == nil
    else { return nil }
    if let failure = contents.failure {
      return (
        disk.name,
        "what disk \(disk.name) held when it was added cannot be read, and is tried again: "
          + failure
      )
    }
    let share = contents.byteCount == 0 ? 100 : contents.offset * 100 / contents.byteCount
    return (
      disk.name,
      "what disk \(disk.name) held when it was added comes into the history, \(share) % so far: "
        + "instants show the disk from when that is done"
    )
  }
}
