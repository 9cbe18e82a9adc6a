import BlockModel
import Journal

/// The order of a group, and what its clients were told of it.
///
/// The order is what the protected site writes to its segment files. Every record in it must be the
/// next piece of a request that a client has sent, and what a client is told must be in it. A
/// restart may take back the end of the order, but nothing that was promised.
final class ProtectedOracle {
  private(set) var line: Line
  private let archive: Archive
  private let catalog: DiskCatalog
  private let violation: (String) -> Never

  /// Sent and not wholly in the order, oldest first.
  private var pending: [ClientRequest] = []
  /// Counts the starts of the site.
  private(set) var incarnation = 0
  /// What was sent before it was sent to another site.
  private var firstIncarnation = 0
  /// Where each start has cut the order.
  private var cuts: [UInt64] = []

  /// The last record whose request was acknowledged: what a FLUSH that is sent now covers.
  private(set) var acknowledgedFloor: UInt64 = 0
  /// The last record that some reply, or the bytes of some read, have shown to a client.
  private(set) var seenFloor: UInt64 = 0
  /// The last record of which anybody was told that it is durable.
  private(set) var durableFloor: UInt64 = 0

  /// After its next start the site's files may lack what was not synced.
  private var mayHaveLost = false
  /// It has restarted and written nothing yet: its files may end earlier than the line.
  private var isEndUncertain = false
  /// Disks whose clients have not been told that acknowledged writes were lost with a failed
  /// journal.
  private var untoldDisks: Set<Int> = []
  /// By disk: how many requests may still say so.
  private var errorsDue: [Int: Int] = [:]
  /// What a disk has changed by itself may look like a torn end.
  var isDamaged = false
  /// A former owner lacks what no record has.
  var mayRestamp = false
  /// What the disk holds there may be what damage has left, of which a record may be made.
  var mayBeDamaged: (_ disk: Int, _ offset: Int) -> Bool = { _, _ in false }
  /// The latest time that its clock has shown before its last start.
  private var clockCeiling = Timestamp.zero

  init(
    _ line: Line, _ archive: Archive, _ catalog: DiskCatalog,
    _ violation: @escaping (String) -> Never
  ) {
    self.catalog = catalog
    self.line = line
    self.archive = archive
    self.violation = violation
  }

  // MARK: Clients

  func sent(_ request: ClientRequest) {
    request.incarnation = incarnation
    request.floor = request.command == .flush ? acknowledgedFloor : seenFloor
    if request.changesDisk { pending.append(request) }
  }

  /// Whether a record of this request could be taken for one of another that is under way, or was
  /// when its connection broke: zeros carry no number, and very short writes not all of it.
  func isAmbiguous(_ request: ClientRequest) -> Bool {
    pending.contains {
      guard $0.disk == request.disk else { return false }
      if request.command == .write {
        return $0.offset == request.offset && $0.payload == request.payload
      }
      return $0.command != .write && $0.offset < request.offset + request.length
        && request.offset < $0.offset + $0.length
    }
  }

  func acknowledged(_ request: ClientRequest) {
    if request.incarnation < firstIncarnation { return }
    if request.command == .flush {
      // A reply to what the group before the failure has synced may be under way.
      if request.incarnation == incarnation, untoldDisks.contains(request.disk) {
        violation("\(request) succeeds, though writes of before are lost and nobody was told")
      }
      return noteDurable(through: request.floor, request)
    }
    guard request.changesDisk else { return }
    guard request.isWholeInOrder, let last = request.records.last else {
      violation("\(request) is acknowledged and not in the order")
    }
    if let lost = request.records.first(where: \.isVoid) {
      // A reply may be under way while power is cut.
      if request.isFUA, !isDamaged {
        violation("\(request) is acknowledged as durable and \(lost) is lost")
      }
      return
    }
    acknowledgedFloor = max(acknowledgedFloor, last.sequence)
    seenFloor = max(seenFloor, last.sequence)
    if request.isFUA { noteDurable(through: last.sequence, request) }
  }

  /// The group has opened again without records whose writes clients had been told of.
  func lostAcknowledged(diskCount: Int) { untoldDisks = Set(0..<diskCount) }

  /// A request to this disk fails for that reason.
  func tells(_ disk: Int) {
    untoldDisks.remove(disk)
    errorsDue[disk, default: 0] += 1
  }

  /// Whether this request fails because it would vouch for what is lost.
  func tellsOfLoss(_ request: ClientRequest) -> Bool {
    guard request.command == .flush || request.isFUA, let due = errorsDue[request.disk], due > 0
    else { return false }
    errorsDue[request.disk] = due - 1
    return true
  }

  private func noteDurable(through sequence: UInt64, _ request: ClientRequest) {
    let lowestCut = cuts.dropFirst(request.incarnation).min() ?? .max
    if sequence > lowestCut, !isDamaged {
      violation("\(request) is acknowledged, but record \(sequence), which it covers, is lost")
    }
    noteDurable(through: sequence)
  }

  /// The site says so of itself.
  func noteDurable(through sequence: UInt64) { durableFloor = max(durableFloor, sequence) }

  /// A named checkpoint was answered: it is durable.
  func checkpointed(_ tag: String, sequence: UInt64) {
    guard sequence <= line.count else {
      violation("checkpoint \(tag) is record \(sequence), of \(line.count) that there are")
    }
    let record = line.records[Int(sequence) - 1]
    guard record.header.kind == .checkpoint, record.payload == Array(tag.utf8) else {
      violation("checkpoint \(tag) is \(record)")
    }
    noteDurable(through: sequence)
  }

  /// A read has shown bytes that only this record or a later one has written.
  func seen(_ sequence: UInt64) { seenFloor = max(seenFloor, sequence) }

