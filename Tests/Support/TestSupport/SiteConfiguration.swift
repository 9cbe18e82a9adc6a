/// The configuration file of a site, as far as tests vary it.
public struct SiteConfiguration: Sendable {
  public struct Disk: Sendable {
    public var name: String
    public var size: Int
    /// `file:PATH`, `nbd+unix:///EXPORT?socket=PATH`, …
    public var backing: String
    /// YAML of the `access` list.
    public var access: String?

    public init(name: String, size: Int, backing: String) {
      self.name = name
      self.size = size
      self.backing = backing
    }
  }

  public struct Group: Sendable {
    public enum Role: String, Sendable { case protected, recovery, plain }

    public var name: String
    public var role: Role
    public var peer: (site: String, address: String)?
    /// In place of `peer`: YAML of each.
    public var peers: [String] = []
    public var mode = "async"
    public var history = "0s"
    public var applyEvery = "200ms"
    public var checkpointEvery = "1s"
    public var journalCapacity = "256M"
    /// Small, so that a test of a few seconds fills several.
    public var segmentSize = "4M"
    public var onFull = "block"
    /// As much as the journal's capacity when nil.
    public var viewScratch: String?
    public var disks: [Disk]

    public init(name: String, role: Role, disks: [Disk]) {
      self.name = name
      self.role = role
      self.disks = disks
    }
  }

  public var site: String
  public var data: String
  /// Addresses, or YAML mappings that begin with `{`.
  public var nbd: [String]
  public var link: String
  public var control: String
  /// YAML of the mapping `links`. Most sites of tests are on one machine.
  public var links = "{ tls: off }"
  /// YAML of the mapping `limits`.
  public var limits: String?
  public var groups: [Group] = []

  public init(site: String, data: String, nbd: [String], link: String, control: String) {
    self.site = site
    self.data = data
    self.nbd = nbd
    self.link = link
    self.control = control
  }

  public var yaml: String {
    var lines = [
      "site: \(site)",
      "data: \(data)",
      "listen:",
      "  nbd: [\(nbd.map { $0.hasPrefix("{") ? $0 : "\"\($0)\"" }.joined(separator: ", "))]",
      "  link: \"\(link)\"",
      "  control: \"\(control)\"",
    ]
    lines.append("links: \(links)")
    if let limits { lines.append("limits: \(limits)") }
    lines.append("groups:")
    for group in groups { lines += group.yaml }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension SiteConfiguration.Group {
  fileprivate var yaml: [String] {
    var lines = ["  - name: \(name)", "    role: \(role.rawValue)"]
    if let peer { lines.append("    peer: { site: \(peer.site), address: \"\(peer.address)\" }") }
    if !peers.isEmpty { lines += ["    peers:"] + peers.map { "      - \($0)" } }
    lines += [
      "    mode: \(mode)",
      "    history: \(history)",
      "    apply_every: \(applyEvery)",
      "    checkpoint_every: \(checkpointEvery)",
      "    journal:",
      "      capacity: \(journalCapacity)",
      "      segment_size: \(segmentSize)",
      "      on_full: \(onFull)",
    ]
    if let viewScratch { lines.append("      view_scratch: \(viewScratch)") }
    lines.append("    disks:")
    return lines
      + disks.map { disk in
        let access = disk.access.map { ", access: \($0)" } ?? ""
        return "      - { name: \(disk.name), size: \(disk.size), "
          + "backing: \"\(disk.backing)\"\(access) }"
      }
  }
}
