import BlockModel
import Journal
import SystemIO

/// The exchange of the end of a group's order with a branch of it, on a folder that is closed and
/// locked. The segment files themselves move; of the one in which the last record to keep lies,
/// what follows is copied, which is all that takes space or a time that anybody notices.
///
/// **No record is lost, or in both.** Each step is durable before the next one begins:
///
/// | parking | a crash after it |
/// |---|---|
/// | `parking` names the branch | nothing in its folder is taken for rubbish from here on |
/// | copy of the divided segment, `state`, `saved` | nothing of the group has changed |
/// | the later segments are renamed into the folder | each is in one of the two |
/// | what was copied is void in the group's segment | it was in both, and neither was opened |
/// | `parking` becomes `branch` | it is done |
///
/// Each step looks for what is left to do, so all of them may be made again. Going back is the same
/// from the end: `branch` becomes `restoring`, the files move, the copy takes the place of the
/// segment that was divided, the folder goes, the state file is told. Until an exchange has come to
/// its end the group is not opened: its state file says that one is under way.
enum ParkedTail {
  /// Moves all records after `last` of the group in `folder` into its branch `record.name`, which
  /// may come out without any: then it shows one instant. Durable when it returns; after a crash it
  /// is called again. Throws when there is no room for it, with all as it was; after another
  /// failure it is to be called again, too. Tests that are built on what moves end. Blocks.
  ///
  /// - Parameters:
  ///   - last: not before what is applied.
  ///   - state: as it was when the group was closed.
  ///   - record: it is built on `last`; its instant is not before that, and before the next record.
  static func park(
    after last: JournalState.Mark, of state: JournalState, in folder: String,
    as record: BranchRecord, log: @escaping (String) -> Void
  ) throws(SiteError) {
    let parking = try Parking(after: last, of: state, in: folder, as: record, log: log)
    for step in parking.steps { try parking.perform(step) }
  }

  /// The tail of the branch is the group's again, and the branch is gone. The group has no record
  /// after `last`: those that it had were parked, or dropped. Durable when it returns; the state
  /// file is the caller's. After a crash or a failure it is called again. Blocks.
  static func restore(
    after last: JournalState.Mark, of state: JournalState, in folder: String, from name: String,
    log: @escaping (String) -> Void
  ) throws(SiteError) {
    let restoring = try Restoring(after: last, of: state, in: folder, from: name, log: log)
    for step in restoring.steps { try restoring.perform(step) }
  }

  /// All of it is in the branch; of what is being taken back, some may be in the group again.
  static func isWhole(_ name: String, in folder: String) -> Bool {
    Directory.exists("\(Branch.folder(name, ofGroupIn: folder))/\(BranchRecord.fileName)")
  }

  /// Some of it may be in the branch.
  static func isBegun(_ name: String, in folder: String) -> Bool {
    let parking = "\(Branch.folder(name, ofGroupIn: folder))/\(ParkingFolder.parking)"
    return isWhole(name, in: folder) || Directory.exists(parking)
  }
}
