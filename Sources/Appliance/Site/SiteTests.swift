import BlockModel
import Configuration
import Journal
import Storage
import Synchronization
import SystemIO
import Volume

/// `tapline test`: branches that are deleted in the end.
extension Site {
  private static let nameLimit = 1000
  private static let textLimit = 1024
  /// A test that does not come to serve in this time is taken back.
  private static let openMilliseconds: UInt64 = 30_000

  /// Makes a branch of the group and serves it: when this returns, clients open its disks under the
  /// names that it gives, and may write. Durable. Blocks; any thread but a loop's.
  public func startTest(
    group name: String, _ request: TestRequest
  ) throws(SiteError) -> TestStatus {
    let expression = try Self.instant(of: request)
    return try turn.take { () throws(SiteError) in
      try refuseInHandover()
      return try whileOpen(name) { (host, group) throws(SiteError) in
        try start(group, host, at: expression, request)
      }
    }
  }

  /// One that is under way has counted what there is.
  func refuseInHandover() throws(SiteError) {
    if isHandingOver.load(ordering: .acquiring) {
      throw SiteError(
        "another process is taking this site's place: try again when it has", .busy)
    }
  }

  /// Should the group fail meanwhile, it is opened again only afterwards: what an opening finds in
  /// the folder does not change under it.
  private func whileOpen<Answer>(
    _ name: String, _ action: (GroupHost, Group) throws(SiteError) -> Answer
  ) throws(SiteError) -> Answer {
    guard let host = hosts.first(where: { $0.name == name }) else {
      _ = try find(name)
      throw SiteError("group \(name) is not of this site's configuration", .noSuchGroup)
    }
    guard host.hold(milliseconds: Self.openMilliseconds) else {
      host.release()
      throw SiteError("group \(name) is just being opened or ended: try again", .busy)
    }
    defer { host.release() }
    return try action(host, try find(name))
  }

  private static func instant(of request: TestRequest) throws(SiteError) -> InstantExpression {
    do throws(InstantSyntaxError) {
      return try InstantExpression(parsing: request.at ?? "latest")
    } catch { throw SiteError("\(error)", .noInstant) }
  }

  /// Of what somebody says for the log, or a timeline.
  static func checkNotes(_ notes: String?...) throws(SiteError) {
    for text in notes.compactMap(\.self) {
      guard text.utf8.count <= textLimit, !text.hasControlCharacters else {
        throw SiteError(
          "a note has at most \(textLimit) bytes and no control characters", .badRequest)
      }
    }
  }

  private func start(
    _ group: Group, _ host: GroupHost, at expression: InstantExpression, _ request: TestRequest
  ) throws(SiteError) -> TestStatus {
    guard group.journal != nil else {
      throw SiteError(
        "group \(host.name) keeps no history: a plain group has no instants", .noHistory)
    }
    let configuration = present.withLock { $0 }
    let test = try self.name(for: request)
    try Self.checkNotes(request.user, request.note)
    let base = try openBase(of: group, at: expression)
    let record: BranchRecord
    do throws(SiteError) {
      record = try self.record(test, base, request)
      try OpenFiles.secure(
        configuration,
        branches: (hosts.flatMap(\.branches).map(\.configuration))
          + [BranchOpening.configuration(of: record, in: host.configuration)])
    } catch {
      group.drop(base)
      throw error
    }
    if request.isDryRun == true {
      group.drop(base)
      return TestStatus(record, of: host.name, state: "planned")
    }
    let branch: Branch
    do throws(SiteError) { branch = try makeBranch(record, of: group) } catch {
      group.drop(base)
      throw error
    }
    return try serve(branch, on: base, of: group, host)
  }

  /// The name of a test is its own at this site.
  private func name(for request: TestRequest) throws(SiteError) -> String {
    if let name = request.name {
      guard BranchName.isValid(name) else {
        throw SiteError(
          "\(name.quotedForMessage) is no name for a test: \(BranchName.rule)", .badRequest)
      }
      guard let folder = folder(ofTest: name) else { return name }
      if tests().contains(where: { $0.name == name }) {
        throw SiteError(
          "there is a test \(name) already: stop that one, or choose another name", .nameTaken)
      }
      throw SiteError(
        "\(folder) has a test of that name, which cannot be opened now: choose another name, or "
          + "see the site's log", .nameTaken)
    }
    return try freeBranchName { number in number == 1 ? "test" : "test\(number)" }
  }

