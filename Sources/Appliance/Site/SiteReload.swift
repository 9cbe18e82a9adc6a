import BlockModel
import Configuration
import Storage
import Synchronization
import SystemIO

/// What reading the configuration again came to. Encoded as JSON with these keys.
public struct ReloadStatus: Codable, Equatable, Sendable {
  public struct Growth: Codable, Equatable, Sendable {
    public var group: String
    public var disk: String
    public var fromBytes: UInt64
    public var toBytes: UInt64

    enum CodingKeys: String, CodingKey {
      case group, disk
      case fromBytes = "from_bytes"
      case toBytes = "to_bytes"
    }
  }

  /// The configuration's file, as it was named at the start.
  public var file: String
  /// Disks that are larger now.
  public var grown: [Growth]
  /// What else holds from now on, for clients that connect from now on; a line an item.
  public var applied: [String]
  /// What differs from what is in effect, and was left alone.
  public var needsRestart: [String]
  /// What the administrator should know or do.
  public var notes: [String]

  enum CodingKeys: String, CodingKey {
    case file, grown, applied, notes
    case needsRestart = "needs_restart"
  }
}

extension Site {
  /// A disk of this site that is to become larger.
  private struct Plan {
    let group: Group
    let growth: DiskGrowth
    let before: UInt64
  }

  /// Reads the configuration's file again and takes into use what can be while clients go on:
  /// greater sizes of disks, disks that come or leave, access rules, TLS credentials. Everything is
  /// checked before anything is changed. Blocks; one at a time; any thread but a loop.
  ///
  /// When it returns, the new sizes are durable, in the stores and in the groups' state files.
  ///
  /// - Throws: `ConfigurationError` when the file is wrong, else `SiteError`: as it says, nothing
  ///   was changed, or what was not.
  public func reload() throws -> ReloadStatus {
    do {
      let status = try turn.take { () throws(any Error) in
        // What is offered to the other process waits for the turn.
        if isHandingOver.load(ordering: .acquiring) {
          throw SiteError(
            "another process is taking this site's place: nothing was changed; run "
              + "'tapline reload' again")
        }
        return try reloadInTurn()
      }
      log("reload: \(status.file) was read again")
      for line in status.applied { log("reload: applied: \(line)") }
      for line in status.needsRestart { log("reload: needs a restart: \(line)") }
      for line in status.notes { log("reload: \(line)") }
      return status
    } catch {
      log("reload: \(error)")
      throw error
    }
  }

  private func reloadInTurn() throws -> ReloadStatus {
    let present = present.withLock { $0 }
    guard let file = present.origin?.file else {
      throw SiteError("the configuration of this site is not in a file")
    }
    let new: SiteConfiguration
    do throws(ConfigurationError) { new = try .load(path: file) } catch {
      var error = error
      error.reason += Self.nothingChanged
      throw error
    }
    var next = present.takingOver(from: new)
    let closed = closedGroups(in: new)
    for group in closed {
      if let index = next.groups.firstIndex(where: { $0.name == group.name }) {
        next.groups[index] = group
      }
    }
    let plans: [Plan]
    let terms: [ListenerTLS.Terms?]
    var disks: [DiskPlan] = []
    var notes: [String] = []
    do throws(SiteError) {
      for group in new.groups { try GroupOpening.checkMode(group) }
      plans = try planGrowth(next, new.origin)
      terms = try readCredentials(next)
      disks = try planDisks(&next, from: new, &notes)
      try extendStores(plans, new.origin)
    } catch {
      for plan in disks { plan.takeBack() }
      throw SiteError("\(error)" + Self.nothingChanged)
    }

    var status = ReloadStatus(
      file: file, grown: [], applied: present.takingOverSizes(from: next).differences(to: next),
      needsRestart: next.differences(to: new), notes: notes)
    let failures = applyGrowth(plans, &status)
    applyAccess(next)
    applyDisks(disks, &status)
    for (listener, terms) in zip(next.listen.nbd, terms) {
      guard let terms else { continue }
      tls[ListenerIdentity(.nbd, listener.address)]?.change(to: terms)
    }
    status.applied += next.listen.nbd.filter { $0.tls != nil }.map {
      "listen.nbd \($0.address): TLS credentials read again"
    }
    next.origin = new.origin
    self.present.withLock { $0 = next }
    for host in hosts {
      guard let group = next.groups.first(where: { $0.name == host.name }) else { continue }
      if host.group == nil, host.retry(with: group, new.origin) {
        status.applied.append("group \(host.name): tried again at once")
      } else {
        host.note(group, new.origin)
      }
    }
    if !failures.isEmpty {
      throw SiteError(failures.joined(separator: "; ") + ". Everything else was applied")
    }
    return status
  }

  /// What the file says of groups that are closed here: they are opened with all of it, but their
  /// names and roles stay.
  private func closedGroups(in new: SiteConfiguration) -> [GroupConfiguration] {
    new.groups.filter { group in
      guard let host = hosts.first(where: { $0.name == group.name }) else { return false }
      return host.group == nil && host.role == group.role
    }
  }

