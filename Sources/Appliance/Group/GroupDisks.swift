import Analyzer
import BlockModel
import Configuration
import Journal
import Replication
import Storage
import SystemIO

/// A disk of a group with its backing store.
struct GroupDisk: Sendable {
  let name: String
  let number: DiskNumber
  let store: DiskStore
  /// Where its bytes lie, as the configuration says it.
  let backing: String
  /// What must wait for the store. So many requests at a time are its quota.
  let workers: WorkerPool

  private static let requestsOfStore = 4

  init(_ disk: WaitingDisk, number: DiskNumber, group: String) {
    name = disk.name
    self.number = number
    store = disk.store
    backing = disk.backing
    workers = WorkerPool(
      name: "disk\(number.rawValue)-\(group)", threadLimit: Self.requestsOfStore)
  }

  fileprivate init(_ disk: GroupDisk, number: DiskNumber) {
    name = disk.name
    self.number = number
    store = disk.store
    backing = disk.backing
    workers = disk.workers
  }

  /// As a peer is told of it.
  var noted: JournalState.Disk {
    JournalState.Disk(number: number, name: name, byteCount: store.byteCount)
  }

  /// As the links have it.
  var sent: SentDisks<DiskStore>.Disk {
    .init(number: number, name: name, store: store)
  }

  /// As the analyzer is told of it.
  var analyzed: GroupAnalyzer.Disk {
    .init(number: number, name: name, sizeBytes: store.byteCount)
  }

  var unnumbered: WaitingDisk { WaitingDisk(name: name, store: store, backing: backing) }

  /// Nothing uses it any more. Blocks.
  func close() {
    workers.finish()
    store.disconnect()
    store.lockedFile?.unlock()
  }
}

/// A disk of the configuration that the group's records do not name yet.
struct WaitingDisk: Sendable {
  let name: String
  let store: DiskStore
  /// As the configuration says it.
  let backing: String

  /// It does not come. Blocks.
  func close() {
    store.disconnect()
    store.lockedFile?.unlock()
  }
}

/// The disks of a group at this site. A value: who has taken it sees the disks of that moment.
struct DiskTable: Sendable {
  /// Those that are exported as they are, or would be, in the order of the configuration.
  private(set) var listed: [GroupDisk]
  /// By number: the listed ones, those about to be, and those that left and are still needed.
  private(set) var numbered: [GroupDisk?]
  /// At a following group: known here, and not to the group yet.
  private(set) var waiting: [WaitingDisk]
  /// The one of those whose marker is being noted, which may take long: it is made zeros.
  private(set) var entering: WaitingDisk?

  init(_ listed: [GroupDisk], unlisted: [GroupDisk] = [], waiting: [WaitingDisk] = []) {
    self.listed = listed
    self.waiting = waiting
    numbered = []
    for disk in listed + unlisted { place(disk) }
  }

  subscript(number: DiskNumber) -> GroupDisk? {
    number.index < numbered.count ? numbered[number.index] : nil
  }

  /// The listed one of that name, else the newest.
  subscript(named name: String) -> GroupDisk? {
    listed.first { $0.name == name } ?? numbered.last { $0?.name == name } ?? nil
  }

  mutating func place(_ disk: GroupDisk) {
    while numbered.count <= disk.number.index { numbered.append(nil) }
    precondition(numbered[disk.number.index] == nil, "two disks have number \(disk.number)")
    numbered[disk.number.index] = disk
  }

  /// - Parameter names: the order of the configuration.
  mutating func list(_ disk: GroupDisk, in names: [String]) {
    listed.append(disk)
    arrange(as: names)
  }

  mutating func unlist(_ number: DiskNumber) { listed.removeAll { $0.number == number } }

  /// Nobody needs it any more.
  mutating func drop(_ number: DiskNumber) {
    unlist(number)
    numbered[number.index] = nil
  }

  mutating func wait(for disk: WaitingDisk) { waiting.append(disk) }

  /// All that are open under a name of the configuration, in use or not.
  var names: [String] {
    listed.map(\.name) + waiting.map(\.name) + [entering?.name].compactMap { $0 }
  }

  /// It waits no more: `entered` follows.
  mutating func enter(_ name: String) -> WaitingDisk? {
    entering = takeWaiting(named: name)
    return entering
  }

  /// - Parameter isNoted: false: it waits again.
  mutating func entered(isNoted: Bool) {
    if let disk = entering, !isNoted { wait(for: disk) }
    entering = nil
  }

  mutating func takeWaiting(named name: String) -> WaitingDisk? {
    guard let place = waiting.firstIndex(where: { $0.name == name }) else { return nil }
    return waiting.remove(at: place)
  }

  /// The configuration means another disk by the name than the one that may still be here.
  func awaits(_ name: String) -> Bool { waiting.contains { $0.name == name } }

  mutating func endWait(for name: String) { waiting.removeAll { $0.name == name } }

  /// What `names` does not have stays at the end.
  mutating func arrange(as names: [String]) {
    let places = listed.enumerated().map { place, disk in
      (names.firstIndex(of: disk.name) ?? names.count + place, disk)
    }
    listed = places.sorted { $0.0 < $1.0 }.map(\.1)
  }

