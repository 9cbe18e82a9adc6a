import BlockModel
import Journal

/// The order of the group as one site has it, and what clients and operators were told there.
///
/// The order is what the site writes to its segment files. As an owner it stamps: every record is
/// the next piece of a request that a client has sent there, or says again what a disk holds
/// anyway. As a follower it has the very records that the owner stamped. It goes back only where
/// something says so: its state file (`SiteOwnership`), a crash, or what an owner has lost.
final class SiteOracle {
  let name: String
  let index: Int
  let line: Line
  unowned let group: FailoverOracle
  var ownership = SiteOwnership()

  /// Sent in this opening and not wholly in the order, oldest first.
  private var pending: [ClientRequest] = []
  /// Counts the openings of the group.
  private(set) var opening = 0
  /// It follows in this opening.
  private(set) var isOpenToFollow = false
  /// The last record that was acknowledged in this opening: what a FLUSH that is sent now covers.
  private(set) var acknowledgedFloor: UInt64 = 0
  /// The last one that some reply has shown to a client.
  private(set) var seenFloor: UInt64 = 0
  /// The last one of which somebody was told that it is durable.
  private(set) var durableFloor: UInt64 = 0
  private(set) var mayHaveLost = false
  /// It has started again and written nothing yet: its files may end elsewhere than the line.
  private(set) var isEndUncertain = false
  /// It goes back on purpose, until it writes again.
  private(set) var isGoingBack = false
  /// Since when it acknowledges no write any more, because another site owns the group.
  private(set) var fencedSince: UInt64?

  init(_ name: String, _ index: Int, _ group: FailoverOracle) {
    self.name = name
    self.index = index
    self.group = group
    line = Line(initial: group.disks)
  }

  func violation(_ reason: String) -> Never { group.violation("\(name): \(reason)") }

  var tip: Record? { line.records.last }
  /// Nobody knows what is right.
  var isUnsure: Bool { isEndUncertain || isGoingBack }

  /// On its line, or kept beside it.
  func holds(_ record: Record) -> Bool {
    line.record(Int(record.sequence)) === record
      || ownership.keeps { $0.record(Int(record.sequence)) === record }
  }

  // MARK: Clients

  func sent(_ request: ClientRequest) {
    request.incarnation = opening
    request.floor = request.command == .flush ? acknowledgedFloor : seenFloor
    if request.changesDisk { pending.append(request) }
  }

  /// As `ProtectedOracle.isAmbiguous`.
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

  /// - Parameters:
  ///   - time: when it was sent.
  ///   - floor: the record that `request.floor` was then.
  func acknowledged(_ request: ClientRequest, sentAt time: UInt64, floor: Record?) {
    let isNow = request.incarnation == opening
    if request.command == .flush {
      guard let floor else { return }
      if !holds(floor) { violation("\(request) is acknowledged, and \(floor) is lost") }
      if isNow { noteDurable(through: floor.sequence) }
      return
    }
    guard request.changesDisk else { return }
    if let fencedSince, isNow, time > fencedSince {
      violation("\(request) is acknowledged though another site owns the group")
    }
    guard request.isWholeInOrder, let last = request.records.last else {
      violation("\(request) is acknowledged and not in the order")
    }
    guard holds(last) else {
      // A reply may be under way while power is cut.
      if request.isFUA { violation("\(request) is acknowledged as durable, and \(last) is lost") }
      return
    }
    guard isNow else { return }
    acknowledgedFloor = max(acknowledgedFloor, last.sequence)
    seen(last.sequence)
    if request.isFUA { noteDurable(through: last.sequence) }
  }

  func seen(_ sequence: UInt64) { seenFloor = max(seenFloor, sequence) }

  func noteDurable(through sequence: UInt64) {
    if !isUnsure { durableFloor = max(durableFloor, min(sequence, UInt64(line.count))) }
  }

  // MARK: Fencing

  func fenced(at time: UInt64?) { fencedSince = time }

  // MARK: Segment files

  func opened(_ header: SegmentHeader) {
    if let segment = group.archive.segments[header.identity] {
      return goOn(after: segment.predecessor) { "segment \(header.number)" }
    }
    guard ownership.isOwner else {
      violation("segment \(header.number) of epoch \(header.epoch) was never sent")
    }
    resolveEnd(at: header.firstSequence.rawValue - 1)
    guard header.firstSequence.rawValue == UInt64(line.count) + 1 else {
      violation(
        "segment \(header.number) begins with record \(header.firstSequence.rawValue), after "
          + "record \(line.count)")
    }
    group.archive.open(header.identity, after: tip)
  }

  func found(_ found: SegmentWatcher.Found) -> Record {
    if let record = group.archive.record(found.identity, found.index) {
      guard record.header == found.header, record.payload == found.payload else {
        violation("\(record) is another there: \(found.header)")
      }
      goOn(after: record.previous) { "\(record)" }
      line.append(record)
      return record
    }
    guard ownership.isOwner else { violation("record \(found.sequence) was never sent") }
    return stamped(found)
  }

  /// What is written now follows `last`.
  private func goOn(after last: Record?, _ what: () -> String) {
    if tip !== last {
      guard isUnsure else {
        violation(
          "\(what()) must follow \(last?.description ?? "nothing"), and follows "
            + "\(tip?.description ?? "nothing")")
      }
      adopt(endingWith: last)
    }
    isEndUncertain = false
    isGoingBack = false
  }