  /// One that no branch at this site has.
  ///
  /// - Parameter name: by number, from 1 on.
  func freeBranchName(_ name: (Int) -> String) throws(SiteError) -> String {
    for number in 1...Self.nameLimit {
      let name = name(number)
      if folder(ofTest: name) == nil { return name }
    }
    throw SiteError("there are too many branches")
  }

  /// Nil: there is none. Also one that is damaged, or whose group is closed, has its files.
  private func folder(ofTest name: String) -> String? {
    hosts.lazy.map { host in
      Branch.folder(name, ofGroupIn: "\(self.configuration.dataDirectory)/\(host.name)")
    }.first { BranchRecord.exists(in: $0) }
  }

  func openBase(
    of group: Group, at expression: InstantExpression
  ) throws(SiteError) -> BranchBase {
    let order = BaseOrder()
    let answer: Result<BranchBase, ExportRefusal>? = ask(
      group.loop, timeoutMilliseconds: Int32(Self.openMilliseconds)
    ) { done in
      group.openBase(expression) { result in
        if order.fill(result) { return done(result) }
        if case .success(let base) = result { group.drop(base) }
      }
    }
    guard let answer = answer ?? order.giveUp() else {
      throw SiteError("group \(group.configuration.name) does not answer", .busy)
    }
    do throws(ExportRefusal) { return try answer.get() } catch {
      throw SiteError(error.message, .noInstant)
    }
  }

  private func record(
    _ name: String, _ base: BranchBase, _ request: TestRequest
  ) throws(SiteError) -> BranchRecord {
    guard !base.disks.isEmpty else {
      throw SiteError("the group shows no disk at \(base.view.instant)", .noInstant)
    }
    let limit = request.limitBytes ?? base.capacityByteCount
    let smallest = ConfigurationLimits.segmentSizeBytes.lowerBound
    let least = ConfigurationLimits.minimumSegments * smallest
    guard limit >= least else {
      throw SiteError("the limit of a test is at least \(ByteCount.format(least))", .badRequest)
    }
    var segment = base.segmentByteCount
    while segment > smallest,
      segment * 2 * ConfigurationLimits.minimumSegments > limit
    { segment /= 2 }
    var generator = SystemEntropy()
    let now = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
    let expiry = try request.seconds.map { (seconds) throws(SiteError) in
      guard seconds > 0, seconds * 1e9 < Double(ConfigurationLimits.durationNanoseconds) else {
        throw SiteError("a test lasts longer than nothing and less than ten years", .badRequest)
      }
      return Timestamp(rawValue: now.rawValue + UInt64(seconds * 1e9))
    }
    return BranchRecord(
      name: name, identity: .random(using: &generator), group: base.group,
      instant: base.view.instant, created: now, expiry: expiry, byteLimit: limit,
      segmentByteCount: segment, user: request.user ?? "", note: request.note ?? "",
      disks: base.disks.map {
        .init(number: $0.number, name: $0.name, byteCount: $0.store.byteCount)
      })
  }

  /// Durable when it returns.
  private func makeBranch(
    _ record: BranchRecord, of group: Group
  ) throws(SiteError) -> Branch {
    guard let parent = group.journal?.storage.path else { throw SiteError("no journal") }
    let folder = Branch.folder(record.name, ofGroupIn: parent)
    let branch: Branch
    do throws(Errno) {
      let storage = try FolderStorage(path: folder)
      // What a crash has left of one that was being made, or removed.
      for name in try storage.names() { try storage.remove(name) }
      try SiteOverlay.createLasting(
        Branch.savedName, in: storage, identity: record.identityBytes)
    } catch { throw Self.notMade(record, folder, error.withAdvice) }
    do throws(SiteError) { branch = try Branch(record, folder: folder) } catch {
      throw Self.notMade(record, folder, "\(error)")
    }
    // From here on it is there.
    do throws(Errno) { try record.write(to: folder) } catch {
      throw Self.notMade(record, folder, error.withAdvice)
    }
    return branch
  }

  private static func notMade(
    _ record: BranchRecord, _ folder: String, _ reason: String
  ) -> SiteError {
    Branch.removeFiles(of: folder)
    return SiteError("test \(record.name): \(folder): \(reason)")
  }

