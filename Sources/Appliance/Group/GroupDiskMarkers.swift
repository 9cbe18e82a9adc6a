import BlockModel
import Journal
import Replication
import Storage
import SystemIO
import Volume

/// What a following group does with markers of disks: each is noted in the state file before its
/// journal has the record. A disk that comes is the one of that name in the configuration here; it
/// is made zeros, as it is in the order. Where there is none, nothing is taken from the marker on.
extension Group {
  /// The journal has stopped before the marker. `receiver` is left alone until it may go on.
  func prepare(
    for change: DiskChange, _ mark: JournalState.Mark, from receiver: any IncomingLink
  ) throws(LinkError) {
    guard let stateKeeper else { return }
    let known = stateKeeper.state.disks[change.number]
    guard EntityName.isValid(change.name), known == nil || known?.name == change.name else {
      throw .protocolViolation(
        "disk \(change.name.quotedForMessage) has the number of disk \(known?.name ?? "") here")
    }
    guard change.number.rawValue < JournalState.diskNumberLimit else {
      throw .protocolViolation("disk \(change.name) has number \(change.number.rawValue)")
    }
    let comes =
      change.event == .added && known == nil
      && !hadLeft(change.number, at: mark.sequence, receiver, stateKeeper.state)
    var disk: GroupDisk?
    if comes {
      guard diskTable.withLock({ $0[change.number] }) == nil else {
        throw .protocolViolation(
          "disk \(change.name) has number \(change.number.rawValue), which was another disk's here")
      }
      if let text = missing(change) {
        receiving.stopped(
          before: Obstacle(
            incarnation: receiver.peerIncarnation, sequence: mark.sequence, disk: change.number,
            end: change.byteCount, newcomer: change))
        throw .unacceptable(text)
      }
      try requirePlace(change, stateKeeper.state)
    }
    // A reset, or another process, waits for it; and it for them.
    guard lifecycle.begin(.diskNote) else {
      throw .local("disk \(change.name) comes when the group is at rest again")
    }
    if comes {
      disk = diskTable.withLock { $0.enter(change.name) }.map {
        GroupDisk($0, number: change.number, group: configuration.name)
      }
      // A reload may have taken it away since.
      guard disk != nil else {
        lifecycle.ended(.diskNote)
        throw .local("disk \(change.name) has just left the configuration of \(siteName)")
      }
    }
    // Noted before: a restart finds the disk with its number.
    let (coming, backing) = (disk, disk?.backing ?? "")
    // Where no store is asked for anything, not behind a step of apply.
    let lane = coming == nil ? lanes.files : keeper
    lane.submit { [self] in
      var failure: String?
      do {
        try coming?.makeZeros()
        try stateKeeper.update { $0.note(change, mark, coming?.store.byteCount, backing) }
      } catch let error as Errno {
        failure = "writing the state file: \(error.withAdvice)"
      } catch { failure = "\(error)" }
      let problem = failure
      loop.post { [self] in prepared(change, coming, problem, receiver) }
    }
  }

  private func requirePlace(
    _ change: DiskChange, _ state: JournalState
  ) throws(LinkError) {
    let backing = diskTable.withLock { $0 }.waiting.first { $0.name == change.name }?.backing
    var after = state
    do throws(SiteError) {
      try GroupOpening.note(comingDisk: change.name, backing ?? "", in: &after)
    } catch { throw .unacceptable("\(error)") }
  }

  /// Records before the end of a full copy tell of disks that had left when it began: no instant
  /// here has them. The peer reads its last record before it reads which disks it has.
  private func hadLeft(
    _ number: DiskNumber, at sequence: SequenceNumber, _ receiver: any IncomingLink,
    _ state: JournalState
  ) -> Bool {
    state.needsBaseline && sequence <= receiver.peerLast
      && receiver.peerDisks[number] == nil
  }

