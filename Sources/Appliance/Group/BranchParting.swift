import BlockModel
import Journal
import SystemIO

/// What becomes of a group's branches when records that they are built on are not in its order any
/// more, or others may come in their place. Of a group that is closed; blocks.
extension GroupOpening {
  /// Ends the tests that are built on records after that time. Durable when it returns.
  ///
  /// - Returns: what is to be logged.
  static func endTests(
    in folder: String, after time: Timestamp, because reason: String
  ) throws(SiteError) -> [String] {
    var notes: [String] = []
    let found = try findRecords(folder) { notes.append($0) }
    for record in found where record.isBuiltOn(after: time) {
      notes.append("branch \(record.name) has ended: \(reason)")
      try change(record) { () throws(Errno) in try record.end(reason, inGroupOf: folder) }
    }
    return notes
  }

  /// Another owner's records follow the common one, at times that were told here, too. Where all
  /// that is here is on the disks, branches that are built on later times go on apart from the
  /// order: apply has saved for them what it has written over. Else tests end. Durable when it
  /// returns; a crash leaves branches apart, which is as good on the order as it was.
  static func partBranches(
    in folder: String, of state: JournalState, through last: SequenceNumber,
    from common: JournalState.Mark, log: (String) -> Void
  ) throws(SiteError) {
    let found = try findRecords(folder, log: log)
    guard state.applied.sequence == last else {
      if let reason = Parking.refusal(after: common.timestamp, beside: found) {
        throw SiteError("group \(state.groupName): \(reason)")
      }
      let reason =
        "another site owns the group since \(common.timestamp), and what the test is "
        + "built on is later"
      for note in try endTests(in: folder, after: common.timestamp, because: reason) { log(note) }
      return
    }
    for record in found where record.isBuiltOn(after: common.timestamp) {
      var parted = record
      parted.isApart = true
      let written = parted
      try change(record) { () throws(Errno) in
        try written.write(to: Branch.folder(record.name, ofGroupIn: folder))
      }
    }
  }

  private static func change(
    _ record: BranchRecord, _ change: () throws(Errno) -> Void
  ) throws(SiteError) {
    do throws(Errno) { try change() } catch {
      throw SiteError("changing \(record.title): \(error.withAdvice)")
    }
  }
}

extension Branch {
  /// Of one that nobody uses. What is left is removed by the next branch of that name. Blocks.
  static func removeFiles(of folder: String) {
    // Without this file it is no branch any more, also after a crash.
    try? Directory.remove("\(folder)/\(BranchRecord.fileName)")
    guard (try? Directory.sync(folder)) != nil else { return }
    let storage = FolderStorage(existing: folder)
    for name in (try? storage.names()) ?? [] { try? storage.remove(name) }
    try? Directory.removeFolder(folder)
  }
}
