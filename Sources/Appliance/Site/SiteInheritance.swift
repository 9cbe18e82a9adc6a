import Configuration
import Handover
import SystemIO

/// What a process that takes another's place starts with.
public struct SiteInheritance: Sendable {
  let files: InheritedFiles
  let groups: [String: HandoverGroup]
  let connections: [(state: ConnectionState, socket: Socket)]

  public var connectionCount: Int { connections.count }

  public init(_ inventory: HandoverChannel.Taker.Inventory) {
    files = InheritedFiles(inventory.files.map(\.file))
    groups = Dictionary(inventory.groups.map { ($0.name, $0) }) { $1 }
    connections = inventory.connections
  }
}

extension SiteConfiguration {
  /// What a site with this configuration offers to another process, or would.
  public func handoverOffer(version: UInt16) -> HandoverOffer {
    HandoverOffer(
      version: version, program: Site.version, site: site,
      groups: groups.map { group in
        HandoverOffer.Group(
          name: group.name, role: group.role.rawValue,
          disks: group.disks.map { disk in
            switch disk.backing {
            case .file(let path): HandoverOffer.Disk(name: disk.name, backing: path)
            case .nbd(let uri): HandoverOffer.Disk(name: disk.name, backing: uri)
            }
          })
      })
  }

  /// Whether a process has any of the site's journals or disks. Blocks for a moment.
  public var isInUse: Bool {
    lockedPaths.contains { path in
      guard let file = try? File(opening: path, .readOnly) else { return false }
      return (try? file.tryLock()) == false
    }
  }

  /// The files of disks that have left their groups, and of which instants are left. What cannot be
  /// read says nothing here; the opening of its group will. Blocks.
  var pathsOfLeftDisks: [String] {
    groups.filter { $0.role != .plain }.flatMap { group -> [String] in
      let state = try? GroupOpening.presentState("\(dataDirectory)/\(group.name)")
      return (state?.disks ?? []).compactMap { disk -> String? in
        guard case .file(let path)? = try? BackingAddress(parsing: disk.backing) else { return nil }
        return path
      }
    }
  }

  /// The locks of the branches that groups have. Blocks.
  var pathsOfBranchLocks: [String] {
    groups.flatMap { branchFolders(of: $0).map(GroupOpening.lockPath) }
  }

  /// Those that are served when their groups are open, as they are configured. What cannot be read
  /// says nothing here; the opening of its group will. Blocks.
  var branches: [GroupConfiguration] {
    groups.flatMap { group in
      branchFolders(of: group).filter(BranchRecord.exists).compactMap { folder in
        guard let record = try? BranchRecord.read(from: folder, log: { _ in }),
          record.ending == nil
        else { return nil }
        return BranchOpening.configuration(of: record, in: group)
      }
    }
  }

  private func branchFolders(of group: GroupConfiguration) -> [String] {
    let parent = "\(dataDirectory)/\(group.name)/\(Branch.folderName)"
    // What is not there has no branches.
    guard Directory.exists(parent), let names = try? Directory.names(in: parent) else { return [] }
    return names.map { "\(parent)/\($0)" }
  }

  /// The files that a site with this configuration keeps open and locked.
  var lockedPaths: [String] {
    groups.flatMap { group in
      let files = group.disks.compactMap { disk in
        if case .file(let path) = disk.backing { path } else { nil }
      }
      if group.role == .plain { return files }
      return [GroupOpening.lockPath("\(dataDirectory)/\(group.name)")] + files
    }
  }
}
