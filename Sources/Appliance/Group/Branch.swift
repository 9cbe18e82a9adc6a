import BlockModel
import Journal
import Storage
import SystemIO
import Volume

/// A branch of a group, as that group knows it: what it is built on. What is written to it is in a
/// journal of its own, which another `Group` serves (`BranchOpening`). It lives as long as the
/// opening of its group. Any thread.
final class Branch: Sendable {
  /// For whom the branch is there now.
  private struct State: Sendable {
    var record: BranchRecord
    /// That it has ended is durable.
    var isEndNoted = false
    /// Its file is being replaced.
    var isWriting = false
    /// Its files are removed.
    var isRemoved = false
    /// Nil until it is open, and when it cannot be.
    var view: SiteView?
    /// Why it cannot be used now, though it may be again.
    var obstacle: String?
    /// Somebody serves it.
    var isUsed = false
    /// When it was served last.
    var writtenBytes: UInt64 = 0
    /// What ends that.
    var expire: (@Sendable (_ reason: String) -> Void)?
    /// Told when it is used no more.
    var unused: (@Sendable () -> Void)?
  }

  let folder: String
  /// What apply has saved for it, which lasts.
  let saved: SiteOverlay
  private let state: Monitor<State>

  /// - Parameter saved: nil: of a new branch, and its file is there.
  init(
    _ record: BranchRecord, folder: String, view: SiteView? = nil
  ) throws(SiteError) {
    self.folder = folder
    state = Monitor(
      State(record: record, isEndNoted: record.ending != nil, view: view))
    let diskCount = (record.disks.map(\.number.index).max() ?? -1) + 1
    do {
      saved = try Self.openSaved(in: folder, record, diskCount)
    } catch {
      throw SiteError("branch \(record.name): \(folder)/\(Self.savedName): \(error)")
    }
    if let failure = saved.failure, record.ending == nil {
      state.withLock { $0.obstacle = "\(failure)" }
    }
  }

  private static func openSaved(
    in folder: String, _ record: BranchRecord, _ diskCount: Int
  ) throws -> SiteOverlay {
    let budget = ScratchBudget(byteLimit: record.byteLimit)
    let file: File
    do throws(Errno) { file = try File(opening: "\(folder)/\(savedName)", .readWrite) } catch {
      guard error == .notFound else { throw error }
      // Somebody has removed it: that is no reason for the group not to open.
      return SiteOverlay(missing: record.identityBytes, diskCount: diskCount, budget: budget)
    }
    return try SiteOverlay(
      lasting: file, identity: record.identityBytes, diskCount: diskCount, budget: budget)
  }

  static let savedName = "saved"
  /// The end of a branch that somebody has stopped.
  static let stopped = "it was stopped"
  /// Below a group's folder.
  static let folderName = "branches"

  static func folder(_ name: String, ofGroupIn folder: String) -> String {
    "\(folder)/\(folderName)/\(name)"
  }

  var record: BranchRecord { state.withLock { $0.record } }
  var name: String { record.name }
  /// What it is built on; nil until that is open, and when it is gone.
  var view: SiteView? { state.withLock { $0.view } }
  var isUsed: Bool { state.withLock { $0.isUsed } }
  /// What was written to it, in bytes, when it was served last in this opening of its group.
  var writtenBytes: UInt64 { state.withLock { $0.writtenBytes } }
  /// Nothing need be kept for it any more: that it has ended is durable.
  var isEndNoted: Bool { state.withLock { $0.isEndNoted } }

  /// Why nobody can use it now; nil when somebody can.
  var obstacle: String? {
    state.withLock { $0.record.ending ?? $0.obstacle ?? ($0.view == nil ? "it is opened" : nil) }
  }

  /// The view is open, or could not be opened.
  func opened(_ result: Result<SiteView, ExportRefusal>) {
    state.update { state in
      switch result {
      case .success(let view):
        state.view = view
        state.obstacle = nil
      case .failure(let refusal): state.obstacle = refusal.message
      }
    }
  }

