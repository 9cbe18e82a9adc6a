import Analyzer
import Appliance

/// `tapline status` for people: a block for each group, then one with what the analyzer saw.
public enum StatusText {
  /// Ends in a newline.
  public static func render(_ status: SiteStatus) -> String {
    var lines = ["site \(status.site), tapline \(status.version), at \(status.now)"]
    lines += (status.listeners ?? []).map { listener in
      let tls = listener.tls.map { $0 == "off" ? "" : ", TLS \($0)" } ?? ""
      return "  \(listener.kind) at \(listener.address)\(tls)"
    }
    if status.groups.isEmpty { lines += ["", "no groups"] }
    for group in status.groups {
      lines.append("")
      lines += self.group(group)
    }
    let analysis = self.analysis(status.groups)
    if !analysis.isEmpty { lines += [""] + analysis }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func group(_ group: GroupStatus) -> [String] {
    var rows = [("role", role(group))] + ownership(group) + health(group)
    rows += [
      ("epoch", String(group.epoch)), ("watermarks", watermarks(group.watermarks)),
    ]
    let peer = group.watermarks
    if let marks = marks(peer.peerReceived, peer.peerDurable, peer.peerApplied) {
      rows.append(("at the peer", marks))
    }
    rows.append(("history", group.history.map(history) ?? "none"))
    if let journal = group.journal { rows.append(("journal", self.journal(journal))) }
    let several = (group.links ?? []).count > 1 ? group.links ?? [] : []
    for link in group.link.map({ [$0] }) ?? several {
      rows.append(("link", self.link(link)))
      if let marks = marks(link.peerReceived, link.peerDurable, link.peerApplied) {
        rows.append(("at \(link.peerSite)", marks))
      }
      rows.append(
        ("RPO", "\(link.rpoSeconds.map(Quantity.seconds) ?? "none yet"); \(lag(link))"))
      rows.append(("sent", sent(link)))
    }
    if let latency = group.writeLatency { rows.append(("write latency", self.latency(latency))) }
    let width = rows.map { $0.0.count }.max() ?? 0
    var lines = ["group \(group.name)"]
    lines += rows.map { name, text in
      "  \(name)\(String(repeating: " ", count: width - name.count))  \(text)"
    }
    return lines + disks(group.disks)
      + (group.removedDisks ?? []).map {
        "  disk \($0.name) has left at \($0.removed); earlier instants need \($0.backing)"
      }
      + (group.tests ?? []).map { "  test \($0.name) at \($0.instant)" }
  }

  /// What the group does here now: its duty, whatever it was configured as.
  private static func role(_ group: GroupStatus) -> String {
    let role =
      switch group.duty {
      case "owning": "protected"
      case "following": "recovery"
      default: group.role
      }
    return role + (group.term.map { ", term \($0)" } ?? "")
  }

  /// What is not settled about whose the group is.
  private static func ownership(_ group: GroupStatus) -> [(String, String)] {
    var rows: [(String, String)] = []
    if let reason = group.fenced { rows.append(("fenced", reason)) }
    if let failover = group.failover {
      rows.append(("failover", FailoverText.summary(failover)))
      rows.append(("", "to do: \(FailoverText.remedy(failover))"))
    }
    return rows
  }

  /// The conditions, worst first; what a site that has no list of them says.
  private static func health(_ group: GroupStatus) -> [(String, String)] {
    guard let conditions = group.conditions, let worst = conditions.first else {
      return [("health", group.health)]
    }
    var rows = [("health", group.health == "ok" ? "ok" : worst.severity)]
    for condition in conditions {
      rows.append(
        (condition.severity, "\(condition.code), since \(condition.since): \(condition.text)"))
      rows.append(("", "to do: \(condition.remedy)"))
    }
    return rows
  }

  private static func watermarks(_ marks: WatermarkStatus) -> String {
    "stamped \(marks.stamped), appended \(marks.appended), durable \(marks.durable),"
      + " applied \(marks.applied)"
  }

  private static func marks(
    _ received: UInt64?, _ durable: UInt64?, _ applied: UInt64?
  ) -> String? {
    let parts = [
      ("received", received), ("durable", durable), ("applied", applied),
    ].compactMap { name, value in value.map { "\(name) \($0)" } }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }

  private static func history(_ history: HistoryStatus) -> String {
    let saved = history.viewScratchBytes ?? 0
    return "\(history.start) to \(history.end) (\(Quantity.seconds(history.seconds))), "
      + "\(Quantity.count(history.checkpoints, "checkpoint")), "
      + "\(Quantity.count(history.openViews, "open view"))"
      + (saved == 0 ? "" : " with \(Quantity.bytes(saved)) saved")
  }

  private static func journal(_ journal: JournalStatus) -> String {
    let share =
      journal.capacityBytes == 0
      ? nil : Double(journal.usedBytes) / Double(journal.capacityBytes)
    var text =
      "\(Quantity.bytes(journal.usedBytes)) of \(Quantity.bytes(journal.capacityBytes))"
      + " (\(Quantity.percent(share))), \(Quantity.count(journal.segments, "segment"))"
    if let oldest = journal.oldestSegment, let newest = journal.newestSegment {
      text += " (\(oldest) to \(newest))"
    }
    if let memory = journal.indexMemoryBytes, let files = journal.indexFileBytes {
      text += ", index \(Quantity.bytes(memory))"
      if files > 0 { text += " and \(Quantity.bytes(files)) in files" }
    }
    return text
  }

  private static func link(_ link: LinkStatus) -> String {
    var text = "\(link.peerSite): \(link.state)"
    if let progress = link.syncProgress {
      text += ", initial sync \(Quantity.percent(progress)) done"
    }
    if link.reconnects > 0 { text += ", \(Quantity.count(link.reconnects, "reconnect"))" }
    if link.restoredRecords > 0 {
      text += ", \(Quantity.count(link.restoredRecords, "damaged record")) restored"
    }
    if !link.detail.isEmpty { text += "; \(link.detail)" }
    return text
  }

  private static func lag(_ link: LinkStatus) -> String {
    "lag \(Quantity.count(link.lagRecords, "record")), \(Quantity.bytes(link.lagBytes))"
  }

  private static func sent(_ link: LinkStatus) -> String {
    "\(Quantity.bytes(link.sentBytes)), \(Quantity.bytes(link.wireBytes)) on the wire"
  }

  private static func latency(_ latency: LatencyStatus) -> String {
    guard latency.count > 0 else { return "no writes in the last minute" }
    return "p50 \(Quantity.microseconds(latency.p50Microseconds)),"
      + " p99 \(Quantity.microseconds(latency.p99Microseconds)),"
      + " max \(Quantity.microseconds(latency.maxMicroseconds))"
      + " (\(Quantity.count(latency.count, "write")) in the last minute)"
  }

  private static func disks(_ disks: [DiskStatus]) -> [String] {
    guard !disks.isEmpty else { return [] }
    var table = TextTable([
      ("DISK", .left), ("SIZE", .right), ("CLIENTS", .right), ("BACKING", .left),
    ])
    for disk in disks {
      table.add([
        disk.name, Quantity.bytes(disk.sizeBytes), String(disk.connections), disk.backing,
      ])
    }
    return table.lines(indent: 2)
  }
}

/// The second block: one line a disk.
extension StatusText {
  /// The window that the summary shows, or the nearest longer one.
  private static let summarySeconds = 60

