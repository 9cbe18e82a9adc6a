import Configuration
import Journal
import Storage
import SystemIO

/// What the configuration gives a disk of the group, beside what the disk has. The name alone does
/// not tell which disk is meant: a name that is added again is another disk.
extension GroupOpening {
  /// Whether both are one store. A file may have several names; of servers only the text is known.
  static func isSame(_ backing: BackingAddress, as noted: String) -> Bool {
    if noted.isEmpty || backing.description == noted { return true }
    guard case .file(let path) = backing,
      case .file(let other)? = try? BackingAddress(parsing: noted)
    else { return false }
    return File.isSame(path, as: other)
  }

  /// The state file's disk that the configured one goes on as; nil: it is another one. Blocks.
  ///
  /// Where what the disk had is gone, it was moved. Else only its owner's marker tells a new disk
  /// from the old one: so at a follower the old one goes on, and a follower that becomes the owner
  /// has to be told which of them is meant. But a site that is a copy of another takes what its
  /// configuration says: the disks of the original are not for it. So does an owner.
  static func presentDisk(
    of disk: DiskConfiguration, in state: JournalState?, _ configuration: GroupConfiguration,
    _ origin: ConfigurationOrigin?, _ folder: String, log: (String) -> Void
  ) throws(SiteError) -> JournalState.Disk? {
    guard let state else { return nil }
    let noted = state.disk(named: disk.name)
    guard let noted, noted.added != nil, !isSame(disk.backing, as: noted.backing) else {
      return noted
    }
    let (old, new) = (noted.backing, disk.backing.description)
    guard isThere(old) else {
      log("group \(configuration.name): disk \(disk.name) is \(new) now: \(old) is gone")
      return noted
    }
    if !isCopied(configuration, state, folder) {
      if configuration.role == .recovery { return nil }
      if state.ownership.duty == .following {
        throw SiteError(
          (origin?.place(ofDisk: disk.name) ?? "") + wasAnother(disk, old, configuration))
      }
    }
    log(
      "group \(configuration.name): disk \(disk.name) is \(new) now, though \(old) is still there; "
        + "if \(new) is to be another disk, remove \(disk.name) first, and then add it")
    return noted
  }

  private static func wasAnother(
    _ disk: DiskConfiguration, _ old: String, _ configuration: GroupConfiguration
  ) -> String {
    let new = disk.backing.description
    return "group \(configuration.name): disk \(disk.name) was \(old) as long as this site "
      + "followed, and \(new) was to be another disk: write \(old); once the group is served, "
      + "remove the disk and then add it with \(new)"
  }

  /// The folder is a copy of one that was served elsewhere, and no disk has what it had there.
  private static func isCopied(
    _ configuration: GroupConfiguration, _ state: JournalState, _ folder: String
  ) -> Bool {
    if state.folder == folder || File.isSame(state.folder, as: folder) { return false }
    return !configuration.disks.contains { disk in
      state.disk(named: disk.name).map { isSame(disk.backing, as: $0.backing) } ?? false
    }
  }

  private static func isThere(_ backing: String) -> Bool {
    switch try? BackingAddress(parsing: backing) {
    case .file(let path)?: return Directory.exists(path)
    case .nbd(let uri)?:
      guard let store = try? DiskStore.open(.nbd(uri: uri), expectedSize: nil) else { return false }
      store.disconnect()
      return true
    case nil: return false
    }
  }

  /// Of a following group: the disk goes on on `old`, though the configuration says otherwise.
  static func goesOn(
    _ disk: String, on old: String, beside new: BackingAddress?,
    _ configuration: GroupConfiguration
  ) -> String {
    let text =
      "group \(configuration.name): disk \(disk) is still in the group at its owner, and goes on "
      + "here on \(old)"
    guard let new else { return text + ": remove it there first" }
    return text + "; \(new) waits until that disk has left and a disk \(disk) is added there"
  }
}
