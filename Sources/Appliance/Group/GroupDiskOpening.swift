import BlockModel
import Configuration
import Journal
import Storage
import SystemIO

/// Opens the disks of a group. Which disk of the configuration is which of the state file, its name
/// and its backing store say. What only the configuration has comes to the group, what only the
/// state file has leaves, once the group serves; so a restart does the same as `tapline reload`.
extension GroupOpening {
  /// - Parameters:
  ///   - state: nil: nothing was written yet, or there is no journal.
  ///   - folder: the group's.
  static func openDisks(
    _ configuration: GroupConfiguration, _ origin: ConfigurationOrigin?, _ state: JournalState?,
    in folder: String, _ files: InheritedFiles, log: (String) -> Void
  ) throws(SiteError) -> DiskTable {
    var table = DiskTable([])
    let names = configuration.disks.map(\.name)
    for (place, disk) in configuration.disks.enumerated() {
      let noted = try presentDisk(of: disk, in: state, configuration, origin, folder, log: log)
      if let state, noted == nil {
        switch try standing(of: disk, in: state, configuration, origin) {
        case .new: break
        case .needed(let text):
          log("group \(configuration.name): \(text)")
          continue
        }
      }
      let opened = WaitingDisk(
        name: disk.name, store: try openStore(disk, of: configuration, origin, noted, files),
        backing: disk.backing.description)
      let number = state == nil ? DiskNumber(UInt16(place)) : noted?.number
      if let number, noted?.added != nil || state == nil {
        let member = GroupDisk(opened, number: number, group: configuration.name)
        table.place(member)
        table.list(member, in: names)
      } else {
        table.wait(for: opened)
      }
    }
    guard let state, configuration.role == .protected || !state.needsBaseline else {
      return table
    }
    for noted in state.disks where table[noted.number] == nil && noted.added != nil {
      try openLeft(noted, of: configuration, files, into: &table, log: log)
    }
    return table
  }

  enum Standing {
    case new
    /// It is one of the group's that has left, and of which instants are left.
    case needed(String)
  }

  /// What a disk that the group does not have yet is to it.
  static func standing(
    of disk: DiskConfiguration, in state: JournalState, _ configuration: GroupConfiguration,
    _ origin: ConfigurationOrigin?
  ) throws(SiteError) -> Standing {
    let backing = disk.backing.description
    guard let other = state.disks.last(where: { $0.backing == backing }) else { return .new }
    let line = origin?.place(ofDisk: disk.name) ?? ""
    guard other.removed == nil else {
      return .needed(
        "disk \(disk.name) is not added yet: instants of disk \(other.name), which has left, still "
          + "need \(backing); reload when `tapline status` does not list it any more, or use "
          + "another file")
    }
    throw SiteError(
      "\(line)group \(configuration.name): disk \(disk.name) has the backing of disk "
        + "\(other.name): a disk keeps its name as long as it is in the group. Write "
        + "'name: \(other.name)', or remove that disk first")
  }

  static func openStore(
    _ disk: DiskConfiguration, of configuration: GroupConfiguration,
    _ origin: ConfigurationOrigin?, _ noted: JournalState.Disk? = nil,
    _ files: InheritedFiles = InheritedFiles()
  ) throws(SiteError) -> DiskStore {
    let line = origin?.place(ofDisk: disk.name) ?? ""
    if let message = shrinking(disk, of: configuration, from: noted?.byteCount) {
      throw SiteError(line + message)
    }
    let (address, opened) = place(of: disk.backing, files)
    do throws(StorageError) {
      return try DiskStore.open(
        address, expectedSize: disk.sizeBytes, growsFrom: noted?.byteCount, opened: opened)
    } catch {
      var isPassing = false
      if case .disconnected = error { isPassing = true }
      throw SiteError(
        "\(line)group \(configuration.name), disk \(disk.name): \(error)", isPassing: isPassing)
    }
  }

  static func place(
    of backing: BackingAddress, _ files: InheritedFiles
  ) -> (DiskStore.Address, File?) {
    switch backing {
    case .file(let path): (.path(path), files.file(at: path))
    case .nbd(let uri): (.nbd(uri: uri), nil)
    }
  }