  private static var nothingChanged: String { "; nothing was changed" }

  // MARK: Sizes

  /// The disks that become larger, of those that the site has. Asks their stores.
  private func planGrowth(
    _ next: SiteConfiguration, _ origin: ConfigurationOrigin?
  ) throws(SiteError) -> [Plan] {
    var plans: [Plan] = []
    for configuration in next.groups {
      guard let group = groups.first(where: { $0.configuration.name == configuration.name })
      else { continue }
      for disk in group.disks {
        guard let wanted = configuration.disks.first(where: { $0.name == disk.name })
        else { continue }
        let before = disk.store.byteCount
        if wanted.sizeBytes == before { continue }
        let place = origin?.place(ofDisk: disk.name) ?? ""
        if let message = GroupOpening.shrinking(wanted, of: configuration, from: before) {
          throw SiteError(place + message)
        }
        let byteCount: UInt64
        do throws(StorageError) {
          byteCount = try disk.store.possibleByteCount(configured: wanted.sizeBytes)
        } catch {
          throw SiteError("\(place)group \(configuration.name), disk \(disk.name): \(error)")
        }
        guard byteCount >= before else {
          throw SiteError(
            "\(place)group \(configuration.name), disk \(disk.name): \(disk.store.description) has "
              + "become smaller than the disk, which has \(ByteCount.format(before)): restore it")
        }
        if byteCount > before {
          plans.append(
            Plan(group: group, growth: .init(disk: disk, byteCount: byteCount), before: before))
        }
      }
    }
    return plans
  }

  /// Makes the raw files longer, all of them or none.
  private func extendStores(
    _ plans: [Plan], _ origin: ConfigurationOrigin?
  ) throws(SiteError) {
    var done: [(DiskStore, DiskStore.Extension)] = []
    for plan in plans {
      let (disk, byteCount) = (plan.growth.disk, plan.growth.byteCount)
      do throws(StorageError) {
        done.append((disk.store, try disk.store.extend(to: byteCount)))
      } catch {
        let place = origin?.place(ofDisk: disk.name) ?? ""
        throw SiteError("\(place)disk \(disk.name): \(error)" + takeBack(done))
      }
    }
  }

  /// What must be added to the error for which the files become as short as they were: those that
  /// do not are refused by the next start.
  private func takeBack(_ done: [(DiskStore, DiskStore.Extension)]) -> String {
    var text = ""
    for (store, change) in done.reversed() {
      do throws(StorageError) { try store.takeBack(change) } catch {
        text += "; \(store.description) stays larger than its disk (\(error)): truncate it, or "
        text += "give the disk that size"
      }
    }
    return text
  }

  /// The state file first: a record that needs the new size must never be there without it. Returns
  /// what went wrong.
  private func applyGrowth(_ plans: [Plan], _ status: inout ReloadStatus) -> [String] {
    var failures: [String] = []
    for group in groups {
      let own = plans.filter { $0.group === group }
      if own.isEmpty { continue }
      let growths = own.map(\.growth)
      do throws(Errno) {
        try group.stateKeeper?.update { state in
          for growth in growths {
            let place = state.disks.firstIndex { $0.number == growth.disk.number }
            if let place { state.disks[place].byteCount = growth.byteCount }
          }
        }
      } catch {
        failures.append(
          "group \(group.configuration.name): writing the state file: \(error.withAdvice)")
        continue
      }
      let answer: String?? = ask(group.loop) { done in
        group.grow(growths)
        let notes = group.links.compactMap { group.tooSmall($0, $0.snapshot)?.text }
        done(notes.isEmpty ? nil : notes.joined(separator: "; "))
      }
      for growth in growths {
        group.analyzer?.grow(disk: growth.disk.number, to: growth.byteCount)
      }
      status.grown += own.map {
        .init(
          group: group.configuration.name, disk: $0.growth.disk.name, fromBytes: $0.before,
          toBytes: $0.growth.byteCount)
      }
      if let note = answer ?? "it does not answer now; its disks grow when it does" {
        status.notes.append("group \(group.configuration.name): \(note)")
      }
    }
    return failures
  }

  // MARK: Who may connect

  private func readCredentials(
    _ next: SiteConfiguration
  ) throws(SiteError) -> [ListenerTLS.Terms?] {
    var terms: [ListenerTLS.Terms?] = []
    for listener in next.listen.nbd {
      terms.append(
        try listener.tls.map { (tls) throws(SiteError) in
          try Self.prepare(tls, listener.address)
        })
    }
    return terms
  }

  private func applyAccess(_ next: SiteConfiguration) {
    for group in groups {
      guard let twin = next.groups.first(where: { $0.name == group.configuration.name })
      else { continue }
      group.takeOver(twin.disks)
    }
  }
}
