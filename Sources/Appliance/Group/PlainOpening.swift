import BlockModel
import Configuration
import Journal
import SystemIO

/// A group of role `plain` whose data folder holds a journal, from when it had another role.
///
/// The disks alone are right only when the journal holds nothing that they lack. Once they are
/// served without it, the journal, its history and the peer's copy are those of other disks: so the
/// folder is marked, and the group does not go on in it.
extension GroupOpening {
  static func plainMark(_ folder: String) -> String { "\(folder)/served-plain" }

  /// Refuses disks that are not current without their journal, and marks the journal of those that
  /// are; the mark is durable when this returns. Blocks.
  static func leaveJournal(
    _ configuration: GroupConfiguration, _ folder: String
  ) throws(SiteError) {
    // Of a process that hands over, too: its mark stands for what it found.
    guard Directory.exists(folder), !Directory.exists(plainMark(folder)) else { return }
    let storage = FolderStorage(existing: folder)
    do {
      // Nobody else uses it now; later the mark keeps others out.
      let held = try lock(folder, InheritedFiles())
      defer { withExtendedLifetime(held) {} }
      guard try holdsAppliedJournal(storage) else { return }
      _ = try File(creating: plainMark(folder))
      try Directory.sync(folder)
    } catch let error as Errno {
      throw SiteError("group \(configuration.name): folder \(folder): \(error.withAdvice)")
    } catch {
      throw SiteError(
        "group \(configuration.name) has role plain here, and its folder holds a journal: \(error)")
    }
  }

  /// False when there is no journal, or one that never had a record or a copy of the disks. Throws
  /// when the disks lack something of it, or that cannot be told.
  private static func holdsAppliedJournal(_ storage: FolderStorage) throws -> Bool {
    let path = "\(storage.path)/\(JournalStateFile<File>.name)"
    var known: JournalState?
    if Directory.exists(path) {
      known = try readState(JournalStateFile(File(opening: path, .readOnly)), storage.path)?.0
    }
    guard let state = known else {
      try requireUnused(storage, "\(path) is missing or was never written")
      return false
    }
    if state.baseline == .missing { return false }
    if state.baseline == .reconciling {
      throw SiteError(
        "the disks are not yet in step with those of the group's owner, and are neither old nor "
          + "new: start the group as recovery until they are, or move \(storage.path) away to use "
          + "the disks as they are")
    }
    if state.baseline == .copying {
      throw SiteError(
        "a full copy from the protected site was not finished, and the disks are neither old nor "
          + "new: start the group as recovery until the copy is complete, or move \(storage.path) "
          + "away to use the disks as they are")
    }
    let last = try JournalRecovery(storage, state: state).lastSequence
    guard last > state.applied.sequence else { return true }
    let count = last.distance(from: state.applied.sequence)
    throw SiteError(
      "records in \(storage.path) are not on the disks yet (\(count)), which alone are older: "
        + "start the group with the role that it had and stop it when `tapline status` says that "
        + "all is applied (the stop of a protected group applies all), get the disks out with "
        + "`tapline journal export`, or move the folder away to give the records up")
  }

  /// Refuses a journal whose disks were served without it.
  static func requireNotLeft(_ name: String, _ folder: String) throws(SiteError) {
    guard Directory.exists(plainMark(folder)) else { return }
    throw SiteError(
      "group \(name): its disks were served with role plain, so the journal in \(folder) and the "
        + "copy at the peer are of other disks than these: move the folder away, here and at the "
        + "peer, and the group begins anew with a full copy")
  }
}