  /// After the state file's disks have changed.
  ///
  /// - Parameter names: those of the configuration, in its order.
  mutating func follow(_ disks: [JournalState.Disk], in names: [String]) {
    for disk in numbered.compactMap({ $0 }) where disks[disk.number] == nil {
      drop(disk.number)
      if names.contains(disk.name), !awaits(disk.name) { wait(for: disk.unnumbered) }
    }
    listed = numbered.compactMap { $0 }.filter { disk in
      disks[disk.number].map { $0.removed == nil && $0.added != nil } ?? false
        && names.contains(disk.name) && !awaits(disk.name)
    }
    arrange(as: names)
  }

  /// What markers had said of these disks is void: those that `noted` lacks wait again, and those
  /// that had left are listed.
  ///
  /// - Parameter names: those of the configuration, in its order.
  mutating func void(
    _ disks: [JournalState.Disk], to noted: [JournalState.Disk], in names: [String]
  ) {
    for before in disks {
      guard let disk = self[before.number] else { continue }
      let isWanted = names.contains(disk.name) && !awaits(disk.name)
      if let after = noted[before.number] {
        if before.removed != nil, after.removed == nil, isWanted { list(disk, in: names) }
      } else {
        drop(disk.number)
        if isWanted { wait(for: disk.unnumbered) }
      }
    }
  }

  /// A full copy begins: the disks are those of the peer, with the numbers that its records have.
  /// What it does not have waits.
  mutating func become(_ peer: [JournalState.Disk], group: String) {
    #if MUTANTS
      if Mutant.numberByPlace.isOn { return }
    #endif
    let names = listed.map(\.name) + waiting.map(\.name)
    var next = DiskTable([])
    for disk in listed {
      if let number = peer[named: disk.name]?.number {
        next.place(GroupDisk(disk, number: number))
      } else {
        next.wait(for: disk.unnumbered)
      }
    }
    for disk in waiting {
      if let number = peer[named: disk.name]?.number {
        next.place(GroupDisk(disk, number: number, group: group))
      } else {
        next.wait(for: disk)
      }
    }
    next.listed = next.numbered.compactMap { $0 }
    next.arrange(as: names)
    self = next
  }
}

extension Group {
  /// Those that are exported, in the order of the configuration. Any thread.
  var disks: [GroupDisk] { diskTable.withLock { $0.listed } }

  /// Those of the group's newest record that have a store here. Any thread.
  var presentDisks: [GroupDisk] {
    let left = Set((stateKeeper?.state.disks ?? []).filter { $0.removed != nil }.map(\.number))
    return numberedDisks.filter { !left.contains($0.number) }
  }

  /// With a store here, also those that left and are still needed. Any thread.
  var numberedDisks: [GroupDisk] { diskTable.withLock { $0.numbered.compactMap { $0 } } }

  /// By number; nil: not at this site. Any thread.
  var stores: [DiskStore?] { diskTable.withLock { $0.numbered.map { $0?.store } } }

  /// - Precondition: there is such a disk here. Any thread.
  func disk(_ number: DiskNumber) -> GroupDisk {
    guard let disk = diskTable.withLock({ $0[number] }) else {
      preconditionFailure("no disk \(number.rawValue) here")
    }
    return disk
  }

  func isListed(_ number: DiskNumber) -> Bool { disks.contains { $0.number == number } }

  /// Files that others must keep away from. Any thread.
  var lockedFiles: [File] {
    let (numbered, waiting) = diskTable.withLock { ($0.numbered, $0.waiting) }
    return [lock].compactMap { $0 } + numbered.compactMap { $0?.store.lockedFile }
      + waiting.compactMap(\.store.lockedFile)
  }

  /// A running site has read its configuration again. Any thread.
  func takeOver(_ configured: [DiskConfiguration]) {
    accessRules.change(to: configured)
    diskTable.withLock { $0.arrange(as: configured.map(\.name)) }
  }

  var configuredNames: [String] { accessRules.present.map(\.name) }

  /// The disks that are shown at the instant. On the loop.
  func disks(at instant: Timestamp) -> [GroupDisk] {
    let table = diskTable.withLock { $0 }
    return (stateKeeper?.state.disks ?? []).filter { $0.isShown(at: instant) }
      .compactMap { table[$0.number] }
  }

  func disks(of view: SiteView) -> [GroupDisk] {
    disks(at: view.instant).filter { view.has($0.number) }
  }

  /// By number; nil: the instant does not show the disk.
  func stores(at instant: Timestamp) -> [DiskStore?] {
    let shown = disks(at: instant)
    var stores = [DiskStore?](
      repeating: nil, count: (shown.map(\.number.index).max() ?? -1) + 1)
    for disk in shown { stores[disk.number.index] = disk.store }
    return stores
  }

  /// Runs what was submitted and takes nothing more. Blocks until all of it has ended.
  func finishJobs() {
    lanes.finish()
    for disk in numberedDisks { disk.workers.finish() }
  }

  /// Of disks that left: those of which no instant is left, and at which nobody looks, are closed.
  /// On the loop.
  func closeGoneDisks() {
    guard views.isEmpty, let state = stateKeeper?.state else { return }
    let gone = numberedDisks.filter { disk in
      state.disks[disk.number] == nil && !isListed(disk.number)
    }
    for disk in gone {
      diskTable.withLock { $0.drop(disk.number) }
      log(
        "group \(configuration.name): no instant of disk \(disk.name) is left: "
          + "\(disk.store.description) is not needed any more")
      // Behind the step of apply that may use it.
      keeper.submit { disk.close() }
    }
  }
}