  private static func analysis(_ groups: [GroupStatus]) -> [String] {
    var table = TextTable([
      ("GROUP", .left), ("DISK", .left), ("WINDOW", .right), ("WRITES/S", .right),
      ("BYTES/S", .right), ("SEQUENTIAL", .right), ("OVERWRITE", .right), ("ENTROPY", .right),
      ("LZ4", .right), ("ZERO", .right), ("HOTTEST", .left),
    ])
    var hasRows = false
    var notes: [String] = []
    for group in groups {
      guard let analysis = group.analysis else { continue }
      for disk in analysis.disks {
        guard let row = row(group.name, disk) else { continue }
        table.add(row)
        hasRows = true
      }
      if analysis.skippedRequests > 0 {
        notes.append(
          "  \(group.name): \(Quantity.count(analysis.skippedRequests, "request")) skipped by the"
            + " analyzer")
      }
    }
    return hasRows ? ["analysis of writes"] + table.lines(indent: 2) + notes : []
  }

  private static func row(_ group: String, _ disk: DiskAnalysisSnapshot) -> [String]? {
    let windows = disk.windows
    guard
      let window = windows.first(where: { $0.windowSeconds >= summarySeconds }) ?? windows.last
    else { return nil }
    let hottest = disk.hottestRanges.first.map {
      "\(Quantity.bytes($0.startBytes)) + \(Quantity.bytes($0.lengthBytes))"
    }
    return [
      group, disk.name, "\(window.windowSeconds) s",
      Quantity.decimal(window.writesPerSecond, places: 1),
      Quantity.bytes(window.writtenBytesPerSecond),
      Quantity.percent(window.sequentialWriteShare), Quantity.percent(window.overwriteShare),
      window.entropyBitsPerByte.map { "\(Quantity.decimal($0, places: 2)) b/B" } ?? "-",
      Quantity.optional(window.lz4Ratio, places: 2), Quantity.percent(window.zeroByteShare),
      hottest ?? "-",
    ]
  }
}