  // MARK: Using

  /// What the branch is built on, for the one who serves it; he calls `endUse`.
  func use() throws(SiteError) -> SiteView {
    let result = state.update { state -> Result<SiteView, SiteError> in
      if let ending = state.record.ending { return .failure(SiteError(ending)) }
      guard let view = state.view, state.obstacle == nil else {
        return .failure(SiteError(state.obstacle ?? "it is opened", isPassing: true))
      }
      precondition(!state.isUsed, "a branch is served once")
      state.isUsed = true
      return .success(view)
    }
    return try result.get()
  }

  /// Called, once, when what the branch is built on is about to go: at once, when that is so
  /// already.
  func onExpiry(_ expire: @escaping @Sendable (_ reason: String) -> Void) {
    let reason = state.update { state -> String? in
      if let reason = state.record.ending ?? state.obstacle { return reason }
      state.expire = expire
      return nil
    }
    if let reason { expire(reason) }
  }

  /// Nothing reads the view any more.
  ///
  /// - Parameter written: bytes, all in all; nil: as before.
  func endUse(written: UInt64? = nil) {
    let unused = state.update { state in
      state.writtenBytes = written ?? state.writtenBytes
      state.isUsed = false
      state.expire = nil
      return state.unused
    }
    unused?()
  }

  /// - Parameter unused: called whenever nobody uses it any more.
  func whenUnused(_ unused: @escaping @Sendable () -> Void) {
    state.withLock { $0.unused = unused }
  }

  /// What it is built on goes away, and may come again.
  func expire(_ reason: String) {
    let expire = state.update { state in
      state.view = nil
      state.obstacle = state.obstacle ?? reason
      defer { state.expire = nil }
      return state.expire
    }
    expire?(reason)
  }

  func waitUntilUnused() { state.wait { $0.isUsed ? nil : () } }

  /// It is over for good, and `end` has yet to note that.
  func condemn(_ reason: String) {
    state.withLock { $0.record.ending = $0.record.ending ?? reason }
  }

  /// It is over for good. Durable when it returns; without that, this opening says so alone, and
  /// what it is built on must be kept. Blocks.
  ///
  /// - Parameter cutsOff: else whoever serves it goes on until he is told by others.
  func end(_ reason: String, cutsOff: Bool = true) throws(Errno) {
    if cutsOff {
      let expire = state.update { state in
        state.record.ending = state.record.ending ?? reason
        state.view = nil
        defer { state.expire = nil }
        return state.expire
      }
      expire?(reason)
    }
    try change { $0.ending = $0.ending ?? reason }
    state.withLock { $0.isEndNoted = true }
  }

  /// What it is built on is, or is not, about to be dropped, perhaps. Durable when it returns.
  /// Blocks.
  func note(inDoubt: Bool) throws(Errno) {
    #if MUTANTS
      if Mutant.forgetDoubt.isOn { return }
    #endif
    try change { $0.isInDoubt = inDoubt }
  }

  /// Durable when it returns. Blocks, one caller at a time: whoever stops a branch may meet the
  /// group that ends it.
  private func change(_ change: (inout BranchRecord) -> Void) throws(Errno) {
    let present = state.wait { state -> BranchRecord?? in
      if state.isWriting { return nil }
      if state.isRemoved { return .some(nil) }
      state.isWriting = true
      return state.record
    }
    guard var record = present else { return }
    defer { state.update { $0.isWriting = false } }
    change(&record)
    try record.write(to: folder)
    state.withLock { change(&$0.record) }
  }

  /// It is no branch any more, and nothing writes its file again. Durable when it returns; needs no
  /// space. Blocks.
  func retire() throws(Errno) {
    state.wait { state -> Void? in
      if state.isWriting { return nil }
      state.isRemoved = true
      return ()
    }
    if BranchRecord.exists(in: folder) {
      try Directory.remove("\(folder)/\(BranchRecord.fileName)")
    }
    try Directory.sync(folder)
  }
}
