import BlockModel

// What a running site does with a configuration that was read again: part of it can be taken into
// use while clients go on, the rest differs until the site is started anew.

extension SiteConfiguration {
  /// This configuration with what a running site can take over from `new`: what the tables of keys
  /// say, of disks that stay at their backing store and of listeners that stay at their address.
  /// Whether a size is possible is not looked at.
  public func takingOver(from new: SiteConfiguration) -> SiteConfiguration {
    var result = self
    result.changeDisks(as: new) { $0.takeOver(from: $1) }
    if hasSameListeners(as: new) {
      for (index, listener) in new.listen.nbd.enumerated() {
        result.listen.nbd[index].takeOver(from: listener)
      }
    }
    return result
  }

  /// The group has the disks that `new` says: those that it has already stay as they are here.
  public mutating func takeDisks(
    of group: String, from new: SiteConfiguration, isThere: (_ disk: String) -> Bool
  ) {
    guard let place = groups.firstIndex(where: { $0.name == group }),
      let twin = new.groups.first(where: { $0.name == group })
    else { return }
    let present = groups[place].disks
    groups[place].disks = twin.disks.map { disk in
      present.first { $0.name == disk.name && isThere(disk.name) } ?? disk
    }
  }

  /// As `takingOver`, but of the sizes alone.
  public func takingOverSizes(from new: SiteConfiguration) -> SiteConfiguration {
    var result = self
    result.changeDisks(as: new) { $0.takeOver(from: $1, only: "size") }
    return result
  }

  private mutating func changeDisks(
    as new: SiteConfiguration, _ change: (inout DiskConfiguration, DiskConfiguration) -> Void
  ) {
    for index in groups.indices {
      guard let other = new.groups.first(where: { $0.name == groups[index].name }) else { continue }
      for number in groups[index].disks.indices {
        let disk = groups[index].disks[number]
        let twin = other.disks.first { $0.name == disk.name && $0.backing == disk.backing }
        if let twin { change(&groups[index].disks[number], twin) }
      }
      groups[index].disks.arrange(as: other.disks.map(\.name))
    }
  }

  private func hasSameListeners(as other: SiteConfiguration) -> Bool {
    listen.nbd.map(\.address) == other.listen.nbd.map(\.address)
  }

  /// What `new` says otherwise, an item a line: `group shop: history: 1h -> 2h`. The order of
  /// groups means nothing.
  public func differences(to new: SiteConfiguration) -> [String] {
    var list = DifferenceList()
    list.compare(self, new, "")
    list.compare(listen, new.listen, "listen.")
    if hasSameListeners(as: new) {
      for (old, new) in zip(listen.nbd, new.listen.nbd) {
        list.compare(old, new, "listen.nbd \(old.address): ")
      }
    }
    list.compare(links, new.links, "links.")
    list.compare(limits, new.limits, "limits.")
    for group in groups {
      if let twin = new.groups.first(where: { $0.name == group.name }) {
        list.compareGroups(group, twin)
      } else {
        list.lines.append("group \(group.name): removed")
      }
    }
    for group in new.groups where !groups.contains(where: { $0.name == group.name }) {
      list.lines.append("group \(group.name): new")
    }
    return list.lines
  }
}

extension [DiskConfiguration] {
  /// - Parameter names: another order; if they are not those of the disks, this one stays.
  fileprivate mutating func arrange(as names: [String]) {
    let arranged = names.compactMap { name in first { $0.name == name } }
    if arranged.count == count, names.count == count { self = arranged }
  }
}

/// Lines about values that are not the same.
private struct DifferenceList {
  var lines: [String] = []

  mutating func compareGroups(_ old: GroupConfiguration, _ new: GroupConfiguration) {
    let item = "group \(old.name): "
    compare(old, new, item)
    if max(old.peers.count, new.peers.count) < 2 { compare(old.peer, new.peer, item + "peer.") }
    for peer in old.peers where max(old.peers.count, new.peers.count) > 1 {
      if let twin = new.peers.first(where: { $0.site == peer.site }) {
        compare(peer, twin, item + "peer \(peer.site): ")
      }
    }
    compare(old.journal, new.journal, item + "journal.")
    for disk in old.disks {
      if let twin = new.disks.first(where: { $0.name == disk.name }) {
        compare(disk, twin, "disk \(disk.name): ")
      }
    }
  }

  /// By the table of the section's keys. Nil: the section is not given.
  mutating func compare<Section: ConfigurationSection>(
    _ old: Section?, _ new: Section?, _ item: String
  ) {
    for key in Section.keys {
      guard let text = key.text else { continue }
      let (before, after) = (old.flatMap(text), new.flatMap(text))
      if before == after { continue }
      let values = "\(before ?? "not given") -> \(after ?? "not given")"
      lines.append(item + key.name + (key.hidesValues ? "" : ": \(values)"))
    }
  }
}
