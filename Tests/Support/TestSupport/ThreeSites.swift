import Foundation

/// Three sites that may all own one group, with a cable between each two that can be cut. `east`
/// owns it at first.
public final class ThreeSites {
  /// What a site says of the group.
  public struct Saying {
    public let isOwning: Bool
    /// Why it refuses writes.
    public let fence: String?
    /// It has taken the group over, and that is not decided.
    public let isPending: Bool
    /// Of one that is pending.
    public let parked: String?
    public let term: Int
  }

  public let sites: [Site]
  /// By who connects, and to whom.
  private let cables: [[CutProxy?]]
  private let scratch: ScratchDirectory

  public var all: Range<Int> { sites.indices }

  public init(disks: [String], size: Int, adjust: (Site) -> Void = { _ in }) throws {
    let scratch = try ScratchDirectory()
    let sites = try ["east", "west", "south"].map { try Site($0, in: scratch) }
    let cables = try sites.map { from in
      try sites.map { to in from === to ? nil : try CutProxy(to: to.linkPort) }
    }
    for (number, site) in sites.enumerated() {
      for disk in disks {
        try site.addDisk(disk, size: size, role: number == 0 ? .protected : .recovery)
      }
      for (to, cable) in zip(sites, cables[number]) {
        guard let cable else { continue }
        site.configuration.groups[0].peers.append(
          "{ site: \(to.name), address: \"\(cable.address)\" }")
      }
      adjust(site)
    }
    (self.scratch, self.sites, self.cables) = (scratch, sites, cables)
    for site in sites { try site.start() }
    try eventually("both others have everything") { try haveAll(of: 0) }
  }

  deinit { for cable in cables.joined() { cable?.stop() } }

  public func setCut(_ one: Int, _ other: Int, _ isCut: Bool) {
    for cable in [cables[one][other], cables[other][one]] { isCut ? cable?.cut() : cable?.join() }
  }

  public func isCut(_ one: Int, _ other: Int) -> Bool { cables[one][other]?.isCut ?? false }

  public func command(_ site: Int, _ words: [String]) throws -> Finished {
    try sites[site].tapline(words + ["--control", sites[site].configuration.control])
  }

  public func begin(_ site: Int, _ words: [String]) throws -> ChildProcess {
    try ChildProcess(
      try TaplineBinary.path(), words + ["--control", sites[site].configuration.control])
  }

  public func group(_ site: Int) throws -> JSON {
    try TaplineContract.group("g", in: sites[site].status())
  }

  /// Nil: the group is not open just now.
  public func saying(_ site: Int) throws -> Saying? {
    let group = try group(site)
    guard group["closed"] == nil, let duty = group["duty"]?.string else { return nil }
    return Saying(
      isOwning: duty == "owning", fence: group["fenced"]?.string,
      isPending: group["failover"] != nil, parked: group["failover"]?["parked_name"]?.string,
      term: group["term"]?.integer ?? 0)
  }

  /// The names of what is parked at a site.
  public func parkedNames(_ site: Int) throws -> [String] {
    let list = try JSON(command(site, ["test", "list", "--json"]).checked().stdout)
    return list.elements.filter { $0["kind"]?.string == "parked" }.compactMap { $0["name"]?.string }
  }

  /// Both others have durably all that the owner has.
  public func haveAll(of owner: Int) throws -> Bool {
    let group = try group(owner)
    guard let stamped = group["watermarks"]?["stamped"]?.integer else { return false }
    let links = group["links"]?.elements ?? []
    return links.count == sites.count - 1
      && links.allSatisfy {
        $0["rpo_seconds"]?.number != nil && ($0["peer_durable"]?.integer ?? 0) >= stamped
      }
  }
}