  private func serve(
    _ branch: Branch, on base: BranchBase, of group: Group, _ host: GroupHost
  ) throws(SiteError) -> TestStatus {
    let record = branch.record
    let isAdded = group.loop.ask { done in done(group.add(branch, on: base)) } ?? false
    guard isAdded else {
      Branch.removeFiles(of: branch.folder)
      group.drop(base)
      throw SiteError(
        "group \(host.name) is being set back or stopped, or its journal has no room: try again",
        .busy)
    }
    let own = host.host(record, servesAlone: true)
    own.start()
    guard let reason = own.waitUntilServing(milliseconds: Self.openMilliseconds) else {
      log(
        "group \(host.name): test \(record.name) at \(record.instant) begins"
          + (record.user.isEmpty ? "" : ", by \(record.user)"))
      return status(of: branch, host)
    }
    try remove(branch, group, host, own)
    throw SiteError("test \(record.name): \(reason)")
  }

  private func remove(
    _ branch: Branch, _ group: Group, _ host: GroupHost, _ own: GroupHost?
  ) throws(SiteError) {
    if let own { host.endBranch(own) }
    // Only then may apply overwrite what it is built on: a crash must not find a branch of that.
    do throws(Errno) { try branch.retire() } catch {
      throw SiteError("test \(branch.name): removing its files: \(error.withAdvice)")
    }
    group.loop.perform { group.removeBranch(branch.name) }
    Branch.removeFiles(of: branch.folder)
  }

  // MARK: Ending

  /// Cuts the test's clients off, writes its report and deletes what was written to it. Durable.
  /// Blocks; any thread but a loop's.
  ///
  /// - Parameter parked: what is parked is deleted, too; else that is refused.
  public func stopTest(
    _ name: String, check: TestCheck?, parked: Bool
  ) throws(SiteError) -> TestReportStatus {
    try turn.take { () throws(SiteError) in
      try refuseInHandover()
      return try stop(name, check, parked)
    }
  }

  private func stop(
    _ name: String, _ check: TestCheck?, _ parked: Bool
  ) throws(SiteError) -> TestReportStatus {
    for host in hosts where host.group?.branches.named(name) != nil {
      return try whileOpen(host.name) { (host, group) throws(SiteError) in
        guard let branch = group.branches.named(name) else {
          throw SiteError("test \(name) cannot be opened now: try again", .busy)
        }
        if branch.record.kind == .parked, !parked { throw loss(of: branch, host) }
        if group.stateKeeper?.state.fork?.parked == name {
          throw SiteError(
            "\(name) is what `tapline rollback \(host.name)` gives back to the group: "
              + "`tapline commit \(host.name)` first, should it not be needed any more", .isParked)
        }
        return try stop(branch, check, group, host)
      }
    }
    let names = tests().map(\.name)
    throw SiteError(
      "no test \(name.quotedForMessage) at this site"
        + (names.isEmpty ? "" : "; there are: \(names.joined(separator: ", "))"), .noSuchTest)
  }

  private func loss(of branch: Branch, _ host: GroupHost) -> SiteError {
    let record = branch.record
    let written = "\(status(of: branch, host).writtenBytes) bytes"
    return SiteError(
      "\(record.name) is no test: it holds what was written to group \(host.name) after "
        + "\(record.instant) and acknowledged, \(written), and nothing else does. `tapline test "
        + "stop \(record.name) --parked` deletes that for good", .isParked)
  }

  private func stop(
    _ branch: Branch, _ check: TestCheck?, _ group: Group, _ host: GroupHost
  ) throws(SiteError) -> TestReportStatus {
    let record = branch.record
    let written = status(of: branch, host).writtenBytes
    let report = TestReport(
      identity: record.identity, name: record.name, instant: record.instant,
      started: record.created,
      ended: Timestamp(nanoseconds: SystemClock.realtimeNanoseconds()), user: record.user,
      note: record.note, writtenBytes: written,
      ending: record.ending.flatMap { $0 == Branch.stopped ? nil : $0 } ?? "",
      check: check?.shortened(to: Self.textLimit))
    guard let folder = group.journal?.storage.path else { throw SiteError("no journal") }
    var isReported = true
    do throws(Errno) {
      try Self.add(report, in: folder)
      // Once apply goes past its instant it is wrong, whatever becomes of its files.
      try branch.end(Branch.stopped, cutsOff: false)
    } catch {
      guard error == .noSpace || error == .quotaExceeded else {
        throw SiteError("test \(record.name) goes on: writing its report: \(error.withAdvice)")
      }
      // What was written to it may be what takes the space.
      isReported = false
    }
    try remove(branch, group, host, host.branchHost(named: record.name))
    if !isReported {
      do throws(Errno) { try Self.add(report, in: folder) } catch {
        log("group \(host.name): test \(record.name): writing its report: \(error.withAdvice)")
      }
    }
    log("group \(host.name): \(record.title) is over")
    host.triesGivingWay()
    return TestReportStatus(report, of: host.name)
  }

