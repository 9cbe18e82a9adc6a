import BlockModel
import Configuration
import Journal
import Replication
import SystemIO

/// What a group has to say about itself. On its loop.
extension Group {
  /// What is so now, in no order. Cheap: it is asked several times a second.
  private var presentConditions: [Condition] {
    // What a failed group knows of the rest is not so any more.
    if let failure { return [Condition(.groupFailed, failure)] }
    let peer = link?.snapshot
    var found = journalConditions(peer) + storeConditions
    let now = SystemClock.monotonicNanoseconds()
    if let condition = setback?.condition(now: now, durable: journal?.durable ?? .none) {
      #if MUTANTS
        if Mutant.forgetSetback.isOn { return found }
      #endif
      found.append(condition)
    }
    if duty == .owning, let text = clockProblem {
      found.append(Condition(.clockStepped, text))
    }
    if let link, let peer { found += sendingConditions(link, peer) }
    if duty == .following { found += receivingConditions }
    return found
  }

  /// Several times a second, and before status is told: logs what begins and what has ended.
  func noteConditions() {
    let changes = conditions.note(
      presentConditions, now: SystemClock.monotonicNanoseconds(), instant: loop.now)
    for change in changes {
      switch change {
      case .began(let condition):
        // What made the group fail is logged where it happens.
        if condition.code.severity == .info || condition.code == .groupFailed { continue }
        log(
          "group \(configuration.name): \(condition.text) "
            + "(\(condition.code.severity.rawValue) \(condition.code.rawValue))")
      case .ended(let condition, let nanoseconds):
        if condition.code.severity == .info { continue }
        let disk = condition.disk.map { " of disk \($0)" } ?? ""
        log(
          "group \(configuration.name): \(condition.code.rawValue)\(disk) is over after "
            + "\(max(1, nanoseconds / 1_000_000_000)) s")
      }
    }
  }

  var conditionStatus: [ConditionStatus] {
    conditions.entries.map { ConditionStatus($0.condition, since: $0.since) }
  }

  private var clockProblem: String? {
    let ahead = clock.aheadNanoseconds / 1_000_000_000
    if ahead >= 3 {
      return "the clock is \(ahead) s behind what was stamped or promised before: new writes are "
        + "stamped that much later than it shows, until it has caught up"
    }
    return clock.recentStepBack.map {
      "the clock went back by \($0.nanoseconds / 1_000_000_000) s: new writes are stamped "
        + "\(ahead) s later than it shows"
    }
  }

  // MARK: Journal

  private func journalConditions(_ peer: LinkMonitor.Snapshot?) -> [Condition] {
    var found: [Condition] = []
    if let loss { found.append(Condition(.writesLost, "\(loss)")) }
    if let reason = apply.failure {
      // Not what is tried again: nothing but the journal has what the record wrote.
      found.append(
        apply.isDamaged
          ? Condition(.journalDamaged, "apply is stopped: \(reason)")
          : Condition(.applyStopped, "apply is stopped, and tried again: \(reason)"))
    }
    if let reason = apply.slotFailure {
      let effect = writesWait ? "; writes wait" : ""
      found.append(
        Condition(
          .journalCannotGrow, "the journal cannot grow, and tries again\(effect): \(reason)"))
    }
    if let reason = indexUpkeep.failure {
      found.append(
        Condition(
          .indexUnwritten,
          "the index of the history cannot be written to files, stays in memory, and is tried "
            + "again: \(reason)"))
    }
    if writesWait {
      let reason = apply.failure ?? apply.slotFailure ?? whatRoomWaitsFor(peer)
      found.append(Condition(.writesWait, "the journal is full and writes wait: \(reason)"))
    }
    return found
  }

  private var storeConditions: [Condition] {
    disks.compactMap { disk in
      plain.present(disk.number).map { Condition(.storeFailing, disk: disk.name, $0) }
    }
  }

  private func whatRoomWaitsFor(_ peer: LinkMonitor.Snapshot?) -> String {
    guard let link, let peer, let journal, !link.isDetached,
      journal.watermarks[.peerDurable] < journal.applied.rawValue
    else { return "records are being applied to the disks" }
    let reason = peer.detail.isEmpty ? "" : ": \(peer.detail)"
    return "\(link.peerSite) has not received what is in it\(reason)"
  }

  // MARK: Link

