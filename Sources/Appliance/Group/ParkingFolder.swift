import Journal
import SystemIO

/// The folders of a group and of a branch of it, between which segment files move. Every call
/// blocks.
struct ParkingFolder {
  typealias Part = JournalTail<FolderStorage>.Part

  /// The branch's file while it is made.
  static let parking = "parking"
  /// The same while it is taken back.
  static let restoring = "restoring"

  private let groupName: String
  private let group: GroupIdentifier
  private let branchName: String
  /// Of the group.
  let own: FolderStorage
  let branch: FolderStorage
  let log: (String) -> Void

  init(
    of state: JournalState, in folder: String, branch name: String,
    log: @escaping (String) -> Void
  ) {
    groupName = state.groupName
    group = state.group
    branchName = name
    own = FolderStorage(existing: folder)
    branch = FolderStorage(existing: Branch.folder(name, ofGroupIn: folder))
    self.log = log
  }

  /// Below the branch's folder.
  func path(_ name: String) -> String { "\(branch.path)/\(name)" }
  func has(_ name: String) -> Bool { Directory.exists(path(name)) }

  /// In ascending order of their numbers.
  func segments(in storage: FolderStorage) throws(SiteError) -> [Part] {
    try journal { () throws(JournalError) in
      try JournalTail.segments(of: group, in: storage)
    }
  }

  /// Renames a segment file into the other folder, with its sidecar if that can be: it can be made
  /// again.
  func move(
    _ name: String, of from: FolderStorage, to target: String, of to: FolderStorage
  ) throws(SiteError) {
    let old = "\(from.path)/\(SidecarIndex.name(ofSegmentFile: name))"
    let new = "\(to.path)/\(SidecarIndex.name(ofSegmentFile: target))"
    try files("moving \(name)") { () throws(Errno) in
      // Of what was there until now.
      if Directory.exists(new) { try Directory.remove(new) }
      try Directory.rename("\(from.path)/\(name)", to: "\(to.path)/\(target)")
    }
    guard Directory.exists(old) else { return }
    do throws(Errno) { try Directory.rename(old, to: new) } catch {
      log("\(old): \(error.withAdvice); it is made again")
    }
  }

  /// What was moved is durably where it is.
  func settle() throws(SiteError) {
    try files("moving segments") { () throws(Errno) in
      try Directory.sync(branch.path)
      try Directory.sync(own.path)
    }
  }

  func rename(_ name: String, to other: String) throws(SiteError) {
    try files("renaming \(name) to \(other)") { () throws(Errno) in
      try Directory.rename(path(name), to: path(other))
      try Directory.sync(branch.path)
    }
  }

  /// The branch's folder holds nothing that counts.
  func discard() throws(SiteError) {
    guard Directory.exists(branch.path) else { return }
    try files("removing it") { () throws(Errno) in
      // Without these it is nobody's, also after a crash.
      for name in [Self.parking, Self.restoring] where has(name) { try branch.remove(name) }
      try Directory.sync(branch.path)
      for name in try branch.names() { try branch.remove(name) }
      try Directory.removeFolder(branch.path)
    }
  }

  func journal<Result>(
    _ action: () throws(JournalError) -> Result
  ) throws(SiteError) -> Result {
    do throws(JournalError) { return try action() } catch { throw failure("\(error)") }
  }

  func files(_ doing: String, _ action: () throws(Errno) -> Void) throws(SiteError) {
    do throws(Errno) { try action() } catch { throw failure("\(doing): \(error.withAdvice)") }
  }

  func failure(_ reason: String) -> SiteError {
    SiteError("group \(groupName), branch \(branchName): \(branch.path): \(reason)")
  }
}
