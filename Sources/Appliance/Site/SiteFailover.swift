import BlockModel
import Configuration
import Journal
import SystemIO

/// `tapline failover`, `commit` and `rollback`: this site takes a group over from the site that
/// owns it, for good or for a while. Each takes its turn with other commands; blocks; any thread
/// but a loop's.
extension Site {
  // MARK: Taking over

  /// When this returns, the group's disks are served here under their own names, as they were at
  /// the instant. Durable. A crash leaves the group following or taken over.
  public func failover(
    group name: String, _ request: FailoverRequest
  ) throws(SiteError) -> FailoverStatus {
    let time = try request.commitTime()
    try Self.checkNotes(request.user, request.note)
    let expression = try request.at.map { (text) throws(SiteError) in
      do throws(InstantSyntaxError) { return try InstantExpression(parsing: text) } catch {
        throw SiteError("\(error)", .noInstant)
      }
    }.flatMap { (expression: InstantExpression) in expression == .latest ? nil : expression }
    return try turn.take { () throws(SiteError) in
      try refuseInHandover()
      let host = try host(of: name)
      let group = try find(name)
      if let fence = ask(group.loop, { done in done(group.fence) }) ?? nil {
        return try takeBack(group, from: fence, request)
      }
      let former = try checkMayFailOver(group)
      // What it had is opened as a group of its own.
      let source = try former.map { (former) throws(SiteError) in
        try self.group(of: former.branch, host)
      }
      let shown = source ?? group
      let base = try expression.map { (expression) throws(SiteError) in
        try openBase(of: shown, at: expression)
      }
      do throws(SiteError) {
        var status = try plan(group, former, shownBy: shown, at: base?.view.instant)
        if request.isDryRun == true {
          if let base { shown.drop(base) }
          return status
        }
        status = try failOver(host, status, at: base?.view.instant, time)
        log(
          "group \(name): this site has taken it over from \(status.peer) as of \(status.instant), "
            + "by term \(status.term)" + (request.user.map { ", for \($0)" } ?? "")
            + (request.note.map { ": \($0)" } ?? ""))
        return status
      } catch {
        // Of the opening that there was; it may be gone.
        if let base { shown.drop(base) }
        throw error
      }
    }
  }

  private func host(of name: String) throws(SiteError) -> GroupHost {
    guard let host = hosts.first(where: { $0.name == name }) else {
      _ = try find(name)
      throw SiteError("group \(name) is not of this site's configuration", .noSuchGroup)
    }
    return host
  }

  private func group(of branch: Branch, _ host: GroupHost) throws(SiteError) -> Group {
    guard let group = host.branchHost(named: branch.name)?.group else {
      throw SiteError("\(branch.name), to which the site goes back, is not open: try again", .busy)
    }
    return group
  }

  /// - Returns: to what the site must go back first, as its disks are just being brought in step.
  private func checkMayFailOver(_ group: Group) throws(SiteError) -> FormerContent? {
    let name = group.configuration.name
    guard let state = group.stateKeeper?.state else {
      throw SiteError(
        "group \(name) keeps no history: a plain group has nowhere to fail over from", .noHistory)
    }
    if state.fork != nil {
      throw SiteError(
        "group \(name) was taken over here already: `tapline commit \(name)` keeps that, `tapline "
          + "rollback \(name)` takes it back", .failoverPending)
    }
    guard group.duty == .following else {
      throw SiteError(
        "group \(name) is owned by this site: a failover is ordered at the site that takes it over",
        .isOwner)
    }
    if state.baseline == .complete { return nil }
    guard state.baseline == .reconciling else {
      throw SiteError(
        "group \(name) cannot be taken over: nothing can be recovered here before its disks are "
          + "whole, and they never were, or were written over by a full copy", .copyIncomplete)
    }
    return try FormerContent(
      of: state, in: group.branches.named(state.lack.before))
  }

