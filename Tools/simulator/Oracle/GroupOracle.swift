import BlockModel
import Journal

/// The two sites of a group.
enum Role: String, CaseIterable {
  case protected, recovery
}

/// What must be true of one group, whatever fails: the plain bookkeeping that both sites and their
/// clients are held to.
///
/// The order of the group is what the protected site writes to its segment files. Every record in
/// it must be the next piece of a request that a client has sent, and what a client is told must be
/// in it. A restart may take back the end of the order, but nothing that was promised.
final class GroupOracle {
  let name: String
  let diskNames: [String]
  let protected: Line
  let recovery: Line
  let violation: (String) -> Never

  /// By segment: what the protected site wrote there, also what it lost later.
  private var archive: [SegmentIdentity: [Record]] = [:]
  /// Sent and not wholly in the order, oldest first.
  private var pending: [ClientRequest] = []
  /// Counts the starts of the protected site.
  private(set) var incarnation = 0
  /// Where each start has cut the order.
  private var cuts: [UInt64] = []

  /// The last record whose request was acknowledged: what a FLUSH that is sent now covers.
  private(set) var acknowledgedFloor: UInt64 = 0
  /// The last record that some reply, or the bytes of some read, have shown to a client.
  private(set) var seenFloor: UInt64 = 0
  /// The last record of which a client was told that it is durable.
  private(set) var durableFloor: UInt64 = 0
  /// The last record of which the recovery site has said so.
  private(set) var recoveryDurableFloor: UInt64 = 0

  /// The protected site's files may lack, after its next start, what was not synced.
  private var mayHaveLost = false
  /// The latest time that the protected site's clock has shown before its last start.
  private var clockCeiling = Timestamp.zero
  /// A site has restarted and written nothing yet: its files may end earlier than its line.
  private var isEndUncertain: Set<Role> = []

  init(
    name: String, diskNames: [String], initial: [[UInt8]], violation: @escaping (String) -> Never
  ) {
    self.name = name
    self.diskNames = diskNames
    self.violation = { violation("group \(name): \($0)") }
    let images = initial.map { DiskImage($0) }
    protected = Line(initial: images)
    recovery = Line(initial: images)
  }

  func line(_ role: Role) -> Line { role == .protected ? protected : recovery }

  // MARK: Clients

  func sent(_ request: ClientRequest) {
    request.incarnation = incarnation
    request.floor = request.command == .flush ? acknowledgedFloor : seenFloor
    if request.changesDisk { pending.append(request) }
  }

  /// Whether a record of this request could be taken for one of another that is under way, or was
  /// when its connection broke: zeros carry no number.
  func isAmbiguous(_ request: ClientRequest) -> Bool {
    request.command != .write
      && pending.contains {
        $0.disk == request.disk && $0.offset == request.offset && $0.length == request.length
      }
  }

  func acknowledged(_ request: ClientRequest) {
    if request.command == .flush { return noteDurable(through: request.floor, request) }
    guard request.changesDisk else { return }
    guard request.isWholeInOrder, let last = request.records.last else {
      violation("\(request) is acknowledged and not in the order")
    }
    if let lost = request.records.first(where: \.isVoid) {
      // A reply may be under way while power is cut.
      if request.isFUA { violation("\(request) is acknowledged as durable and \(lost) is lost") }
      return
    }
    acknowledgedFloor = max(acknowledgedFloor, last.sequence)
    seenFloor = max(seenFloor, last.sequence)
    if request.isFUA { noteDurable(through: last.sequence, request) }
  }

  private func noteDurable(through sequence: UInt64, _ request: ClientRequest) {
    let lowestCut = cuts.dropFirst(request.incarnation).min() ?? .max
    if sequence > lowestCut {
      violation("\(request) is acknowledged, but record \(sequence), which it covers, is lost")
    }
    durableFloor = max(durableFloor, sequence)
  }

  /// The protected site says so of itself.
  func noteDurable(through sequence: UInt64) { durableFloor = max(durableFloor, sequence) }

  /// A named checkpoint was answered: it is durable.
  func checkpointed(_ tag: String, sequence: UInt64) {
    guard sequence <= protected.count else {
      violation("checkpoint \(tag) is record \(sequence), of \(protected.count) that there are")
    }
    let record = protected.records[Int(sequence) - 1]
    guard record.header.kind == .checkpoint, record.payload == Array(tag.utf8) else {
      violation("checkpoint \(tag) is \(record)")
    }
    noteDurable(through: sequence)
  }

  /// A read has shown bytes that only this record or a later one has written.
  func seen(_ sequence: UInt64) { seenFloor = max(seenFloor, sequence) }

  // MARK: Files

  func opened(_ role: Role, _ header: SegmentHeader) {
    if role == .recovery { hasWritten() }
    resolveEnd(role, at: header.firstSequence.rawValue - 1)
    let segment = "\(role): segment \(header.number) of epoch \(header.epoch)"
    switch role {
    case .protected:
      if archive[header.identity] != nil { violation("\(segment) begins twice") }
      archive[header.identity] = []
    case .recovery:
      if archive[header.identity] == nil { violation("\(segment) was never sent") }
    }
  }

  /// Writing goes on after record `last`, over what follows it.
  func rewound(_ role: Role, to last: UInt64) {
    if role == .protected, !isEndUncertain.contains(role) {
      violation("the protected site overwrites its records after \(last)")
    }
    resolveEnd(role, at: last)
  }

