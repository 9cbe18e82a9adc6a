import BlockModel
import Configuration
import Journal
import Storage
import SystemIO

/// A disk of a group with its backing store.
struct GroupDisk: Sendable {
  let name: String
  let number: DiskNumber
  let store: DiskStore
  /// What must wait for the store. So many requests at a time are its quota.
  let workers: WorkerPool

  private static let requestsOfStore = 4

  init(name: String, number: DiskNumber, store: DiskStore, group: String) {
    self.name = name
    self.number = number
    self.store = store
    workers = WorkerPool(
      name: "disk\(number.rawValue)-\(group)", threadLimit: Self.requestsOfStore)
  }

  fileprivate init(_ disk: GroupDisk, number: DiskNumber) {
    name = disk.name
    self.number = number
    store = disk.store
    workers = disk.workers
  }

  /// As the state file has it.
  var noted: JournalState.Disk {
    JournalState.Disk(number: number, name: name, byteCount: store.byteCount)
  }
}

/// The disks of a group at this site. A value: who has taken it sees the disks of that moment.
struct DiskTable: Sendable {
  /// In the order of the configuration.
  private(set) var listed: [GroupDisk]
  /// In the order of their numbers, which are those of the array.
  private(set) var numbered: [GroupDisk]

  init(_ listed: [GroupDisk]) {
    self.listed = listed
    numbered = listed.sorted { $0.number.rawValue < $1.number.rawValue }
    let areDense = numbered.enumerated().allSatisfy { $0.offset == $0.element.number.index }
    precondition(areDense, "the disks of a group have the numbers from 0 on")
  }

  subscript(number: DiskNumber) -> GroupDisk { numbered[number.index] }

  subscript(named name: String) -> GroupDisk? { listed.first { $0.name == name } }

  /// - Parameter names: all of them, in another order.
  mutating func arrange(as names: [String]) {
    let arranged = names.compactMap { self[named: $0] }
    if arranged.count == listed.count { listed = arranged }
  }

  /// With the numbers that the peer's records have. Each of its disks is here, and no other.
  mutating func renumber(as peer: [JournalState.Disk]) {
    #if MUTANTS
      if Mutant.numberByPlace.isOn { return }
    #endif
    self = DiskTable(
      listed.map { disk in
        guard let number = peer[named: disk.name]?.number else { return disk }
        return GroupDisk(disk, number: number)
      })
  }
}

extension Group {
  /// In the order of the configuration. Any thread.
  var disks: [GroupDisk] { diskTable.withLock { $0.listed } }

  /// In the order of their numbers. Any thread.
  var numberedDisks: [GroupDisk] { diskTable.withLock { $0.numbered } }

  /// Any thread.
  func disk(_ number: DiskNumber) -> GroupDisk { diskTable.withLock { $0[number] } }

  /// A running site has read its configuration again. Any thread.
  func takeOver(_ configured: [DiskConfiguration]) {
    accessRules.withLock { $0 = configured }
    diskTable.withLock { $0.arrange(as: configured.map(\.name)) }
  }

  /// Runs what was submitted and takes nothing more. Blocks until all of it has ended.
  func finishJobs() {
    lanes.finish()
    for disk in numberedDisks { disk.workers.finish() }
  }
}