  /// Durable when it returns.
  private static func add(_ report: TestReport, in folder: String) throws(Errno) {
    var reports = try TestReports(readingFrom: folder)
    reports.add(report)
    try reports.write(to: folder)
  }

  // MARK: Listing

  /// Of all groups, in the order in which they began.
  public func tests() -> [TestStatus] {
    hosts.flatMap { host in
      (host.group?.branches.listed ?? []).map { status(of: $0, host) }
    }
  }

  private func status(of branch: Branch, _ host: GroupHost) -> TestStatus {
    let record = branch.record
    let own = host.branchHost(named: record.name)
    let state = record.ending != nil ? "ended" : own?.group == nil ? "opening" : "open"
    var status = TestStatus(record, of: host.name, state: state)
    status.savedBytes = branch.saved.byteCount
    status.writtenBytes = branch.writtenBytes
    status.reason = record.ending ?? (own?.group == nil ? own?.closedReason : nil)
    if let group = own?.group {
      let answer = ask(group.loop) { done in
        done(
          (
            group.connectionCounts.values.reduce(0, +),
            group.journal?.byteCount(after: .none) ?? 0
          ))
      }
      (status.connections, status.writtenBytes) = answer ?? (0, 0)
    }
    return status
  }

  /// What of the group can be opened beside its order, oldest first.
  func parked(of host: GroupHost) -> [TimelineStatus.Parked] {
    host.branches.compactMap { own in
      guard let group = own.group, group.isParked, let record = group.branch?.branch.record,
        let history = ask(group.loop, { done in done(group.answerHistory()) }) ?? nil
      else { return nil }
      return .init(
        name: record.name, from: "\(history.start)", to: "\(history.end)", exports: record.exports)
    }
  }

  /// Of those that are over, oldest first.
  func reports(of group: Group) -> [TestReportStatus] {
    guard let folder = group.journal?.storage.path else { return [] }
    let reports = (try? TestReports(readingFrom: folder)) ?? TestReports()
    return reports.reports.map { TestReportStatus($0, of: group.configuration.name) }
  }
}

extension TestCheck {
  /// A script may be long, and the reports of a group are one file.
  fileprivate func shortened(to limit: Int) -> TestCheck {
    var short = self
    short.command = String(String.UnicodeScalarView(command.unicodeScalars.prefix(limit)))
    return short
  }
}

/// The base of a new branch, for a caller that waits for it for a time: what comes later goes back.
private final class BaseOrder: Sendable {
  private struct State: Sendable {
    var isOver = false
    var result: Result<BranchBase, ExportRefusal>?
  }

  private let state = Mutex(State())

  /// False: nobody waits any more.
  func fill(_ result: Result<BranchBase, ExportRefusal>) -> Bool {
    state.withLock { state in
      if !state.isOver { state.result = result }
      return !state.isOver
    }
  }

  /// What came at the last moment.
  func giveUp() -> Result<BranchBase, ExportRefusal>? {
    state.withLock { state in
      state.isOver = true
      return state.result
    }
  }
}

extension TestStatus {
  init(_ record: BranchRecord, of group: String, state: String) {
    self.init(
      group: group, name: record.name, kind: record.kind == .parked ? "parked" : "test",
      state: state, reason: record.ending,
      instant: "\(record.instant)", started: "\(record.created)",
      expires: record.expiry.map { "\($0)" }, user: record.user, note: record.note,
      exports: record.exports, connections: 0, writtenBytes: 0,
      savedBytes: 0, limitBytes: record.byteLimit)
  }
}
