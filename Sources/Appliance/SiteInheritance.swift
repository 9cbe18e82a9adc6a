import Configuration
import Handover
import SystemIO

/// Files that another process had open, with their locks. Looked up by what they are, not by name.
struct InheritedFiles: Sendable {
  private let files: [File]

  init(_ files: [File] = []) { self.files = files }

  func file(at path: String) -> File? { files.first { $0.isFile(at: path) } }

  /// Throws unless each file is one of `paths`: with another one, something would be left behind.
  func check(areAmong paths: [String]) throws(SiteError) {
    for file in files where !paths.contains(where: file.isFile) {
      throw SiteError(
        "the running site uses \(file.path), which this configuration does not name; stop that "
          + "site and start this one instead")
    }
  }
}

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
