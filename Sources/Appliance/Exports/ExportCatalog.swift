import BlockModel
import Configuration

/// A group of the site as its exports see it: open, or closed for a reason. Any thread, loops too;
/// nothing of it blocks.
protocol ExportedGroup: Sendable {
  var name: String { get }
  /// Nil while it is closed.
  var group: Group? { get }
  /// Why it is closed, for people.
  var closedReason: String { get }
  /// What the group is opened with the next time.
  var configuration: GroupConfiguration { get }
  /// Its branches, as groups.
  var branchGroups: [any ExportedGroup] { get }
}

/// What a site exports, and who may open it. No protocol is in it: whoever serves clients asks
/// here, and says the answers in the words of its protocol. Any thread; nothing here blocks.
struct ExportCatalog: Sendable {
  /// An export that can be opened as its name stands.
  struct Listing: Equatable, Sendable {
    let name: String
    /// For people.
    let description: String
  }

  private enum Found {
    case open(Group, GroupDisk)
    /// With the rules of all disks of the group, or of the group whose branch it is.
    case closed([DiskConfiguration], reason: String)
  }

  private let groups: [any ExportedGroup]

  init(_ groups: [any ExportedGroup]) { self.groups = groups }

  /// Branches come and go.
  private var members: [any ExportedGroup] { groups.flatMap { [$0] + $0.branchGroups } }

  /// What the client can see, in the order of the configuration: nothing of closed groups.
  func listings(for client: ClientIdentity) -> [Listing] { listings(members, client) }

  private func listings(
    _ members: [any ExportedGroup], _ client: ClientIdentity
  ) -> [Listing] {
    members.compactMap(\.group).flatMap { group in
      group.disks.filter { group.access(to: $0, for: client) != .none }.map { disk in
        Listing(
          name: group.isLive ? disk.name : "\(disk.name)@latest",
          description: group.description(of: disk))
      }
    }
  }

  /// The export that the client may open under the name. Whether it has the instant is not known
  /// yet.
  ///
  /// - Parameter name: empty: the only export that the client can see.
  func find(_ name: String, for client: ClientIdentity) throws(ExportRefusal) -> Export {
    let text = canonical(name, for: client)
    let parsed: ExportName
    do throws(InstantSyntaxError) { parsed = try ExportName(parsing: text) } catch {
      throw .unknown("\(error)")
    }
    let (group, disk, access) = try permitted(parsed.member, client)
    if parsed.instant == nil, !group.isLive {
      let what = group.isParked ? "parked, to be read only" : "a recovery copy at this site"
      throw .notPermitted(
        "\(disk.name) is \(what); open \(disk.name)@latest or \(disk.name)@INSTANT")
    }
    if parsed.instant == nil, !group.isListed(disk.number) {
      throw .unknown(
        "disk \(disk.name) is not in group \(group.configuration.name) now; open "
          + "\(disk.name)@INSTANT for an instant at which it was")
    }
    return Export(
      name: text, group: group, disk: disk, instant: parsed.instant, access: access,
      client: client)
  }

  /// The disk of this name, of a group that is open.
  func openDisk(named name: String) -> (Group, GroupDisk)? {
    if case .open(let group, let disk)? = disk(named: name) { (group, disk) } else { nil }
  }

  private func canonical(_ name: String, for client: ClientIdentity) -> String {
    guard name.isEmpty else { return name }
    // Who has one disk opens it by no name whatever branches there are.
    let visible = listings(groups, client)
    return visible.count == 1 ? visible[0].name : name
  }

  /// Who may not open a disk is told what he is told of one that is not there.
  private func permitted(
    _ name: String, _ client: ClientIdentity
  ) throws(ExportRefusal) -> (Group, GroupDisk, DiskAccess) {
    let kind = name.contains("@") ? "branch" : "disk"
    let absent = "no \(kind) \(name.quotedForMessage) at this site"
    let access: DiskAccess
    switch disk(named: name) {
    case nil: throw .unknown(absent)
    case .open(let group, let disk)?:
      access = group.access(to: disk, for: client)
      if access != .none { return (group, disk, access) }
    case .closed(let rules, let reason)?:
      access = Self.access(to: name, rules, client)
      if access != .none { throw .unavailable(reason) }
    }
    throw .hidden(absent, remark: "\(client) may not open disk \(name)")
  }

  /// While its group, or branch, is closed.
  private static func access(
    to name: String, _ rules: [DiskConfiguration], _ client: ClientIdentity
  ) -> DiskAccess {
    let disk = name.prefix { $0 != "@" }
    if let rule = rules.first(where: { $0.name == disk }) { return rule.access(for: client) }
    // The disk has left, and a test still has it: see `Group.access`.
    return rules.allSatisfy { $0.access(for: client) != .none } ? .readOnly : .none
  }

  private func disk(named name: String) -> Found? {
    for parent in groups {
      for member in [parent] + parent.branchGroups {
        if let group = member.group {
          let found = group.diskTable.withLock { $0[named: name] }
          if let found { return .open(group, found) }
        } else if member.configuration.disks.contains(where: { $0.name == name }) {
          return .closed(
            parent.group?.accessRules.present ?? parent.configuration.disks,
            reason: "group \(member.name) is not open: \(member.closedReason)")
        }
      }
    }
    return nil
  }
}

extension Group {
  /// Its disks can be opened as they are; else only as they were.
  var isLive: Bool { duty != .following }
}
