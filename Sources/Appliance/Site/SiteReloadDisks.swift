import BlockModel
import Configuration
import Journal
import Storage
import SystemIO

/// Disks that a reload adds to groups that are open, or removes from them. Only of groups with a
/// journal: in a plain one nothing tells when a disk came.
struct DiskPlan {
  let group: Group
  /// Opened, and not in use yet.
  var added: [WaitingDisk] = []
  /// Of a following group: they had left the configuration and not the group.
  var returned: [GroupDisk] = []
  var removed: [String] = []
  /// Were there before, and stay.
  var kept: [String] = []

  /// Closes what was opened: nothing comes of it.
  func takeBack() { for disk in added { disk.close() } }
}

extension Site {
  /// Opens what comes. Nothing is in use when this throws. What must wait leaves `next`, with a
  /// note, so that another reload tries again.
  func planDisks(
    _ next: inout SiteConfiguration, from new: SiteConfiguration, _ notes: inout [String]
  ) throws(SiteError) -> [DiskPlan] {
    var plans: [DiskPlan] = []
    do throws(SiteError) {
      for group in groups where group.journal != nil {
        let place = next.groups.firstIndex { $0.name == group.configuration.name }
        guard let place, let state = group.stateKeeper?.state else { continue }
        next.takeDisks(of: group.configuration.name, from: new) { name in
          // One that has left may be another from now on.
          group.diskTable.withLock { $0.names.contains(name) }
        }
        plans.append(DiskPlan(group: group))
        let waits = try plan(
          &plans[plans.count - 1], next.groups[place], state, new.origin, &notes)
        next.groups[place].disks.removeAll { waits.contains($0.name) }
      }
      try OpenFiles.secure(next, branches: hosts.flatMap(\.branches).map(\.configuration))
    } catch {
      for plan in plans { plan.takeBack() }
      throw error
    }
    return plans
  }

  /// Returns the names of disks that must wait.
  private func plan(
    _ plan: inout DiskPlan, _ configuration: GroupConfiguration, _ state: JournalState,
    _ origin: ConfigurationOrigin?, _ notes: inout [String]
  ) throws(SiteError) -> [String] {
    let table = plan.group.diskTable.withLock { $0 }
    let known = table.names
    let names = configuration.disks.map(\.name)
    plan.removed = known.filter { !names.contains($0) }
    plan.kept = known.filter { names.contains($0) }
    var waits: [String] = []
    // Read after the table: what does not wait any more is noted there.
    var after = plan.group.stateKeeper?.state ?? state
    for disk in table.waiting {
      try GroupOpening.note(comingDisk: disk.name, disk.backing, in: &after)
    }
    for disk in configuration.disks {
      let noted = state.disk(named: disk.name)
      let member = noted.flatMap { table[$0.number] }
      if plan.group.duty == .owning, isLeaving(disk, member, table) {
        notes.append(Self.isLeaving(disk.name, configuration.name))
        waits.append(disk.name)
        plan.kept.removeAll { $0 == disk.name }
        continue
      }
      if known.contains(disk.name) { continue }
      if let member {
        if GroupOpening.isSame(disk.backing, as: member.backing) {
          plan.returned.append(member)
          continue
        }
        if state.needsBaseline {
          notes.append(
            "group \(configuration.name): the full copy of disk \(disk.name) goes to "
              + "\(member.backing): restart the site to have it on \(disk.backing)")
          waits.append(disk.name)
          continue
        }
        notes.append(
          GroupOpening.goesOn(
            disk.name, on: member.backing, beside: disk.backing, configuration))
      }
      switch try GroupOpening.standing(of: disk, in: state, configuration, origin) {
      case .needed(let text):
        notes.append("group \(configuration.name): \(text)")
        waits.append(disk.name)
        continue
      case .new: break
      }
      try GroupOpening.note(comingDisk: disk.name, disk.backing.description, in: &after)
      plan.added.append(
        WaitingDisk(
          name: disk.name, store: try GroupOpening.openStore(disk, of: configuration, origin),
          backing: disk.backing.description))
    }
    return waits
  }

  /// Of an owning group: a disk of that name is on its way out. Only the same one may stay, and
  /// only while its marker is not in the order.
  private func isLeaving(
    _ disk: DiskConfiguration, _ member: GroupDisk?, _ table: DiskTable
  ) -> Bool {
    let listed = table.listed.first { $0.name == disk.name }?.backing
    guard let own = listed ?? table.waiting.first(where: { $0.name == disk.name })?.backing else {
      return member != nil
    }
    return !GroupOpening.isSame(disk.backing, as: own)
  }

