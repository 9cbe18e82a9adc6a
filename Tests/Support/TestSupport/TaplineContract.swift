import Foundation

/// What tests take for granted about the command line and the status of `tapline`: the one place
/// to change when it changes.
public enum TaplineContract {
  public static let readyLine = "ready"

  public static func site(_ configurationFile: String) -> [String] {
    ["site", "--config", configurationFile]
  }

  /// The word that makes a site take the place of the one that runs.
  public static let takeOver = "--take-over"

  public static func status(site: SiteConfiguration) -> [String] {
    ["status", "--json", "--control", site.control]
  }

  public static func checkpoint(group: String, tag: String, site: SiteConfiguration) -> [String] {
    ["checkpoint", group, "--tag", tag, "--control", site.control]
  }

  public static func timeline(group: String, site: SiteConfiguration) -> [String] {
    ["timeline", group, "--json", "--control", site.control]
  }

  public static func discardFollower(group: String, site: SiteConfiguration) -> [String] {
    ["sync", group, "--discard-follower", "--control", site.control]
  }

  public static func discardFollower(
    group: String, peer: String, site: SiteConfiguration
  ) -> [String] {
    discardFollower(group: group, site: site) + ["--peer", peer]
  }

  public static func reload(site: SiteConfiguration) -> [String] {
    ["reload", "--json", "--control", site.control]
  }

  public static func journal(_ verb: String, _ directory: String, _ rest: String...) -> [String] {
    ["journal", verb, directory] + rest
  }

  /// The directory with the journal of a group: the one below the site's data with segments in it
  /// and the group's name in its path.
  public static func journalDirectory(group: String, site: SiteConfiguration) throws -> String {
    let names = FileManager.default.enumerator(atPath: site.data)?.compactMap { $0 as? String }
    for name in names ?? [] {
      let parts = name.split(separator: "/")
      guard parts.last?.hasPrefix("segment-") == true, parts.dropLast().contains(Substring(group))
      else { continue }
      return "\(site.data)/\(parts.dropLast().joined(separator: "/"))"
    }
    throw RigError("no journal of \(group) below \(site.data): \(names ?? [])")
  }

  /// The number called `name` of a group in the output of `status --json`.
  public static func counter(_ name: String, group: String, status: JSON) throws -> Int {
    let found = try self.group(group, in: status)
    guard let value = found.first(name)?.integer else {
      throw RigError("status of \(group) has no number \(name): \(found)")
    }
    return value
  }

  /// The object of a group in the output of `status --json`.
  public static func group(_ name: String, in status: JSON) throws -> JSON {
    guard let groups = status.first("groups") else { throw RigError("no groups in \(status)") }
    if let group = groups[name] { return group }
    guard let group = groups.elements.first(where: { $0["name"]?.string == name }) else {
      throw RigError("no group \(name) in \(status)")
    }
    return group
  }

  /// Whether all that the protected site has stamped is durable at its peer and can be recovered
  /// there.
  public static func isDrained(group: String, status: JSON) throws -> Bool {
    let found = try self.group(group, in: status)
    // Without a number nothing can be recovered at the peer yet.
    guard found.first("rpo_seconds")?.number != nil,
      let durable = found.first("peer_durable")?.integer
    else { return false }
    return try durable >= counter("stamped", group: group, status: status)
  }
}