  /// A disk that the configuration does not name, or whose name it gives to another one: its
  /// records still need its store.
  private static func openLeft(
    _ noted: JournalState.Disk, of configuration: GroupConfiguration, _ files: InheritedFiles,
    into table: inout DiskTable, log: (String) -> Void
  ) throws(SiteError) {
    let problem: String
    let new = configuration.disks.first { $0.name == noted.name }?.backing
    do {
      let (address, opened) = place(of: try BackingAddress(parsing: noted.backing), files)
      let store = try DiskStore.open(address, expectedSize: nil, opened: opened)
      if store.byteCount >= noted.byteCount {
        let left = WaitingDisk(name: noted.name, store: store, backing: noted.backing)
        table.place(GroupDisk(left, number: noted.number, group: configuration.name))
        if noted.removed == nil, configuration.role == .recovery {
          log(goesOn(noted.name, on: noted.backing, beside: new, configuration))
        }
        return
      }
      problem = "it has become smaller"
    } catch { problem = "\(error)" }
    let what =
      noted.removed != nil || new == nil
      ? "is not in the configuration any more" : "has another backing store there now"
    throw SiteError(
      "group \(configuration.name): disk \(noted.name) \(what), but the history still needs "
        + "\(noted.backing): \(problem). Put it back; if it is gone for good, put a file of "
        + "\(noted.byteCount) zero bytes there, and earlier instants of that disk lack what it "
        + "held")
  }

  /// What the configuration and the state file do not agree on, at an owner.
  static func firstChanges(
    _ configuration: GroupConfiguration, _ state: JournalState, _ table: DiskTable
  ) -> [DiskChanges.Wish] {
    guard state.ownership.duty == .owning else { return [] }
    let names = configuration.disks.map(\.name)
    let leaving = state.disks.filter { $0.removed == nil && !names.contains($0.name) }
    return leaving.map { .init(event: .removed, name: $0.name, number: $0.number) }
      + table.waiting.map { .init(event: .added, name: $0.name, disk: $0) }
  }

  /// Whether the state file has a number and the place for a disk that is to come. Whoever asks
  /// about several, about all that wait, too, takes the same state for each.
  static func note(
    comingDisk name: String, _ backing: String, in state: inout JournalState
  ) throws(SiteError) {
    if let place = state.disks.firstIndex(where: { $0.name == name && $0.removed == nil }) {
      // It has a number. Until its marker is there, it may have another path after a restart.
      guard state.disks[place].added == nil else { return }
      state.disks[place].backing = backing
    } else {
      var disk = JournalState.Disk(
        number: DiskNumber(state.nextDisk), name: name, byteCount: 1, added: nil, whole: nil)
      disk.backing = backing
      state.disks.append(disk)
      // A follower's disks have the numbers that their owner gives them.
      if state.ownership.duty == .owning { state.nextDisk += 1 }
    }
    guard state.nextDisk <= JournalState.diskNumberLimit, JournalStateFile<File>.fits(state) else {
      throw SiteError(
        "group \(state.groupName): it has had too many disks, or their paths are too long: use a "
          + "new group for disk \(name)")
    }
  }

  /// The state file's disks, as they are found.
  static func note(
    _ table: DiskTable, in state: inout JournalState
  ) throws(SiteError) {
    if state.ownership.duty == .following, state.needsBaseline {
      let isWithout = { (disk: JournalState.Disk) in table[disk.number] == nil }
      // What was copied went to a store that is not the disk's any more.
      if state.disks.contains(where: isWithout) { state.copy = .none }
      state.disks.removeAll(where: isWithout)
    }
    for disk in table.numbered.compactMap({ $0 }) {
      if state.disks[disk.number] == nil { state.disks.append(disk.noted) }
      state.change(disk.number) {
        $0.byteCount = disk.store.byteCount
        $0.backing = disk.backing
      }
    }
    state.disks.sort { $0.number.rawValue < $1.number.rawValue }
    state.nextDisk = max(state.nextDisk, UInt16(state.disks.numberCount))
    guard JournalStateFile<File>.fits(state) else {
      throw SiteError(
        "group \(state.groupName): the paths of its disks are too long for its state file: use "
          + "shorter ones, or several groups")
    }
  }
}
