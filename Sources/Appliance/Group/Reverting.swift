import BlockModel
import Configuration
import Journal
import Storage
import SystemIO
import Volume

/// A site whose disks are being brought in step goes back to what it had before, which is whole:
/// the owner is lost, and what has come of the disks so far is of no instant.
///
/// ```
///  `state-before-fork` written   nothing has changed: it says what the group will be
///  state: reverting              the next opening goes on from here
///  the disks are put back        from what apply has saved for the branch
///  the journal is erased
///  the tail comes back           `Restoring`; the branch is gone
///  state: that of before         a whole follower, as then
/// ```
///
/// Until the branch's file is renamed, which is the first step of the way back, the disks are put
/// back and the journal is erased again by whoever goes on after a crash; from then on what the
/// journal holds has come back.
extension OwnershipExchange {
  /// After this the group is what it was before its disks were brought in step. Throws with all as
  /// it was, or where it is to go on with the next opening.
  mutating func revert(now: Timestamp) throws(SiteError) {
    let former = try formerContent()
    // A disk that is not there is found out before anything has changed.
    for store in try stores(for: former) { store?.disconnect() }
    try keep(former.state)
    var generator = SystemEntropy()
    let last = former.parked.applied
    let fork = Fork(
      at: .init(last: last, tail: nil, end: last, byteCount: 0), instant: last.timestamp,
      began: now, parked: former.branch.name, epoch: state.epoch,
      identity: .random(using: &generator))
    try note { $0.reverts(at: fork) }
    do throws(SiteError) { try finishReverting() } catch {
      throw SiteError("\(error); it goes on when the group is opened again")
    }
  }

  /// After `reverts`.
  mutating func finishReverting() throws(SiteError) {
    guard let fork = state.fork else { return }
    if ParkedTail.isWhole(fork.parked, in: folder) {
      try putBack(try formerContent())
      #if MUTANTS
        if Mutant.keepForeignRecords.isOn { return try comeBack(fork) }
      #endif
      do throws(JournalError) {
        _ = try JournalRecovery(erasing: FolderStorage(existing: folder), state: state)
      } catch { throw Self.error(configuration.name, "erasing its journal", error) }
    }
    try comeBack(fork)
  }

  private mutating func comeBack(_ fork: Fork) throws(SiteError) {
    let before = try formerState()
    var said: [String] = []
    defer { notes += said }
    try ParkedTail.restore(
      after: fork.after, of: state, in: folder, from: fork.parked, log: { said.append($0) })
    try note { $0.hasReverted(to: before) }
    forgetFormerState()
    said.append("this site has gone back to what it had before its disks were brought in step")
  }

  private func formerContent() throws(SiteError) -> FormerContent {
    let record = try GroupOpening.findRecords(folder) { _ in }.first {
      $0.name == state.lack.before
    }
    let branch = try record.map { (record) throws(SiteError) in
      try Branch(record, folder: Branch.folder(record.name, ofGroupIn: folder))
    }
    return try FormerContent(of: state, in: branch)
  }

  /// What apply has written over while the disks were brought in step.
  private func putBack(_ former: FormerContent) throws(SiteError) {
    #if MUTANTS
      if Mutant.keepForeignBase.isOn { return }
    #endif
    let stores = try stores(for: former)
    defer { for store in stores { store?.disconnect() } }
    do throws(VolumeError) { try former.branch.saved.putBack(to: stores) } catch {
      throw Self.error(configuration.name, "putting its disks back", error)
    }
  }

  /// Of the disks of which something was saved, by number.
  private func stores(for former: FormerContent) throws(SiteError) -> [DiskStore?] {
    let disks = former.branch.record.disks
    var stores = [DiskStore?](
      repeating: nil, count: (disks.map(\.number.index).max() ?? -1) + 1)
    for disk in disks where former.branch.saved.holdsAny(of: disk.number, disk.byteCount) {
      guard let backing = state.disks[disk.number]?.backing else { continue }
      do {
        let (address, _) = GroupOpening.place(
          of: try BackingAddress(parsing: backing), InheritedFiles())
        stores[disk.number.index] = try DiskStore.open(address, expectedSize: nil)
      } catch { throw Self.error(configuration.name, "opening disk \(disk.name)", error) }
    }
    return stores
  }
}
