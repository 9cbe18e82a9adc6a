import Appliance

/// `tapline failover`, `tapline commit` and `tapline rollback` for people: what happened, and what
/// to type next.
public enum FailoverText {
  /// Of a failover or its commit. Ends in a newline.
  public static func render(_ failover: FailoverStatus) -> String {
    let isPlanned = failover.state == "planned"
    var lines = ["failover of \(failover.group) at \(failover.instant): \(title(failover))"]
    if isPlanned {
      lines.append("  would be served here: " + failover.exports.joined(separator: ", "))
    } else {
      lines.append("  attach the machines here, to:")
      lines += failover.exports.map { "    \($0)" }
    }
    if let goingBack = failover.goesBack { lines += text(goingBack, isPlanned) }
    if failover.parkedRecords > 0 {
      lines.append("  \(parked(failover, isPlanned ? "would be parked" : "parked"))")
    }
    lines.append(
      "  lost at most: what \(failover.peer) acknowledged after \(failover.newestKnown)")
    if !failover.endedTests.isEmpty {
      lines.append(
        "  tests \(isPlanned ? "would end" : "have ended"): "
          + failover.endedTests.joined(separator: ", "))
    }
    lines.append("  \(owner(failover))")
    lines += next(failover).map { "  \($0)" }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Of a rollback. Ends in a newline.
  public static func render(rollback: FailoverStatus) -> String {
    let isPlanned = rollback.state == "planned"
    var lines = ["failover of \(rollback.group) at \(rollback.instant): \(title(rollback))"]
    lines.append(
      isPlanned
        ? "  \(rollback.peer) would be followed again from where that stopped, without a copy, and"
          + " clients here would be cut off"
        : "  \(rollback.peer) is followed again from where that stopped, without a copy")
    if rollback.parkedRecords == 0 {
      lines.append("  nothing was written here meanwhile")
    } else if rollback.parkedName == nil {
      lines.append(
        "  \(isPlanned ? "would be discarded" : "discarded"): \(amount(rollback)), written here")
    } else {
      lines.append("  \(parked(rollback, isPlanned ? "would be parked" : "parked"))")
    }
    if !rollback.endedTests.isEmpty {
      lines.append(
        "  tests \(isPlanned ? "would end" : "have ended"): "
          + rollback.endedTests.joined(separator: ", "))
    }
    lines.append(
      isPlanned
        ? "  next: the same without --dry-run"
        : "  next: attach the machines at \(rollback.peer)")
    return lines.joined(separator: "\n") + "\n"
  }

  /// Of a move. Ends in a newline.
  public static func render(_ move: MoveStatus) -> String {
    if move.state == "planned" {
      return "\(move.group) can be moved to \(move.to), which lacks "
        + "\(Quantity.count(move.lagRecords, "record")), \(Quantity.bytes(move.lagBytes)) now\n"
        + "  next: the same without --dry-run\n"
    }
    return "\(move.group) is at \(move.to) now; clients waited "
      + "\(Quantity.seconds(move.pauseSeconds)), and nothing is lost\n"
      + "  next: attach the machines at \(move.to); this site follows\n"
  }

  /// Of one that is pending, in the status of its group.
  static func summary(_ failover: FailoverStatus) -> String {
    var text = "to \(failover.instant), \(failover.state)"
    if let began = failover.began { text += " since \(began)" }
    if let time = failover.commitAt { text += ", committed by itself at \(time)" }
    if let name = failover.parkedName { text += "; parked as \(name): \(amount(failover))" }
    return text
  }

  /// What ends one that is pending.
  static func remedy(_ failover: FailoverStatus) -> String {
    "`tapline commit \(failover.group)` to stay here, or `tapline rollback \(failover.group)` to go"
      + " back to \(failover.peer)"
  }

  private static func title(_ failover: FailoverStatus) -> String {
    switch failover.state {
    case "planned": "planned, and nothing is done"
    case "rolled-back": "rolled back"
    default: "\(failover.state), term \(failover.term)"
    }
  }

  private static func amount(_ failover: FailoverStatus) -> String {
    "\(Quantity.count(failover.parkedRecords, "record")), \(Quantity.bytes(failover.parkedBytes)),"
      + " over \(Quantity.seconds(failover.parkedSeconds))"
  }

  private static func parked(_ failover: FailoverStatus, _ verb: String) -> String {
    guard let name = failover.parkedName else { return "\(verb): \(amount(failover))" }
    return "\(verb) as \(name): \(amount(failover)); opened as DISK@\(name)@latest"
  }

  private static func text(_ goingBack: FailoverStatus.GoingBack, _ isPlanned: Bool) -> [String] {
    var lines = [
      "  the disks were being brought in step: the site \(isPlanned ? "would go" : "has gone") "
        + "back to what it had before, \(goingBack.branch), "
        + "\(Quantity.seconds(goingBack.ageSeconds)) old",
      "  \(isPlanned ? "would be dropped" : "dropped"): "
        + "\(Quantity.count(goingBack.droppedRecords, "record")), "
        + "\(Quantity.bytes(goingBack.droppedBytes)), which have come since and are of no instant",
    ]
    if goingBack.restoredBytes > 0 {
      lines.append(
        "  \(isPlanned ? "would be put back" : "put back") on the disks: "
          + Quantity.bytes(goingBack.restoredBytes))
    }
    return lines
  }

  /// What becomes of the site that had the disks.
  private static func owner(_ failover: FailoverStatus) -> String {
    switch (failover.state, failover.peerConnected) {
    case ("planned", true): "\(failover.peer) is connected: it would refuse writes at once"
    case ("committed", true): "\(failover.peer) is connected: it follows by itself"
    case ("committed", false):
      "\(failover.peer) is not connected: it follows by itself once it is; until then see that its"
        + " machines stay off"
    case (_, true): "\(failover.peer) is connected: it refuses writes"
    case (_, false):
      "\(failover.peer) is not connected, and goes on serving if it lives: see that its machines"
        + " are off"
    }
  }

  private static func next(_ failover: FailoverStatus) -> [String] {
    switch failover.state {
    case "planned": return ["next: the same without --dry-run"]
    case "pending":
      var lines = ["next: \(remedy(failover))"]
      if let time = failover.commitAt { lines.append("it is committed by itself at \(time)") }
      return lines
    default:
      return failover.parkedName.map {
        ["next, when it is of no use any more: `tapline test stop \($0) --parked`"]
      } ?? []
    }
  }
}
