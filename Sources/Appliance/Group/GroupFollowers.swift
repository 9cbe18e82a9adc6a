import BlockModel
import Journal
import Replication
import SystemIO

// What a protected group knows of those who follow it: who must give way when the journal is full,
// and what people should know. On its loop.

extension Group {
  // MARK: Room

  /// The journal is full, and nothing else can be done: what it holds for the follower that is
  /// furthest behind is given up, if that may be. The next is looked at when there is no room after
  /// all.
  func dropFollower(_ journal: SiteJournal) {
    let next = journal.oldestSegment.flatMap { journal.catalog.segment($0.number + 1) }
    let last = next.map { SequenceNumber($0.firstSequence.rawValue - 1) } ?? SequenceNumber(.max)
    guard let follower = followers.firstToDrop(journal.applied, oldestSegmentEndsWith: last),
      mayDrop(follower)
    else { return }
    log(
      "group \(configuration.name): the journal is full of records that \(follower.site) has "
        + "not received; they are dropped, and what they change is kept in mind for it")
    follower.detach()
    // The next has its own time.
    room.came()
    recycle()
  }

  /// Its records have filled the journal for so long that they may be dropped.
  private func mayDrop(_ follower: Follower) -> Bool {
    guard let link = links.first(where: { $0.follower === follower })?.snapshot else { return true }
    let isNew = link.state == .connecting && link.detail.isEmpty
    guard isNew || link.state == .connected || link.state == .syncing else { return true }
    return room.hasLackedLong(now: SystemClock.monotonicNanoseconds())
  }

  /// What writes wait for while the journal is full, if it is not a failure.
  var whatRoomWaitsFor: String {
    guard let journal, let follower = followers.furthestBehind(journal.applied)
    else { return "records are being applied to the disks" }
    let detail = links.first { $0.follower === follower }?.snapshot.detail ?? ""
    return "\(follower.site) has not received what is in it\(detail.isEmpty ? "" : ": \(detail)")"
  }

  // MARK: What they lack

  /// Several times a second.
  func noteUnsent(_ journal: SiteJournal) {
    for (index, follower) in followers.all.enumerated() {
      unsent[index].note(
        appended: journal.appended, durable: follower.durable, now: loop.monotonicNow)
    }
  }

  /// How old the oldest record is that is not durable at the peer; nil while nothing can be
  /// recovered there.
  private func rpoSeconds(_ index: Int, _ peer: LinkMonitor.Snapshot) -> Double? {
    guard let journal, peer.isRecoverable else { return nil }
    let age = unsent[index].age(
      appended: journal.appended, durable: followers.all[index].durable, now: loop.monotonicNow)
    return Double(age) / 1e9
  }

  private func missingCount(_ follower: Follower) -> UInt64 {
    guard let appended = journal?.appended else { return 0 }
    return appended.rawValue - min(appended, follower.durable).rawValue
  }

  // MARK: Status

  /// The one link of the group; nil when it has none, or several.
  var linkStatus: LinkStatus? {
    if links.count > 1 { return nil }
    return links.isEmpty ? receivingStatus : sendingStatus(0)
  }

  var linkStatuses: [LinkStatus]? {
    if links.isEmpty { return nil }
    return links.indices.compactMap { index in
      guard var status = sendingStatus(index) else { return nil }
      let follower = followers.all[index]
      status.peerReceived = follower.received.rawValue
      status.peerDurable = links[index].snapshot.isRecoverable ? follower.durable.rawValue : 0
      status.peerApplied = follower.applied.rawValue
      return status
    }
  }

  private func sendingStatus(_ index: Int) -> LinkStatus? {
    guard let journal else { return nil }
    let (follower, peer) = (followers.all[index], links[index].snapshot)
    let missing = missingCount(follower)
    let isBehind = missing > 0 || !peer.isRecoverable
    let isKnown = [.connected, .waiting, .refused, .diverged].contains(peer.state)
    return LinkStatus(
      peerSite: follower.site, state: peer.state.rawValue, detail: peer.detail,
      rpoSeconds: rpoSeconds(index, peer), lagRecords: missing,
      lagBytes: isBehind && isKnown ? journal.byteCount(after: follower.durable) : 0,
      sentBytes: peer.sentByteCount, wireBytes: peer.wireByteCount,
      reconnects: peer.reconnectCount, restoredRecords: peer.restoredCount,
      syncProgress: peer.syncProgress ?? links[index].lack.progress?.share)
  }