  private static func isLeaving(_ disk: String, _ group: String) -> String {
    "group \(group): disk \(disk) is leaving it already: to add it again, run 'tapline reload' "
      + "once more when it has left"
  }

  /// Everything is checked. Waits a moment for all that comes and leaves at owners; it goes on by
  /// itself when that is not enough.
  func applyDisks(_ plans: [DiskPlan], _ status: inout ReloadStatus) {
    var wishes: [(group: Group, wish: DiskChanges.Wish)] = []
    for plan in plans {
      let group = plan.group
      guard isOpen(group) else {
        plan.takeBack()
        status.notes.append(Self.hasFailed(group))
        continue
      }
      for disk in plan.added { group.diskTable.withLock { $0.wait(for: disk) } }
      if group.duty == .owning {
        keep(plan.kept, of: group, &status)
        wishes += plan.removed.map { (group, .init(event: .removed, name: $0)) }
        wishes += plan.added.map { (group, .init(event: .added, name: $0.name, disk: $0)) }
      } else {
        follow(plan, &status)
      }
    }
    apply(wishes, &status)
  }

  /// Not for long: it may have failed since it was asked for, and then another opening follows.
  private func isOpen(_ group: Group) -> Bool { groups.contains { $0 === group } }

  private static func hasFailed(_ group: Group) -> String {
    "group \(group.configuration.name): it has failed meanwhile: run 'tapline reload' once more "
      + "when it is open again"
  }

  /// Disks that an earlier reload was to remove, and that are in the configuration again.
  private func keep(_ names: [String], of group: Group, _ status: inout ReloadStatus) {
    let leaving = ask(group.loop) { done in done(group.keepDisks(names)) }
    for name in leaving ?? [] {
      status.notes.append(Self.isLeaving(name, group.configuration.name))
    }
  }

  private func apply(
    _ wishes: [(group: Group, wish: DiskChanges.Wish)], _ status: inout ReloadStatus
  ) {
    let done = Monitor<Set<Int>>([])
    for (place, (group, wish)) in wishes.enumerated() {
      var wish = wish
      wish.done = { done.update { _ = $0.insert(place) } }
      group.loop.post { [wish] in group.change(wish) }
    }
    let limit = UInt64(Self.questionTimeoutMilliseconds)
    let ended = done.wait(milliseconds: limit) { done, isLate in
      isLate || done.count == wishes.count ? done : nil
    }
    for (place, (group, wish)) in wishes.enumerated() where ended?.contains(place) != true {
      status.notes.append(
        isOpen(group)
          ? "group \(group.configuration.name): disk \(wish.name) is not \(wish.event) yet; that "
            + "goes on by itself when the journal has room and the storage answers"
          : Self.hasFailed(group))
    }
  }

  /// A follower's disks come and leave when the owner's do.
  private func follow(_ plan: DiskPlan, _ status: inout ReloadStatus) {
    let (group, names) = (plan.group, plan.group.configuredNames)
    growWaiting(group, &status)
    for disk in plan.returned { group.diskTable.withLock { $0.list(disk, in: names) } }
    for name in plan.removed {
      if let disk = group.diskTable.withLock({ $0.takeWaiting(named: name) }) {
        disk.close()
        continue
      }
      guard let disk = group.disks.first(where: { $0.name == name }) else { continue }
      group.diskTable.withLock { $0.unlist(disk.number) }
      status.notes.append(
        "group \(group.configuration.name): disk \(name) stays until it has left the group at "
          + "its owner, and as long as instants need it: keep \(disk.backing)")
    }
  }

  /// A disk that waits may have been too small for its marker. No state file names its size yet.
  private func growWaiting(_ group: Group, _ status: inout ReloadStatus) {
    let configured = group.accessRules.present
    for disk in group.diskTable.withLock({ $0.waiting }) {
      guard let wanted = configured.first(where: { $0.name == disk.name }) else { continue }
      let before = disk.store.byteCount
      do throws(StorageError) {
        let byteCount = try disk.store.possibleByteCount(configured: wanted.sizeBytes)
        guard byteCount > before else { continue }
        _ = try disk.store.extend(to: byteCount)
        disk.store.adopt(byteCount: byteCount)
        status.grown.append(
          .init(
            group: group.configuration.name, disk: disk.name, fromBytes: before, toBytes: byteCount)
        )
      } catch {
        status.notes.append(
          "group \(group.configuration.name): disk \(disk.name) does not become larger: \(error)")
      }
    }
  }
}