  private func sendingConditions(
    _ link: LinkMonitor, _ peer: LinkMonitor.Snapshot
  ) -> [Condition] {
    var found: [Condition] = []
    if let divergence = peer.divergence { found.append(Condition(.diverged, divergence.text)) }
    if peer.state == .refused {
      found.append(Condition(.linkRefused, peer.detail))
    } else if peer.divergence == nil, let condition = linkCondition(link.peerSite, peer) {
      found.append(condition)
    }
    if !peer.repair.isEmpty { found.append(Condition(.recordsDamaged, peer.repair)) }
    // While it is copied, the journal keeps nothing for it, and need not.
    if link.isDetached, !link.debt.isActive {
      found.append(
        Condition(
          .peerMustBeCopied,
          "the journal was full: \(link.peerSite) will be copied anew when it is back"))
    }
    if let (disk, text) = peerTooSmall(peer) {
      found.append(Condition(.peerDiskTooSmall, disk: disk, text))
    }
    if let progress = peer.syncProgress {
      found.append(
        Condition(
          .copying,
          "a full copy to \(link.peerSite) is under way: \(Int(progress * 100)) % is sent"))
    }
    return found
  }

  /// By when things went well last, not by what the link does at this moment.
  private func linkCondition(_ site: String, _ peer: LinkMonitor.Snapshot) -> Condition? {
    #if MUTANTS
      if Mutant.trustSocket.isOn, peer.state == .connected { return nil }
    #endif
    let missing = journal.map {
      $0.appended.rawValue - min($0.appended.rawValue, $0.watermarks[.peerDurable])
    }
    let waits = missing.map { $0 == 0 ? "" : "; \($0) records wait here" } ?? ""
    switch peer.vitals.verdict(now: SystemClock.monotonicNanoseconds()) {
    case .away(let nanoseconds):
      let reason = peer.detail.isEmpty ? "no answer yet" : peer.detail
      return Condition(
        .linkDown,
        "\(site) has not been reached for \(Self.seconds(nanoseconds)): \(reason)\(waits)")
    case .stalled(let nanoseconds):
      return Condition(
        .linkStalled,
        "\(site) is connected and has acknowledged nothing for \(Self.seconds(nanoseconds))\(waits)"
      )
    case .unstable(let losses):
      return Condition(
        .linkUnstable,
        "the link to \(site) has broken \(losses) times within a minute: \(peer.detail)")
    case .well:
      let isTold = conditions.entries.contains { $0.condition.code == .rpoHigh }
      guard let marks = journal?.watermarks, let age = rpoSeconds(peer, marks),
        age > Self.highRPOSeconds / (isTold ? 2 : 1)
      else { return nil }
      return Condition(
        .rpoHigh, "the newest record that is durable at \(site) is \(Int(age)) s old\(waits)")
    }
  }

  private static var highRPOSeconds: Double { 60 }

  private static func seconds(_ nanoseconds: UInt64) -> String {
    "\(nanoseconds / 1_000_000_000) s"
  }

  private var receivingConditions: [Condition] {
    var found: [Condition] = []
    if let (disk, text) = ownTooSmall { found.append(Condition(.diskTooSmall, disk: disk, text)) }
    let isComplete = stateKeeper?.state.baseline == .complete
    if !isComplete {
      let text =
        receiving.receiver == nil
        ? "waiting for the protected site" : "the initial sync is under way"
      found.append(Condition(.copyIncomplete, text))
    } else if let divergence = receiving.divergence {
      found.append(Condition(.diverged, divergence))
      return found
    }
    if let condition = incomingCondition { found.append(condition) }
    return found
  }

  private var incomingCondition: Condition? {
    let peer = receiving.peerSite ?? configuration.peer?.site ?? "the protected site"
    let now = SystemClock.monotonicNanoseconds()
    if let receiver = receiving.receiver, receiver.isPaused {
      let age = now &- receiver.lastHeard
      guard receiver.waitsForRoom, age >= LinkVitals.awayNanoseconds else { return nil }
      return Condition(
        .linkWaitsForRoom,
        "the journal is full and what \(peer) sends has waited for \(Self.seconds(age)): "
          + (apply.failure ?? apply.slotFailure ?? "records are being applied to the disks"))
    }
    switch receiving.vitals.verdict(now: now) {
    case .away(let nanoseconds):
      return Condition(
        .linkDown,
        "\(peer) has not been connected for \(Self.seconds(nanoseconds)): nothing arrives")
    case .stalled(let nanoseconds):
      return Condition(
        .linkStalled, "\(peer) is connected and has sent nothing for \(Self.seconds(nanoseconds))")
    case .unstable(let losses):
      return Condition(
        .linkUnstable, "the link from \(peer) has broken \(losses) times within a minute")
    case .well: return nil
    }
  }
}