  // MARK: Conditions

  func sendingConditions(_ index: Int) -> [Condition] {
    let link = links[index]
    let (site, peer) = (link.peerSite, link.snapshot)
    // Texts that come from elsewhere do not name it.
    let prefix = links.count > 1 ? "\(site): " : ""
    var found: [Condition] = []
    if let divergence = peer.divergence {
      found.append(Condition(.diverged, peer: site, divergence.text))
    }
    if peer.state == .refused {
      found.append(Condition(.linkRefused, peer: site, prefix + peer.detail))
    } else if peer.divergence == nil, let condition = linkCondition(index, peer) {
      found.append(condition)
    }
    if !peer.repair.isEmpty {
      found.append(Condition(.recordsDamaged, peer: site, prefix + peer.repair))
    }
    // While it is copied, the journal keeps nothing for it, and need not.
    if link.follower.isGivenUp, !link.follower.debt.isActive {
      found.append(
        Condition(
          .peerMustBeCopied, peer: site,
          "the journal was full: \(site) "
            + (link.follower.dropped.changes.map {
              "has lost records, and gets what they changed, \(ByteCount.format($0.byteCount)) so "
                + "far, when it is back"
            } ?? "will get what it lacks when it is back")))
    }
    if let (disk, text) = tooSmall(link, peer) {
      found.append(Condition(.peerDiskTooSmall, disk: disk, peer: site, text))
    }
    if let progress = link.lack.progress {
      let text =
        "\(site) is brought in step: \(progress.byteCount >> 20) of "
        + "\(progress.total >> 20) MiB that it lacks are in the history, of which "
        + "\(progress.equalByteCount >> 20) MiB were the same there"
      found.append(
        Condition(.copying, peer: site, text + (restamping.failure.map { "; \($0)" } ?? "")))
    }
    if let progress = peer.syncProgress {
      found.append(
        Condition(
          .copying, peer: site,
          "a full copy to \(site) is under way: \(Int(progress * 100)) % is there"
            + (peer.alikeByteCount == 0
              ? "" : ", of which it had \(ByteCount.format(peer.alikeByteCount)) already")))
    }
    return found
  }

  /// By when things went well last, not by what the link does at this moment.
  private func linkCondition(_ index: Int, _ peer: LinkMonitor.Snapshot) -> Condition? {
    #if MUTANTS
      if Mutant.trustSocket.isOn, peer.state == .connected { return nil }
    #endif
    let site = followers.all[index].site
    let missing = missingCount(followers.all[index])
    let waits = missing == 0 ? "" : "; \(missing) records wait here"
    switch peer.vitals.verdict(now: SystemClock.monotonicNanoseconds()) {
    case .away(let nanoseconds):
      let reason = peer.detail.isEmpty ? "no answer yet" : peer.detail
      return Condition(
        .linkDown, peer: site,
        "\(site) has not been reached for \(Self.seconds(nanoseconds)): \(reason)\(waits)")
    case .stalled(let nanoseconds):
      return Condition(
        .linkStalled, peer: site,
        "\(site) is connected and has acknowledged nothing for \(Self.seconds(nanoseconds))\(waits)"
      )
    case .unstable(let losses):
      return Condition(
        .linkUnstable, peer: site,
        "the link to \(site) has broken \(losses) times within a minute: \(peer.detail)")
    case .well:
      let isTold = conditions.entries.contains {
        $0.condition.code == .rpoHigh && $0.condition.peer == site
      }
      guard let age = rpoSeconds(index, peer), age > Self.highRPOSeconds / (isTold ? 2 : 1)
      else { return nil }
      return Condition(
        .rpoHigh, peer: site,
        "the newest record that is durable at \(site) is \(Int(age)) s old\(waits)")
    }
  }

  private static var highRPOSeconds: Double { 60 }

  static func seconds(_ nanoseconds: UInt64) -> String { "\(nanoseconds / 1_000_000_000) s" }
}
