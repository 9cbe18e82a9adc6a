import BlockModel

// What a running site does with a configuration that was read again: part of it can be taken into
// use while clients go on, the rest differs until the site is started anew.

extension SiteConfiguration {
  /// This configuration with what a running site can take over from `new`: of disks that stay at
  /// their backing store, the size and the access rules; of listeners, the terms of TLS where there
  /// is TLS before and after. Whether a size is possible is not looked at.
  public func takingOver(from new: SiteConfiguration) -> SiteConfiguration {
    var result = takingOverSizes(from: new)
    result.changeDisks(as: new) { $0.accessRules = $1.accessRules }
    if hasSameListeners(as: new) {
      for (index, listener) in new.listen.nbd.enumerated()
      where listener.tls != nil && listen.nbd[index].tls != nil {
        result.listen.nbd[index].tls = listener.tls
      }
    }
    return result
  }

  /// As `takingOver`, but of the sizes alone.
  public func takingOverSizes(from new: SiteConfiguration) -> SiteConfiguration {
    var result = self
    result.changeDisks(as: new) { $0.sizeBytes = $1.sizeBytes }
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
    }
  }

  private func hasSameListeners(as other: SiteConfiguration) -> Bool {
    listen.nbd.map(\.address) == other.listen.nbd.map(\.address)
  }

  /// What `new` says otherwise, an item a line: `group shop: history: 1h -> 2h`. The order of
  /// groups means nothing.
  public func differences(to new: SiteConfiguration) -> [String] {
    var list = DifferenceList()
    list.add("site", site, new.site)
    list.add("data", dataDirectory, new.dataDirectory)
    list.add("listen.nbd", Self.text(listen.nbd), Self.text(new.listen.nbd))
    if hasSameListeners(as: new) {
      for (old, new) in zip(listen.nbd, new.listen.nbd) {
        list.add("listen.nbd \(old.address): tls", Self.text(old.tls), Self.text(new.tls))
      }
    }
    list.add("listen.link", listen.link?.description, new.listen.link?.description)
    list.add("listen.control", listen.control?.description, new.listen.control?.description)
    for group in groups {
      if let twin = new.groups.first(where: { $0.name == group.name }) {
        group.addDifferences(to: twin, &list)
      } else {
        list.lines.append("group \(group.name): removed")
      }
    }
    for group in new.groups where !groups.contains(where: { $0.name == group.name }) {
      list.lines.append("group \(group.name): new")
    }
    return list.lines
  }

  private static func text(_ listeners: [NBDListenerConfiguration]) -> String {
    listeners.map(\.address.description).joined(separator: ", ")
  }

  private static func text(_ tls: TLSConfiguration?) -> String {
    guard let tls else { return "off" }
    let mode = tls.isRequired ? "required" : "optional"
    switch tls.credentials {
    case .certificates(let folder, let verifies):
      return "\(mode), certificates \(folder)\(verifies ? "" : ", clients not verified")"
    case .preSharedKeys(let file): return "\(mode), keys \(file)"
    }
  }
}

extension GroupConfiguration {
  fileprivate func addDifferences(to new: GroupConfiguration, _ list: inout DifferenceList) {
    func add(_ key: String, _ old: String?, _ new: String?) {
      list.add("group \(name): \(key)", old, new)
    }
    add("role", role.rawValue, new.role.rawValue)
    add("peer.site", peer?.site, new.peer?.site)
    add("peer.address", peer?.address?.description, new.peer?.address?.description)
    add("mode", mode.rawValue, new.mode.rawValue)
    let spans: [(String, KeyPath<GroupConfiguration, UInt64>)] = [
      ("history", \.historyNanoseconds), ("apply_every", \.applyEveryNanoseconds),
      ("checkpoint_every", \.checkpointEveryNanoseconds),
    ]
    for (key, path) in spans {
      add(key, TimeSpan.format(self[keyPath: path]), TimeSpan.format(new[keyPath: path]))
    }
    let sizes: [(String, KeyPath<JournalConfiguration, UInt64>)] = [
      ("capacity", \.capacityBytes), ("segment_size", \.segmentSizeBytes),
    ]
    for (key, path) in sizes {
      add(
        "journal.\(key)", ByteCount.format(journal[keyPath: path]),
        ByteCount.format(new.journal[keyPath: path]))
    }
    add(
      "journal.view_scratch", journal.viewScratchBytes.map(ByteCount.format),
      new.journal.viewScratchBytes.map(ByteCount.format))
    add("journal.on_full", journal.onFull.rawValue, new.journal.onFull.rawValue)
    addDisks(new, &list)
  }

  private func addDisks(_ new: GroupConfiguration, _ list: inout DifferenceList) {
    func names(_ group: GroupConfiguration) -> String {
      group.disks.map(\.name).joined(separator: ", ")
    }
    list.add("group \(name): disks", names(self), names(new))
    for disk in disks {
      guard let twin = new.disks.first(where: { $0.name == disk.name }) else { continue }
      let item = "disk \(disk.name)"
      list.add(
        "\(item): size", disk.sizeBytes.map(ByteCount.format),
        twin.sizeBytes.map(ByteCount.format))
      list.add("\(item): backing", disk.backing.description, twin.backing.description)
      if disk.accessRules != twin.accessRules { list.lines.append("\(item): access") }
    }
  }
}

/// Lines about values that are not the same.
private struct DifferenceList {
  var lines: [String] = []

  /// Nil: not given.
  mutating func add(_ item: String, _ old: String?, _ new: String?) {
    if old != new { lines.append("\(item): \(old ?? "not given") -> \(new ?? "not given")") }
  }
}
