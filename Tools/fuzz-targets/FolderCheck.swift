import BlockModel
import Journal
import SystemIO

/// Recovers a folder, looks at what came of it, appends and recovers again.
struct FolderCheck {
  let folder: MemoryFolder
  let state: JournalState
  let cut: SequenceNumber?

  /// What must not change when nothing happens between two starts.
  private struct Found: Equatable {
    var lastSequence: SequenceNumber
    var segments: [UInt32]
    var ends: [Int]
  }

  func check() throws(FuzzViolation) {
    // That it is refused is right for most folders.
    guard let recovery = try? JournalRecovery(folder, state: state, cut: cut) else { return }
    try checkShape(recovery)
    let first = found(recovery)
    let second = try mustSucceed("a second start") { () throws(JournalError) in
      try JournalRecovery(folder, state: state, cut: cut)
    }
    try require(found(second) == first, "a second start finds \(found(second)), the first \(first)")
    try checkJournal(second)
  }

  private func found(_ recovery: JournalRecovery<MemoryFolder>) -> Found {
    Found(
      lastSequence: recovery.lastSequence, segments: recovery.segments.map(\.number),
      ends: recovery.segments.map(\.end))
  }

  private func checkShape(
    _ recovery: JournalRecovery<MemoryFolder>
  ) throws(FuzzViolation) {
    for (one, next) in zip(recovery.segments, recovery.segments.dropFirst()) {
      try require(next.number == one.number + 1, "segments \(one.number) and \(next.number)")
      try require(next.header.epoch >= one.header.epoch, "an epoch goes back")
    }
    var last = state.applied.sequence
    for generation in recovery.generations {
      try require(
        generation.span.firstSequence > last
          && generation.span.lastSequence >= generation.span.firstSequence,
        "generations overlap: \(generation.span)")
      last = generation.span.lastSequence
      try checkMaps(generation, recovery)
    }
    try require(last <= recovery.lastSequence, "records behind the last one")
  }

  /// Every extent lies inside of its disk, and its bytes inside of a segment that is kept.
  private func checkMaps(
    _ generation: Generation, _ recovery: JournalRecovery<MemoryFolder>
  ) throws(FuzzViolation) {
    let ends = Dictionary(uniqueKeysWithValues: recovery.segments.map { ($0.number, $0.end) })
    // A sidecar of which pages do not verify, of a segment that does not either, is an error.
    guard let maps = try? generation.sealedMaps() else { return }
    for (disk, map) in zip(state.disks, maps) {
      for index in 0..<map.count {
        let extent = map[index]
        try require(
          extent.length > 0 && extent.end <= disk.byteCount, "\(extent) outside of its disk")
        if extent.source.isZeros { continue }
        guard let end = ends[extent.source.segment] else {
          throw FuzzViolation("\(extent) in a segment that is not kept")
        }
        let position = UInt64(extent.source.position)
        try require(
          position > UInt64(SegmentHeader.byteCount) && position + extent.length <= UInt64(end),
          "\(extent) outside of its segment, which ends at \(end)")
      }
    }
  }

  /// Goes on as a protected group does after a crash: in a new epoch.
  private func checkJournal(_ recovery: JournalRecovery<MemoryFolder>) throws(FuzzViolation) {
    let bytes = Int(SegmentWriter.segmentByteCount)
    let last = recovery.lastSequence
    var state = state
    state.beginIncarnation(after: .init(last, .zero))
    state.durable = min(state.durable, last)
    let journal = Journal(
      storage: folder, options: .init(segmentByteCount: bytes, capacityByteCount: 16 * bytes),
      state: state, recovered: recovery, continuesLastSegment: false)
    try require(journal.appended == last, "the journal begins at \(journal.appended)")
    for (number, disk) in state.disks.enumerated() {
      var offset: UInt64 = 0
      for _ in 0..<64 where offset < disk.byteCount {
        let piece = journal.piece(
          disk: DiskNumber(UInt16(number)), at: offset, limit: disk.byteCount - offset)
        try require(
          piece.length > 0 && piece.length <= disk.byteCount - offset, "a piece of \(piece.length)")
        offset += piece.length
      }
    }
    guard journal.hasRoom(payloadByteCount: 16) else { return }
    try append(to: journal)
    let again = try mustSucceed("a start after appending") { () throws(JournalError) in
      try JournalRecovery(folder, state: state)
    }
    try require(
      again.lastSequence == journal.appended,
      "\(journal.appended.rawValue) was appended, \(again.lastSequence.rawValue) is found: "
        + "\(journal.segments(after: .none, through: SequenceNumber(.max)).map(\.header)), then "
        + "\(again.segments.map(\.header)); \(again.notes)")
  }

  private func append(to journal: Journal<MemoryFolder>) throws(FuzzViolation) {
    let memory = PageBuffer(byteCount: 4096)
    try mustSucceed("appending") { () throws(JournalError) in
      try unsafe journal.append(
        .write, disk: DiskNumber(0), offset: 0, length: 16, now: journal.newestTimestamp,
        record: memory.base)
      try journal.commit()
    }
  }
}