  func found(_ role: Role, _ found: SegmentWatcher.Found) -> Record {
    if role == .recovery { hasWritten() }
    if isEndUncertain.contains(role) { resolveEnd(role, at: found.sequence - 1) }
    guard found.sequence == UInt64(line(role).count) + 1 else {
      violation("\(role): record \(found.sequence) follows record \(line(role).count)")
    }
    let record = role == .protected ? stamped(found) : received(found)
    line(role).append(record)
    return record
  }

  private func stamped(_ found: SegmentWatcher.Found) -> Record {
    let record = Record(found)
    guard record.header.timestamp > protected.lastTimestamp else {
      violation("\(record) is not later than the one before, at \(protected.lastTimestamp)")
    }
    record.isBackdated = record.header.timestamp <= clockCeiling
    archive[found.identity, default: []].append(record)
    if record.header.kind == .checkpoint { return record }
    guard let taker = pending.firstIndex(where: { $0.takes(record) }) else {
      violation("nobody has asked for \(record)")
    }
    let request = pending[taker]
    guard record.sequence > request.floor else {
      violation("\(record) of \(request) comes before record \(request.floor), seen before")
    }
    record.request = request
    if request.isWholeInOrder { pending.remove(at: taker) }
    return record
  }

  private func received(_ found: SegmentWatcher.Found) -> Record {
    guard let segment = archive[found.identity], found.index < segment.count else {
      violation("recovery: record \(found.sequence) was never sent")
    }
    let record = segment[found.index]
    guard record.header == found.header, record.payload == found.payload else {
      violation("recovery: \(record) is another there: \(found.header)")
    }
    return record
  }

  // MARK: What the recovery site says of itself

  private var recoveryResets = 0

  /// Grows when the order of a site goes back while it runs.
  func resetCount(_ role: Role) -> Int { role == .recovery ? recoveryResets : 0 }

  /// A full copy begins: the journal is empty and goes on after `start`.
  func erased(start: UInt64) {
    isGoingBack = true
    beforeErasing = (recovery.records, recoveryDurableFloor)
    recovery.adopt(Array(protected.records.prefix(Int(start))))
    recoveryDurableFloor = 0
    isEndUncertain.remove(.recovery)
  }

  private func hasWritten() {
    isGoingBack = false
    beforeErasing = nil
  }

  private var beforeErasing: (records: [Record], durableFloor: UInt64)?

  /// A power cut has undone what `erased` was told, before anything was erased.
  func notErased() {
    guard let before = beforeErasing else { return }
    recovery.adopt(before.records)
    recoveryDurableFloor = before.durableFloor
    beforeErasing = nil
  }

  /// The peer has told it to go back.
  func cut(to last: UInt64) {
    isGoingBack = true
    recoveryDurableFloor = min(recoveryDurableFloor, last)
  }

  /// Until it writes again it may still say what it had.
  private(set) var isGoingBack = false {
    didSet { if isGoingBack != oldValue { recoveryResets += 1 } }
  }

  func recoveryIsDurable(through last: UInt64) {
    if !isGoingBack { recoveryDurableFloor = max(recoveryDurableFloor, last) }
  }

  // MARK: Restarts

  /// The power was cut, or a sync has failed.
  func mayLose(_ role: Role) { if role == .protected { mayHaveLost = true } }

  /// The site's process is about to start. What was sent to an earlier one appears no more.
  ///
  /// - Parameter isCopying: a full copy was under way there. Another will begin, and whatever the
  ///   journal still holds means nothing.
  /// - Parameter clock: the latest time that its clock has shown so far.
  func restarting(_ role: Role, isCopying: Bool, clock: Timestamp) {
    if role == .protected { clockCeiling = max(clockCeiling, clock) }
    if role == .recovery, isCopying {
      isGoingBack = true
      isEndUncertain.remove(role)
      return
    }
    isEndUncertain.insert(role)
    if role == .protected { pending = [] } else { isGoingBack = false }
  }

  /// The site has started and says where its order ends.
  func restarted(_ role: Role, appended: UInt64) {
    if isEndUncertain.contains(role) { resolveEnd(role, at: appended) }
    guard role == .protected else { return }
    incarnation += 1
    cuts.append(UInt64(protected.count))
  }

  /// It is known now that the site's files end, or ended when it restarted, with record `last`.
  private func resolveEnd(_ role: Role, at last: UInt64) {
    let hasRestarted = isEndUncertain.remove(role) != nil
    guard last <= line(role).count else {
      violation("\(role): goes on after record \(last), of \(line(role).count) that it has written")
    }
    let dropped = line(role).truncate(to: Int(last))
    if role == .protected {
      noteLost(dropped, last: last)
      if hasRestarted { mayHaveLost = false }
    }
    if role == .recovery, !dropped.isEmpty, last < recoveryDurableFloor {
      violation("recovery: record \(last + 1) is lost; \(recoveryDurableFloor) was durable")
    }
  }

  private func noteLost(_ dropped: ArraySlice<Record>, last: UInt64) {
    guard let first = dropped.first else { return }
    if last < durableFloor {
      violation("\(first) is lost; a client was told that record \(durableFloor) is durable")
    }
    if !mayHaveLost { violation("\(first) is lost without a power cut") }
    for record in dropped { record.isVoid = true }
    seenFloor = min(seenFloor, last)
    acknowledgedFloor = min(acknowledgedFloor, last)
  }
}
