import BlockModel
import Journal
import Storage
import SystemIO

/// Disks that come to an owning group and leave it while it runs, one after the other. Confined to
/// the group's loop.
///
/// ```
/// number noted ─▶ marker stamped ─▶ durable ─▶ marker noted ─▶ in effect
/// ```
///
/// The state file is told of each step before the next one, so a crash leaves it undone, or to be
/// done again: a start compares the state file's disks with the configuration's and goes on. A
/// marker that is there twice means the same as once.
struct DiskChanges {
  struct Wish {
    let event: DiskChange.Event
    let name: String
    /// A disk that comes.
    var disk: WaitingDisk?
    /// Nil: it has no number yet.
    var number: DiskNumber?
    /// The same once its marker is stamped.
    var member: GroupDisk?
    /// Once it is in effect.
    var done: (@Sendable () -> Void)?
  }

  enum Step: Equatable {
    case note, stamp
    case durable(JournalState.Mark), settle(JournalState.Mark)
  }

  var waiting: [Wish] = []
  var current: Wish?
  var step = Step.note
  /// When the current one began, and when its step is tried again; monotonic.
  var begun: UInt64 = 0
  fileprivate var retryNanoseconds: UInt64 = 0
  fileprivate(set) var failure: String?

  private static var patienceNanoseconds: UInt64 { 5_000_000_000 }

  /// Of a change that takes long: the disk, and what it waits for.
  func waitText(now: UInt64) -> (disk: String, text: String)? {
    guard let current, now >= begun + Self.patienceNanoseconds else { return nil }
    let reason =
      switch step {
      case _ where failure != nil: failure ?? ""
      case .note, .settle: "the state file is being written"
      case .stamp: "the journal has no room for its marker"
      case .durable: "its marker is not durable yet"
      }
    return (current.name, "disk \(current.name) is not \(current.event) yet: \(reason)")
  }

  /// Nothing is under way.
  var isAtRest: Bool { current == nil && waiting.isEmpty }

  /// Removals that are not in the order yet, of disks that stay after all. Returns the names of
  /// those that leave, because their markers are in it.
  mutating func takeBackRemovals(of names: [String]) -> [String] {
    let isMeant = { (wish: Wish) in wish.event == .removed && names.contains(wish.name) }
    let meant = waiting.filter(isMeant)
    waiting.removeAll(where: isMeant)
    for wish in meant { wish.done?() }
    guard let leaving = current, isMeant(leaving) else { return [] }
    if step != .note, step != .stamp { return [leaving.name] }
    current = nil
    leaving.done?()
    return []
  }

  func hasWish(_ event: DiskChange.Event, _ name: String) -> Bool {
    (waiting + [current].compactMap { $0 }).contains { $0.event == event && $0.name == name }
  }
}

extension Group {
  private static var retryNanoseconds: UInt64 { 1_000_000_000 }

  /// The configuration has disks of these names (again). Returns those that leave all the same.
  func keepDisks(_ names: [String]) -> [String] {
    loop.assertIsCurrent()
    return diskChanges.takeBackRemovals(of: names)
  }

  func change(_ wish: DiskChanges.Wish) {
    diskChanges.waiting.append(wish)
    continueDiskChanges()
  }

  /// Several times a second, and when a step has ended.
  func continueDiskChanges() {
    guard duty == .owning, lifecycle.isServing, let journal,
      loop.monotonicNow >= diskChanges.retryNanoseconds
    else { return }
    if diskChanges.current == nil {
      guard !diskChanges.waiting.isEmpty else { return }
      diskChanges.current = diskChanges.waiting.removeFirst()
      diskChanges.step = .note
      diskChanges.begun = loop.monotonicNow
    }
    guard let wish = diskChanges.current else { return }
    switch diskChanges.step {
    case .note: noteNumber(wish)
    case .stamp: stampMarker(wish, journal)
    case .durable: break
    case .settle(let mark): noteMarker(wish, mark)
    }
  }

  /// Before any record has the number.
  private func noteNumber(_ wish: DiskChanges.Wish) {
    guard wish.event == .added, let disk = wish.disk, let state = stateKeeper?.state else {
      diskChanges.step = .stamp
      return continueDiskChanges()
    }
    let number = wish.number ?? state.disk(named: wish.name)?.number ?? Self.nextNumber(state)
    diskChanges.current?.number = number
    let (byteCount, backing) = (disk.store.byteCount, disk.backing)
    noteDisks { state in
      if state.disks[number] == nil {
        state.disks.append(
          .init(
            number: number, name: wish.name, byteCount: byteCount, added: nil, whole: nil))
      }
      state.change(number) {
        $0.byteCount = byteCount
        $0.backing = backing
        $0.cameHere = true
      }
      state.nextDisk = max(state.nextDisk, number.rawValue + 1)
    } done: { [self] in
      diskChanges.step = .stamp
      continueDiskChanges()
    }
  }

  private static func nextNumber(_ state: JournalState) -> DiskNumber {
    #if MUTANTS
      let gone = (0..<state.nextDisk).first { state.disks[DiskNumber($0)] == nil }
      if Mutant.reuseDiskNumber.isOn, let gone { return DiskNumber(gone) }
    #endif
    return DiskNumber(state.nextDisk)
  }