  /// What a failover would do.
  ///
  /// - Parameter source: the group, or the one by which what it goes back to is shown.
  private func plan(
    _ group: Group, _ former: FormerContent?, shownBy source: Group, at wanted: Timestamp?
  ) throws(SiteError) -> FailoverStatus {
    let name = group.configuration.name
    guard let journal = source.journal, let state = group.stateKeeper?.state else {
      throw SiteError("no journal")
    }
    let facts: (peer: String?, isConnected: Bool, newest: Timestamp)? = ask(group.loop) { done in
      done(
        (
          group.receiving.peerSite, group.receiving.receiver?.isStreaming ?? false,
          group.history?.end ?? .zero
        ))
    }
    guard let facts else { throw SiteError("group \(name) does not answer", .busy) }
    let end = JournalState.Mark(
      journal.watermarks.sequence(.appended),
      Timestamp(rawValue: journal.watermarks[.appendedTimestamp]))
    let newest = former?.newest ?? facts.newest
    let instant = wanted ?? max(newest, end.timestamp)
    let records = group.branches.listed.map(\.record)
    if let reason = Parking.refusal(after: instant, beside: records) {
      throw SiteError("group \(name): \(reason)", .buildsOnParked)
    }
    var status = FailoverStatus(
      group: name, state: "planned",
      term: state.ownership.nextTerm(after: state.lineage), instant: "\(instant)",
      peer: facts.peer ?? group.formerOwnerName, peerConnected: facts.isConnected,
      parkedRecords: 0, parkedBytes: 0, parkedSeconds: 0,
      newestKnown: "\(max(newest, end.timestamp))",
      endedTests: records.filter { $0.isBuiltOn(after: instant) }.map(\.name),
      exports: group.disks.map(\.name))
    status.goesBack = former.flatMap { goingBack(of: group, to: $0, at: instant) }
    guard wanted != nil else { return status }
    let segments = journal.catalog.pinnedAll()
    defer { for segment in segments { segment.unpin() } }
    do throws(JournalError) {
      let applied = (former?.state ?? state).applied
      let point = try ForkPoint.find(instant, in: segments, applied: applied, end: end)
      status.parkedRecords = point.recordCount
      status.parkedBytes = point.byteCount
      status.parkedSeconds = FailoverStatus.seconds(from: instant, to: end.timestamp)
    } catch { throw SiteError("group \(name): \(error)", .noInstant) }
    return status
  }