  private func stamped(_ found: SegmentWatcher.Found) -> Record {
    resolveEnd(at: found.sequence - 1)
    guard found.sequence == UInt64(line.count) + 1 else {
      violation("record \(found.sequence) follows record \(line.count)")
    }
    let record = Record(found, after: tip)
    guard record.header.timestamp > line.lastTimestamp else {
      violation("\(record) is not later than the one before, at \(line.lastTimestamp)")
    }
    if record.changesDisk { findRequest(of: record) }
    group.archive.add(record)
    line.append(record)
    return record
  }

  private func findRequest(of record: Record) {
    guard let taker = pending.firstIndex(where: { $0.takes(record) }) else {
      if group.yieldCount > 0, saysAgain(record) { return }
      violation("nobody has asked for \(record)")
    }
    let request = pending[taker]
    guard record.sequence > request.floor else {
      violation("\(record) of \(request) comes before record \(request.floor), seen before")
    }
    record.request = request
    if request.isWholeInOrder { pending.remove(at: taker) }
  }

  /// The disk holds just that.
  private func saysAgain(_ record: Record) -> Bool {
    let present = line.disks(after: line.count)[record.disk]
      .bytes(at: record.start, count: record.length)
    return record.header.kind == .write
      ? present == record.payload : present.allSatisfy { $0 == 0 }
  }

  /// Writing goes on after record `last`, over what follows it.
  func rewound(to last: UInt64) {
    guard ownership.isOwner, !ownership.isExchanging else { return }
    if !isEndUncertain { violation("overwrites its records after \(last)") }
    resolveEnd(at: last)
  }

  // MARK: Going back

  /// Keeps what was told to be durable.
  private func adopt(endingWith last: Record?) {
    let floor = line.record(Int(durableFloor))
    line.adopt(endingWith: last)
    if let floor, line.record(Int(floor.sequence)) !== floor {
      violation("\(floor) was durable, and is lost: \(tip?.description ?? "nothing") is the last")
    }
  }

  /// The state file says that it goes on from there: `floor` of it is known to be durable.
  func moves(to last: Record?, floor: UInt64) {
    line.adopt(endingWith: last)
    durableFloor = min(floor, last?.sequence ?? 0)
    seenFloor = min(seenFloor, durableFloor)
    acknowledgedFloor = min(acknowledgedFloor, durableFloor)
    pending = []
  }

  /// A full copy begins: these records are what it will hold.
  func erased(keeping last: Record?) {
    isGoingBack = true
    isEndUncertain = false
    moves(to: last, floor: 0)
  }

  /// The copy is whole.
  func copied() { isGoingBack = false }

  /// A power cut has undone that it began.
  func notErased() {
    isGoingBack = false
    isEndUncertain = true
  }

  /// The owner has lost what follows.
  func cut(to last: UInt64) {
    let other = group.other(than: self)
    isGoingBack = true
    durableFloor = min(durableFloor, last)
    let kept = line.truncate(to: Int(last)).first { other.line.record(Int($0.sequence)) === $0 }
    if let kept { violation("\(kept) is dropped, and the owner has it") }
  }

  // MARK: Restarts

  func mayLose() { mayHaveLost = true }

  func restarting(isCopying: Bool) {
    pending = []
    isGoingBack = isCopying
    isEndUncertain = !isCopying
  }

  /// The group is open, and says where its order ends.
  func restarted(appended: UInt64, applied: UInt64, _ segments: SegmentWatcher) {
    opening += 1
    isOpenToFollow = ownership.isFollower
    pending = []
    seenFloor = min(seenFloor, appended)
    acknowledgedFloor = min(acknowledgedFloor, appended)
    if isGoingBack {
      mayHaveLost = false
      return
    }
    if !isEndUncertain {
      guard appended == line.count else {
        violation("opens with \(appended) records, and closed with \(line.count)")
      }
      return
    }
    // What was cut off before may have come back with a power cut.
    let found = segments.places(of: appended)
      .compactMap { [group] in group.archive.record($0.identity, $0.index) }
      .first { segments.holdAll(through: $0, after: applied) }
    if !ownership.isOwner, let found, found !== line.record(Int(appended)) {
      isEndUncertain = false
      mayHaveLost = false
      return adopt(endingWith: found)
    }
    resolveEnd(at: appended)
  }

  /// It is known now that the site's files ended, when it started again, with record `last`.
  private func resolveEnd(at last: UInt64) {
    guard isEndUncertain else { return }
    isEndUncertain = false
    guard last <= line.count else {
      violation("goes on after record \(last), of \(line.count) that it has")
    }
    let dropped = line.truncate(to: Int(last))
    if let first = dropped.first {
      if last < durableFloor {
        violation("\(first) is lost; somebody was told that record \(durableFloor) is durable")
      }
      if !mayHaveLost { violation("\(first) is lost without a power cut") }
      if ownership.isOwner { group.lossCount += 1 }
    }
    mayHaveLost = false
    seenFloor = min(seenFloor, last)
    acknowledgedFloor = min(acknowledgedFloor, last)
  }
}
