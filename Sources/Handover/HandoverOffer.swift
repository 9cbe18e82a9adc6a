/// What a running site says of itself before anything is stopped: the answer to the control
/// command `hand-over`. Members may be added; their meaning changes only with the version.
public struct HandoverOffer: Codable, Equatable, Sendable {
  /// Of the messages that follow: the highest that both sides speak.
  public var version: UInt16
  /// Of the running program.
  public var program: String
  public var site: String
  public var groups: [Group]

  public struct Group: Codable, Equatable, Sendable {
    public var name: String
    public var role: String
    public var disks: [Disk]

    public init(name: String, role: String, disks: [Disk]) {
      self.name = name
      self.role = role
      self.disks = disks
    }
  }

  public struct Disk: Codable, Hashable, Sendable {
    public var name: String
    /// Path or URI.
    public var backing: String

    public init(name: String, backing: String) {
      self.name = name
      self.backing = backing
    }
  }

  public init(version: UInt16, program: String, site: String, groups: [Group]) {
    self.version = version
    self.program = program
    self.site = site
    self.groups = groups
  }

  /// The version to speak with a process that speaks `versions`; nil when there is none.
  public static func version(
    for versions: [UInt16], own: ClosedRange<UInt16> = HandoverLimits.versions
  ) -> UInt16? {
    versions.filter(own.contains).max()
  }

  /// Why a process that would offer `next` cannot take this one's place; nil when it can.
  ///
  /// The journals are handed over as they are, not applied to the disks. So a group that is here
  /// must be there, with the same role on the same disks; further groups may be there.
  public func obstacle(to next: HandoverOffer) -> String? {
    guard site == next.site else {
      return "site \(site) runs there, and the configuration is of site \(next.site)"
    }
    for group in groups {
      guard let other = next.groups.first(where: { $0.name == group.name }) else {
        return "the running site has group \(group.name), the configuration does not"
      }
      guard other.role == group.role else {
        return "group \(group.name) is \(group.role) now and \(other.role) in the configuration"
      }
      guard Set(other.disks) == Set(group.disks) else {
        return "the disks of group \(group.name) differ: \(Self.text(group.disks)) now, "
          + "\(Self.text(other.disks)) in the configuration"
      }
    }
    return nil
  }

  private static func text(_ disks: [Disk]) -> String {
    disks.map { "\($0.name) on \($0.backing)" }.joined(separator: ", ")
  }
}