  /// What the site gives up of what has come since.
  private func goingBack(
    of group: Group, to former: FormerContent, at instant: Timestamp
  ) -> FailoverStatus.GoingBack? {
    guard let journal = group.journal else { return nil }
    let first = group.lacking?.common.sequence ?? journal.applied
    return FailoverStatus.GoingBack(
      branch: former.branch.name,
      droppedRecords: journal.watermarks.sequence(.appended).rawValue - first.rawValue,
      droppedBytes: journal.byteCount(after: .none),
      restoredBytes: former.branch.saved.byteCount,
      ageSeconds: FailoverStatus.seconds(
        from: instant, to: Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())))
  }

  private func failOver(
    _ host: GroupHost, _ plan: FailoverStatus, at instant: Timestamp?, _ time: CommitTime
  ) throws(SiteError) -> FailoverStatus {
    let name = try freeBranchName { number in
      BranchName.parked("parked", group: host.name, term: plan.term, number: number)
    }
    let now = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
    let commits: Timestamp? =
      if case .after(let seconds) = time {
        Timestamp(rawValue: now.rawValue + UInt64(seconds * 1e9))
      } else { nil }
    let isForGood = if case .now = time { true } else { false }
    let reason =
      plan.goesBack == nil
      ? "it fails over to this site"
      : "what it had before its disks were brought in step comes back, and it fails over to this "
        + "site"
    let tail = try exchange(host, reason) {
      (exchange) throws(SiteError) in
      try exchange.failOver(
        from: plan.peer, at: instant, parking: name, commits: commits, forGood: isForGood, now: now)
    }
    var status =
      isForGood
      ? try committedStatus(of: find(host.name), plan, began: now)
      : try pendingStatus(of: find(host.name), plan)
    status.take(tail)
    return status
  }

  /// Closes the group, has its folder changed, and opens it again.
  private func exchange(
    _ host: GroupHost, _ reason: String,
    _ action:
      @escaping @Sendable (inout OwnershipExchange) throws(SiteError) -> OwnershipExchange.Tail
  ) throws(SiteError) -> OwnershipExchange.Tail {
    let tail = Monitor(OwnershipExchange.Tail())
    let (configuration, folder) = (
      host.configuration, "\(self.configuration.dataDirectory)/\(host.name)"
    )
    try host.change(reason) { (log) throws(SiteError) in
      var exchange = try OwnershipExchange(configuration, in: folder)
      defer {
        for note in exchange.notes { log("group \(configuration.name): \(note)") }
        exchange.end()
      }
      let moved = try action(&exchange)
      tail.update { $0 = moved }
    }
    return tail.withLock { $0 }
  }

  private func pendingStatus(
    of group: Group, _ plan: FailoverStatus
  ) throws(SiteError) -> FailoverStatus {
    guard let state = group.stateKeeper?.state, let fork = state.fork else {
      throw SiteError("group \(group.configuration.name) was not taken over")
    }
    var status = plan
    status.state = "pending"
    status.note(fork, state)
    return status
  }

  private func committedStatus(
    of group: Group, _ plan: FailoverStatus, began: Timestamp
  ) throws(SiteError) -> FailoverStatus {
    guard let ownership = group.stateKeeper?.state.ownership, ownership.duty == .owning else {
      throw SiteError("group \(group.configuration.name) was not taken over")
    }
    var status = plan
    (status.state, status.term, status.began) = ("committed", ownership.term, "\(began)")
    return status
  }

  /// At an owner that has stopped for another site: it goes on, with the disks as they are here.
  private func takeBack(
    _ group: Group, from fence: Fence, _ request: FailoverRequest
  ) throws(SiteError) -> FailoverStatus {
    let name = group.configuration.name
    guard request.at == nil, let state = group.stateKeeper?.state, let journal = group.journal
    else {
      throw SiteError(
        "group \(name) was owned by this site, which goes on with its last record: without --at",
        .noInstant)
    }
    let newest = Timestamp(rawValue: journal.watermarks[.appendedTimestamp])
    var status = FailoverStatus(
      group: name, state: "planned", term: max(state.ownership.highestTerm, fence.term) + 1,
      instant: "\(newest)", peer: fence.site, peerConnected: false, parkedRecords: 0,
      parkedBytes: 0, parkedSeconds: 0, newestKnown: "\(newest)", endedTests: [],
      exports: group.disks.map(\.name))
    if request.isDryRun == true { return status }
    let answer: String?? = ask(group.loop) { done in group.takeBack { done($0) } }
    guard let failure = answer else { throw SiteError("group \(name) does not answer", .busy) }
    if let failure { throw SiteError("group \(name): \(failure)", .busy) }
    log(
      "group \(name): this site has taken it back from \(fence.site), by term \(status.term)"
        + (request.user.map { ", for \($0)" } ?? "") + (request.note.map { ": \($0)" } ?? ""))
    status.state = "committed"
    return status
  }

  // MARK: Deciding

  /// The failover is for good. Durable when it returns; clients go on.
  public func commit(group name: String) throws(SiteError) -> FailoverStatus {
    try turn.take { () throws(SiteError) in
      try refuseInHandover()
      let group = try find(name)
      let answer: FailoverStatus?? = ask(group.loop) { done in done(group.failoverStatus) }
      guard let status = answer ?? nil else {
        throw SiteError("group \(name) has no failover to commit", .noFailover)
      }
      return try commit(name, status)
    }
  }

  private func commit(
    _ name: String, _ status: FailoverStatus
  ) throws(SiteError) -> FailoverStatus {
    let group = try find(name)
    let answer: String?? = ask(group.loop) { done in group.commitFork { done($0) } }
    guard let failure = answer else { throw SiteError("group \(name) does not answer", .busy) }
    if let failure { throw SiteError("group \(name): \(failure)", .busy) }
    log("group \(name): the failover is committed")
    var status = status
    status.state = "committed"
    status.commitAt = nil
    return status
  }

  /// The failover is taken back: the group follows again, from where it stopped. Durable. A crash
  /// leaves the group taken over or following.
  ///
  /// - Parameter discards: what was written meanwhile is not kept as a branch.
  public func rollback(
    group name: String, isDryRun: Bool, discards: Bool
  ) throws(SiteError) -> FailoverStatus {
    try turn.take { () throws(SiteError) in
      try refuseInHandover()
      let host = try host(of: name)
      let group = try find(name)
      let answer: FailoverStatus?? = ask(group.loop) { done in done(group.failoverStatus) }
      guard var status = answer ?? nil, let journal = group.journal,
        let fork = group.stateKeeper?.state.fork
      else {
        throw SiteError("group \(name) has no failover that could be rolled back", .noFailover)
      }
      let records = group.branches.listed.map(\.record)
      status.endedTests = records.filter { $0.isBuiltOn(after: fork.instant) }.map(\.name)
      let parked =
        discards
        ? nil
        : try freeBranchName { number in
          BranchName.parked("rolled-back", group: name, term: status.term, number: number)
        }
      status.parkedName = parked
      if isDryRun {
        status.state = "planned"
        status.parkedRecords =
          journal.watermarks.sequence(.appended).rawValue - fork.after.sequence.rawValue
        status.parkedBytes = journal.byteCount(after: fork.after.sequence)
        status.parkedSeconds = FailoverStatus.seconds(
          from: fork.began, to: Timestamp(rawValue: journal.watermarks[.appendedTimestamp]))
        if status.parkedRecords == 0 { status.parkedName = nil }
        return status
      }
      let tail = try exchange(host, "the failover is rolled back") {
        (exchange) throws(SiteError) in
        try exchange.giveBack(parking: parked)
      }
      log("group \(name): the failover is rolled back; this site follows \(status.peer) again")
      status.state = "rolled-back"
      status.commitAt = nil
      status.take(tail)
      return status
    }
  }
}