  private func prepared(
    _ change: DiskChange, _ disk: GroupDisk?, _ problem: String?, _ receiver: any IncomingLink
  ) {
    lifecycle.ended(.diskNote)
    defer { goOn() }
    let name = configuration.name
    if let problem {
      if disk != nil { diskTable.withLock { $0.entered(isNoted: false) } }
      log("group \(name): taking disk \(change.name): \(problem)")
      if receiving.receiver === receiver { closeReceiver() }
      return
    }
    let names = configuredNames
    switch change.event {
    case .added:
      if let disk {
        diskTable.withLock {
          $0.entered(isNoted: true)
          $0.place(disk)
          $0.list(disk, in: names)
        }
        analyzer?.add(disk.analyzed)
        log("group \(name): disk \(disk.name) has come to it, number \(disk.number.rawValue)")
      }
      do throws(JournalError) { try journal?.grow(toDisks: change.number.index + 1) } catch {
        return fail("\(error)")
      }
    case .whole: log("group \(name): disk \(change.name) is whole")
    case .removed:
      diskTable.withLock { $0.unlist(change.number) }
      log("group \(name): disk \(change.name) has left it; earlier instants still show it")
    }
    guard receiving.receiver === receiver else { return }
    journal?.admitNextChange()
    receiver.diskReady()
  }

  /// What was noted of markers for a connection that ended before their records were taken is void:
  /// their owner may have lost them, or they come again. Nobody sends meanwhile.
  func voidMarkers(
    behind last: SequenceNumber, for receiver: any IncomingLink,
    done: @escaping @Sendable () -> Void
  ) {
    guard let stateKeeper else { return }
    guard lifecycle.begin(.diskNote) else {
      receiver.refuse("disks of the group are about to change: try again")
      return closeReceiver()
    }
    let before = stateKeeper.state.disks
    keeper.submit { [self] in
      var failure: Errno?
      do throws(Errno) { try stateKeeper.update { $0.cutDisks(after: last) } } catch {
        failure = error
      }
      let problem = failure
      loop.post { [self] in
        lifecycle.ended(.diskNote)
        defer { goOn() }
        if let problem {
          log("group \(configuration.name): writing the state file: \(problem.withAdvice)")
          if receiving.receiver === receiver { closeReceiver() }
          return
        }
        let names = configuredNames
        diskTable.withLock { $0.void(before, to: stateKeeper.state.disks, in: names) }
        analyzer?.replace(with: disks.map(\.analyzed))
        if receiving.receiver === receiver { done() }
      }
    }
  }

  /// Why the disk cannot be taken here; nil when it can.
  func missing(_ change: DiskChange) -> String? {
    let table = diskTable.withLock { $0 }
    guard let disk = table.waiting.first(where: { $0.name == change.name }) else {
      let isHeld = table.numbered.contains { $0?.name == change.name }
      return "disk \(change.name) of \(ByteCount.format(change.byteCount)) was added to group "
        + "\(configuration.name) at \(receiving.peerSite ?? "its owner"): "
        + (isHeld
          ? "at \(siteName) the file of the disk of that name that has left is still needed; give "
            + "the new one another file there and reload that site"
          : "add disk \(change.name) to group \(configuration.name) at \(siteName) and reload that "
            + "site")
    }
    guard disk.store.byteCount < change.byteCount else { return nil }
    return "disk \(change.name) needs \(ByteCount.format(change.byteCount)), and has "
      + "\(ByteCount.format(disk.store.byteCount)) at \(siteName): make it larger at \(siteName) "
      + "and reload that site"
  }
}

extension GroupDisk {
  fileprivate func makeZeros() throws {
    #if MUTANTS
      if Mutant.keepComingDisk.isOn { return }
    #endif
    try store.clear(ByteRange(start: 0, length: store.byteCount))
    try store.sync()
  }
}

extension JournalState {
  /// - Parameter byteCount: of the disk here, if it comes now.
  fileprivate mutating func note(
    _ change: DiskChange, _ mark: Mark, _ byteCount: UInt64?, _ backing: String
  ) {
    nextDisk = max(nextDisk, change.number.rawValue + 1)
    if change.event == .added, disks[change.number] == nil, let byteCount {
      var disk = Disk(
        number: change.number, name: change.name, byteCount: byteCount, added: mark, whole: nil)
      disk.backing = backing
      disks.append(disk)
      disks.sort { $0.number.rawValue < $1.number.rawValue }
    }
    self.change(change.number) { disk in
      switch change.event {
      case .added: break
      case .whole: disk.whole = disk.whole ?? mark
      case .removed: disk.removed = disk.removed ?? mark
      }
    }
  }
}
