import BlockModel
import Journal

/// What a recovery site of a group has of its order: every record exactly as the protected site
/// wrote it, after the very record that came before it there. It loses nothing that it has reported
/// as durable, unless it is told to.
final class RecoveryOracle {
  private(set) var line: Line
  private let archive: Archive
  private let violation: (String) -> Never

  /// What a disk has changed by itself may look like a torn end.
  var isDamaged = false
  /// After its next start the site's files may lack what was not synced.
  var mayHaveLost = false
  /// The last record of which the site has said that it is durable.
  private(set) var durableFloor: UInt64 = 0
  /// It has restarted and written nothing yet: its files may end elsewhere than the line.
  private(set) var isEndUncertain = false
  /// It goes back on purpose, and until it writes again it may still say what it had.
  private(set) var isGoingBack = false {
    didSet { if isGoingBack != oldValue { resetCount += 1 } }
  }
  /// Grows when the order of the site goes back while it runs.
  private(set) var resetCount = 0
  /// Until the first write after `erased`.
  private var beforeErasing: (records: [Record], durableFloor: UInt64)?

  /// What the site has written down last.
  var state: JournalState?
  /// The last full copy began after this record.
  private(set) var copyStart = 0
  /// What the protected site had when the last full copy began.
  var copiedLine: [Record] = []
  /// It was told to drop what follows this record, which a power cut may bring back as long as
  /// nothing later is durable.
  private(set) var cutEnd: UInt64?
  /// It was the protected site, and nothing has come yet: what it lacks may be gone.
  private(set) var hasMoved = false
  /// The protected site has said that it drops what this one lacks.
  var isDetached = false

  init(
    _ role: Role, _ line: Line, _ archive: Archive, _ violation: @escaping (String) -> Never
  ) {
    self.line = line
    self.archive = archive
    self.violation = { violation("\(role): \($0)") }
  }

  /// Damage hides which records it has, until it writes again.
  var isUnsure: Bool { isDamaged && isEndUncertain }

  // MARK: Files

  func opened(_ header: SegmentHeader) {
    guard let segment = archive.segments[header.identity] else {
      violation("segment \(header.number) of epoch \(header.epoch) was never sent")
    }
    goOn(after: segment.predecessor) { "segment \(header.number) of epoch \(header.epoch)" }
  }

  func received(_ found: SegmentWatcher.Found) -> Record {
    guard let record = archive.record(found.identity, found.index) else {
      violation("record \(found.sequence) was never sent")
    }
    guard record.header == found.header, record.payload == found.payload else {
      violation("\(record) is another there: \(found.header)")
    }
    goOn(after: record.previous) { "\(record)" }
    line.append(record)
    hasMoved = false
    return record
  }

  /// What is written now follows `last`. So the line ends there; that it has ended elsewhere is
  /// right only after a restart, or when the site was told to go back.
  private func goOn(after last: Record?, _ what: () -> String) {
    if line.records.last !== last {
      guard isEndUncertain || isGoingBack else {
        violation(
          "\(what()) must follow \(last?.description ?? "nothing"), and follows "
            + "\(line.records.last?.description ?? "nothing")")
      }
      adopt(lineEndingWith: last)
    }
    isEndUncertain = false
    isGoingBack = false
    beforeErasing = nil
  }

  private func adopt(lineEndingWith last: Record?) {
    let count = last?.sequence ?? 0
    if count < durableFloor, !isDamaged {
      violation("record \(count + 1) is lost; record \(durableFloor) was durable")
    }
    durableFloor = min(durableFloor, count)
    line.adopt(endingWith: last)
  }

  // MARK: What the site says of itself

  /// A full copy begins: the journal is empty, and these records are what the copy will hold.
  func erased(keeping records: [Record]) {
    isGoingBack = true
    isEndUncertain = false
    beforeErasing = (line.records, durableFloor)
    durableFloor = 0
    line.adopt(records)
    copyStart = records.count
    hasMoved = false
    isDetached = false
  }

  /// A power cut has undone what `erased` was told, before anything was erased.
  func notErased() {
    isDetached = true
    guard let before = beforeErasing else { return }
    line.adopt(before.records)
    durableFloor = before.durableFloor
    beforeErasing = nil
  }

  /// The peer has told it to drop what was lost there.
  func cut(to last: UInt64) {
    cutEnd = last
    isGoingBack = true
    durableFloor = min(durableFloor, last)
    if let kept = line.truncate(to: Int(last)).first(where: { !$0.isVoid }), !isDamaged {
      violation("\(kept) is dropped, and the protected site has it")
    }
  }

  func isDurable(through last: UInt64) {
    if !isGoingBack, last > cutEnd ?? .max { cutEnd = nil }
    if !isGoingBack { durableFloor = max(durableFloor, last) }
  }

  // MARK: Restarts

  /// Another site is this one, which has been the protected one until now.
  func moves(to line: Line, durableFloor: UInt64) {
    self.line = line
    self.durableFloor = durableFloor
    isEndUncertain = true
    beforeErasing = nil
    copyStart = 0
    isDetached = false
    hasMoved = true
  }

  /// The site's process is about to start.
  ///
  /// - Parameter isCopying: a full copy was under way. Another will begin, and whatever the journal
  ///   still holds means nothing.
  func restarting(isCopying: Bool) {
    isGoingBack = isCopying
    isEndUncertain = !isCopying
  }

  /// The site has started and says where its order ends.
  ///
  /// - Parameter segments: what is on its disk. What was cut off before may have come back with a
  ///   power cut: the peer will have it cut off again.
  func restarted(appended: UInt64, applied: UInt64, _ segments: SegmentWatcher) {
    mayHaveLost = false
    guard isEndUncertain else { return }
    // When the newest segment is damaged, the record may be one of before a cut.
    isEndUncertain = isDamaged
    let places = segments.places(of: appended)
      .compactMap { [archive] in archive.record($0.identity, $0.index) }
    // For a damaged segment a sidecar may stand, which the watcher does not know.
    let found =
      places.first { segments.holdAll(through: $0, after: applied) }
      ?? (isDamaged ? places.first : nil)
    if let found { return adopt(lineEndingWith: found) }
    // All that is left is in the base.
    guard appended <= line.count else {
      violation("ends with record \(appended), of \(line.count) that it has written")
    }
    adopt(lineEndingWith: line.record(Int(appended)))
  }
}