  /// A client has connected to the disk: that it came is durable.
  func serves(_ disk: Int) {
    guard disk >= catalog.firstCount,
      let marker = line.records.first(where: { $0.change?.number.index == disk })
    else { return }
    seen(marker.sequence)
    noteDurable(through: marker.sequence)
  }

  // MARK: Files

  func opened(_ header: SegmentHeader) {
    resolveEnd(at: header.firstSequence.rawValue - 1)
    guard header.firstSequence.rawValue == UInt64(line.count) + 1 else {
      violation(
        "segment \(header.number) begins with record \(header.firstSequence.rawValue), after "
          + "record \(line.count)")
    }
    if archive.segments[header.identity] != nil {
      violation("segment \(header.number) of epoch \(header.epoch) begins twice")
    }
    archive.open(header.identity, after: line.records.last)
  }

  func rewound(to last: UInt64) {
    if !isEndUncertain { violation("the protected site overwrites its records after \(last)") }
    resolveEnd(at: last)
  }

  func stamped(_ found: SegmentWatcher.Found) -> Record {
    resolveEnd(at: found.sequence - 1)
    guard found.sequence == UInt64(line.count) + 1 else {
      violation("record \(found.sequence) follows record \(line.count)")
    }
    let record = Record(found, after: line.records.last)
    guard record.header.timestamp > line.lastTimestamp else {
      violation("\(record) is not later than the one before, at \(line.lastTimestamp)")
    }
    record.isBackdated = record.header.timestamp <= clockCeiling
    if let change = record.change {
      catalog.note(change)
      if change.event == .added { record.content = catalog[record.disk].content }
    } else if record.changesDisk {
      findRequest(of: record)
    }
    archive.add(record)
    line.append(record)
    return record
  }

  private func findRequest(of record: Record) {
    guard let taker = pending.firstIndex(where: { $0.takes(record) }) else {
      if isContent(record) || isRestamped(record) { return }
      violation("nobody has asked for \(record)")
    }
    let request = pending[taker]
    guard record.sequence > request.floor else {
      violation("\(record) of \(request) comes before record \(request.floor), seen before")
    }
    record.request = request
    if request.isWholeInOrder { pending.remove(at: taker) }
  }

  /// A record that says of bytes what they are already, and of a former owner that lacks them.
  private func isRestamped(_ record: Record) -> Bool {
    guard mayRestamp else { return false }
    let disk = line.disks(after: line.count)[record.disk]
    let found = disk.bytes(at: record.start, count: record.length)
    guard record.header.kind == .write else { return found.allSatisfy { $0 == 0 } }
    return zip(found, record.payload).enumerated().allSatisfy { index, bytes in
      bytes.0 == bytes.1 || mayBeDamaged(record.disk, record.start + index)
    }
  }

  /// What a disk held when it came: a record of it changes nothing.
  private func isContent(_ record: Record) -> Bool {
    guard record.header.kind == .write, record.disk >= catalog.firstCount else { return false }
    let shown = line.shown(after: line.count, of: catalog)
    let disk = line.disks(after: line.count)[record.disk]
    return !shown.contains(record.disk)
      && disk.bytes(at: record.start, count: record.length) == record.payload
  }

  // MARK: Restarts

  /// The site's disk is that of another time, with these records; others that it had are on no disk
  /// of its own.
  func restored(_ records: [Record]) {
    for record in line.records { record.isVoid = true }
    for record in records { record.isVoid = false }
    line.adopt(records)
    let last = UInt64(records.count)
    durableFloor = min(durableFloor, last)
    seenFloor = min(seenFloor, last)
    acknowledgedFloor = min(acknowledgedFloor, last)
  }

  /// Another site is the protected one, and has these records.
  ///
  /// - Parameter mayLack: its files may lack what was not synced.
  func moves(to line: Line, durableFloor: UInt64, mayLack: Bool) {
    self.line = line
    self.durableFloor = durableFloor
    acknowledgedFloor = UInt64(line.count)
    seenFloor = acknowledgedFloor
    mayHaveLost = mayLack
    isEndUncertain = true
    pending = []
    untoldDisks = []
    errorsDue = [:]
    incarnation += 1
    firstIncarnation = incarnation
    cuts.append(.max)
  }

  /// The power was cut, or a sync has failed.
  func mayLose() { mayHaveLost = true }

  /// The site's process is about to start, and with it whoever knew what clients have not heard.
  func processStarts() { untoldDisks = [] }

  /// The group is about to be opened. What was sent to an earlier one appears no more.
  ///
  /// - Parameter clock: the latest time that its clock has shown so far.
  func restarting(clock: Timestamp) {
    clockCeiling = max(clockCeiling, clock)
    isEndUncertain = true
    pending = []
  }

  /// The site has started and says where its order ends.
  func restarted(appended: UInt64) {
    resolveEnd(at: appended)
    incarnation += 1
    cuts.append(UInt64(line.count))
  }

  /// It is known now that the site's files ended, when it restarted, with record `last`.
  private func resolveEnd(at last: UInt64) {
    guard isEndUncertain else { return }
    isEndUncertain = false
    guard last <= line.count else {
      violation("goes on after record \(last), of \(line.count) that it has written")
    }
    let dropped = line.truncate(to: Int(last))
    if let first = dropped.first, !isDamaged {
      if last < durableFloor {
        violation("\(first) is lost; somebody was told that record \(durableFloor) is durable")
      }
      if !mayHaveLost { violation("\(first) is lost without a power cut") }
    }
    mayHaveLost = false
    for record in dropped { record.isVoid = true }
    durableFloor = min(durableFloor, last)
    seenFloor = min(seenFloor, last)
    acknowledgedFloor = min(acknowledgedFloor, last)
  }
}
