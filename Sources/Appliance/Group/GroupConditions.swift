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
    var found = journalConditions + storeConditions
    let now = SystemClock.monotonicNanoseconds()
    if let condition = setback?.condition(now: now, durable: journal?.durable ?? .none) {
      #if MUTANTS
        if Mutant.forgetSetback.isOn { return found }
      #endif
      found.append(condition)
    }
    found += forkConditions
    if duty == .owning, let text = clockProblem {
      found.append(Condition(.clockStepped, text))
    }
    if duty == .owning, let (disk, text) = contentsText {
      found.append(Condition(.diskComing, disk: disk, text))
    }
    if let (disk, text) = diskChanges.waitText(now: loop.monotonicNow) {
      found.append(Condition(.diskWaits, disk: disk, text))
    }
    let ended = branches.listed.map(\.record).compactMap { record in
      record.ending.map { "\(record.title) has ended: \($0)" }
    }
    if !ended.isEmpty { found.append(Condition(.testEnded, ended.joined(separator: "; "))) }
    if let exposure, branch == nil { found.append(Condition(.linkInTheClear, exposure)) }
    for index in links.indices { found += sendingConditions(index) }
    if duty == .following, !isParked { found += receivingConditions }
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
        let peer = links.count > 1 ? condition.peer.map { " with \($0)" } ?? "" : ""
        log(
          "group \(configuration.name): \(condition.code.rawValue)\(disk)\(peer) is over after "
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

  private var journalConditions: [Condition] {
    var found: [Condition] = []
    if let loss { found.append(Condition(.writesLost, "\(loss)")) }
    if let failure = apply.failure {
      // Not what is tried again: nothing but the journal has what the record wrote.
      found.append(
        failure.isDamage
          ? Condition(.journalDamaged, "apply is stopped: \(failure.text)")
          : Condition(.applyStopped, "apply is stopped, and tried again: \(failure.text)"))
    }
    if let reason = room.fileFailure {
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
      let reason = apply.failure?.text ?? room.fileFailure ?? whatRoomWaitsFor
      found.append(Condition(.writesWait, "the journal is full and writes wait: \(reason)"))
    }
    return found
  }

  private var storeConditions: [Condition] {
    disks.compactMap { disk in
      plain.present(disk.number).map { Condition(.storeFailing, disk: disk.name, $0) }
    }
  }

  // MARK: Receiving

  private var receivingConditions: [Condition] {
    var found: [Condition] = []
    if let (disk, text) = ownTooSmall { found.append(Condition(.diskTooSmall, disk: disk, text)) }
    if let (disk, text) = missingDisk { found.append(Condition(.diskMissing, disk: disk, text)) }
    let isComplete = stateKeeper?.state.baseline == .complete
    if let text = reconcilingText {
      found.append(Condition(.copyIncomplete, text))
      if let divergence = receiving.divergence {
        found.append(Condition(.diverged, divergence))
        return found
      }
    } else if !isComplete {
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
          + (apply.failure?.text ?? room.fileFailure ?? "records are being applied to the disks"))
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