  private func stampMarker(_ wish: DiskChanges.Wish, _ journal: SiteJournal) {
    let state = stateKeeper?.state
    let noted = state.flatMap { state in
      guard let number = wish.number else { return state.disk(named: wish.name) }
      return state.disks[number].flatMap { $0.removed == nil ? $0 : nil }
    }
    guard let noted else { return finishChange() }
    let number = noted.number
    diskChanges.current?.number = number
    let change = DiskChange(wish.event, noted)
    guard journal.hasRoom(payloadByteCount: change.payload.count) else { return }
    switch wish.event {
    case .added:
      guard let disk = wish.disk else { return finishChange() }
      let member = GroupDisk(disk, number: number, group: configuration.name)
      diskChanges.current?.member = member
      // Before its first record can be sent or looked up.
      sentDisks.add(member.sent)
      do throws(JournalError) { try journal.grow(toDisks: number.index + 1) } catch {
        return fail("\(error)")
      }
    case .whole: break
    case .removed:
      diskTable.withLock { $0.unlist(number) }
      for connection in connections.members where connection.disk == number { connection.close() }
    }
    guard let mark = stamp(change) else { return }
    diskChanges.step = .durable(mark)
    durability.add(mark.sequence) { [self] in
      diskChanges.step = .settle(mark)
      continueDiskChanges()
    }
    loop.enlist(self)
  }

  /// Writes a marker; nil when the group has failed.
  private func stamp(_ change: DiskChange) -> JournalState.Mark? {
    guard let tap, let journal else { return nil }
    let payload = change.payload
    var memory = [UInt8](repeating: 0, count: RecordHeader.byteCount) + payload
    let isStaged = unsafe memory.withUnsafeMutableBytes { bytes -> Bool in
      guard let record = bytes.baseAddress else { return false }
      do throws(JournalError) {
        try unsafe tap.disk(
          change.number, payloadByteCount: UInt32(payload.count), now: readClock(),
          record: record)
      } catch { fail("\(error)") }
      // The record is in this array: it is written before the array ends.
      return commit()
    }
    return isStaged ? .init(journal.stamped, journal.newestTimestamp) : nil
  }

  private func noteMarker(_ wish: DiskChanges.Wish, _ mark: JournalState.Mark) {
    guard let number = wish.number else { return finishChange() }
    noteDisks {
      Self.note(wish.event, of: number, mark, in: &$0)
    } done: { [self] in
      finishChange { takeEffect(wish, number) }
    }
  }

  private static func note(
    _ event: DiskChange.Event, of number: DiskNumber, _ mark: JournalState.Mark,
    in state: inout JournalState
  ) {
    state.change(number) { disk in
      switch event {
      case .added: disk.added = mark
      case .whole: disk.whole = mark
      case .removed:
        disk.added = disk.added ?? mark
        disk.removed = mark
      }
    }
    state.forgetGoneDisks()
  }

  /// For whoever writes the state file last, when all is durable: the marker that is in the order
  /// and not noted yet.
  var lastMarker: @Sendable (inout JournalState) -> Void {
    guard let wish = diskChanges.current, let number = wish.number else { return { _ in } }
    switch diskChanges.step {
    case .note, .stamp: return { _ in }
    case .durable(let mark), .settle(let mark):
      return { [event = wish.event] in Self.note(event, of: number, mark, in: &$0) }
    }
  }

  private func takeEffect(_ wish: DiskChanges.Wish, _ number: DiskNumber) {
    let name = configuration.name
    switch wish.event {
    case .added:
      guard let disk = wish.member else { return }
      let names = configuredNames
      diskTable.withLock {
        $0.endWait(for: disk.name)
        $0.place(disk)
        $0.list(disk, in: names)
      }
      analyzer?.add(disk.analyzed)
      log("group \(name): disk \(wish.name) has come to it, number \(number.rawValue)")
    case .whole:
      log("group \(name): disk \(wish.name) is whole: instants from here on show it")
    case .removed:
      sentDisks.remove(number)
      analyzer?.remove(disk: number)
      log("group \(name): disk \(wish.name) has left it; earlier instants still show it")
      closeGoneDisks()
    }
    continueContents()
  }

  /// Nothing of the change is left to do when `effect` is called: what it sets going may be the
  /// next change.
  private func finishChange(_ effect: () -> Void = {}) {
    let done = diskChanges.current?.done
    diskChanges.current = nil
    diskChanges.step = .note
    effect()
    done?()
    continueDiskChanges()
  }

  /// Changes what the state file says of disks; `done` on the loop. What fails is tried again.
  private func noteDisks(
    _ change: @escaping @Sendable (inout JournalState) -> Void,
    done: @escaping @Sendable () -> Void
  ) {
    guard let stateKeeper, lifecycle.begin(.diskNote) else { return }
    // Not behind a step of apply, which takes long, or for ever where a store hangs.
    lanes.files.submit { [self] in
      var failure: Errno?
      do throws(Errno) { try stateKeeper.update(change) } catch { failure = error }
      let problem = failure
      loop.post { [self] in
        lifecycle.ended(.diskNote)
        diskChanges.failure = problem.map { "writing the state file: \($0.withAdvice)" }
        if problem == nil {
          done()
        } else {
          diskChanges.retryNanoseconds = loop.monotonicNow + Self.retryNanoseconds
        }
        goOn()
      }
    }
  }
}