extension FailoverStatus {
  fileprivate mutating func take(_ tail: OwnershipExchange.Tail) {
    parkedName = tail.name.isEmpty ? nil : tail.name
    parkedRecords = tail.recordCount
    parkedBytes = tail.byteCount
    parkedSeconds = Self.seconds(from: tail.start, to: tail.end)
  }

  fileprivate static func seconds(from start: Timestamp, to end: Timestamp) -> Double {
    end > start ? Double(end.nanoseconds(since: start)) / 1e9 : 0
  }

  fileprivate mutating func note(_ fork: Fork, _ state: JournalState) {
    term = state.ownership.term
    instant = "\(fork.instant)"
    began = "\(fork.began)"
    commitAt = fork.commits.map { "\($0)" }
    parkedName = fork.parked.isEmpty ? nil : fork.parked
    parkedRecords = fork.end.sequence.rawValue - fork.after.sequence.rawValue
    parkedBytes = fork.byteCount
    parkedSeconds = Self.seconds(from: fork.instant, to: fork.end.timestamp)
  }
}

extension Group {
  /// Who owned the group before. Of several sites a process that has met none names all.
  fileprivate var formerOwnerName: String {
    formerOwner.site ?? configuration.peers.map(\.site).joined(separator: " or ")
  }

  /// Of one that is not decided; nil when there is none. On the loop.
  var failoverStatus: FailoverStatus? {
    guard let state = stateKeeper?.state, let fork = state.fork else { return nil }
    var status = FailoverStatus(
      group: configuration.name, state: "pending", term: state.ownership.term, instant: "",
      peer: formerOwnerName,
      // One that has stopped for this site says so, and takes nothing more.
      peerConnected: links.contains {
        $0.peerSite == formerOwnerName && [.connected, .refused].contains($0.snapshot.state)
      }, parkedRecords: 0, parkedBytes: 0, parkedSeconds: 0,
      newestKnown: "\(max(fork.instant, fork.end.timestamp, formerOwner.newest))", endedTests: [],
      exports: disks.map(\.name))
    status.note(fork, state)
    return status
  }
}
