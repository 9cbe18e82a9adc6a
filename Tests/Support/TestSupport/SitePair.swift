import Foundation

/// Two sites that protect one another's copy of a group: `east` is protected, `west` recovers, and
/// a cable that can be cut lies between them.
public final class SitePair {
  public let scratch: ScratchDirectory
  public let east: Site
  public let west: Site
  public let cable: CutProxy
  /// For what `west` connects with, once it owns the group.
  public let wayBack: CutProxy

  /// - Parameters:
  ///   - disks: sizes by name; both sites get an empty file for each.
  ///   - start: whether both sites are started and the pair waits until the recovery site has what
  ///     the disks held; only from then on it has instants.
  ///   - adjust: changes the configurations before the start.
  public init(
    disks: KeyValuePairs<String, Int> = ["disk": 8 << 20], history: String = "1h",
    start: Bool = true, adjust: (_ east: Site, _ west: Site) throws -> Void = { _, _ in }
  ) throws {
    scratch = try ScratchDirectory()
    east = try Site("east", in: scratch)
    west = try Site("west", in: scratch)
    cable = try CutProxy(to: west.linkPort)
    wayBack = try CutProxy(to: east.linkPort)
    for (name, size) in disks {
      try east.addDisk(name, size: size, role: .protected)
      try west.addDisk(name, size: size, role: .recovery)
    }
    for index in east.configuration.groups.indices {
      east.configuration.groups[index].peer = (west.name, cable.address)
      west.configuration.groups[index].peer = (east.name, wayBack.address)
      west.configuration.groups[index].history = history
    }
    try adjust(east, west)
    if start { try self.start() }
  }

  /// With one disk. What a cut cable keeps back is soon dropped at east: its journal takes 16 MiB,
  /// and `west` has 64.
  public convenience init(droppingRecordsOf size: Int, history: String) throws {
    try self.init(disks: ["disk": size], history: history) { east, west in
      east.configuration.groups[0].onFull = "degrade"
      east.configuration.groups[0].journalCapacity = "16M"
      west.configuration.groups[0].journalCapacity = "64M"
      for site in [east, west] {
        site.configuration.groups[0].segmentSize = "1M"
        site.configuration.groups[0].checkpointEvery = "0s"
      }
    }
  }

  deinit {
    cable.stop()
    wayBack.stop()
  }

  /// Neither site hears of the other any more.
  public func separate() {
    cable.cut()
    wayBack.cut()
  }

  public func rejoin() {
    cable.join()
    wayBack.join()
  }

  /// Starts both sites and waits for the initial sync.
  public func start() throws {
    try west.start()
    try east.start()
    try drain()
  }

  /// Waits until the recovery site has made durable all that the protected site has acknowledged.
  /// Only meaningful while nobody writes.
  public func drain(group: String = "g", within limit: Duration = hangLimit) throws {
    try eventually("the recovery site has everything", within: limit) {
      try TaplineContract.isDrained(group: group, status: east.status())
    }
  }
}
