/// The rule for names of sites, groups and disks. It keeps them fit for file names, for export
/// names and for `NAME@INSTANT`.
public enum EntityName {
  public static let maximumBytes = 64

  /// The rule in words, for messages.
  public static let rule =
    "1 to \(maximumBytes) letters A-Z a-z, digits, '.', '_' or '-', the first a letter or digit"

  /// 1 to 64 bytes of `[A-Za-z0-9._-]`, the first of them a letter or a digit.
  public static func isValid(_ name: String) -> Bool {
    guard let first = name.utf8.first, name.utf8.count <= maximumBytes else { return false }
    return isAlphanumeric(first) && name.utf8.allSatisfy(isAllowed)
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    TextScanner.isDigit(byte) || TextScanner.isLetter(byte)
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    isAlphanumeric(byte) || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_")
      || byte == UInt8(ascii: "-")
  }
}

/// The rule for names of branches: such a name is never an instant.
public enum BranchName {
  /// The rule in words, for messages.
  public static let rule =
    "1 to \(EntityName.maximumBytes) letters A-Z a-z, digits, '.', '_' or '-', the first a letter, "
    + "and not 'latest'"

  public static func isValid(_ name: String) -> Bool {
    EntityName.isValid(name) && name.utf8.first.map(TextScanner.isLetter) == true
      && !name.hasSameBytes(as: "latest")
  }

  /// Of what a change of owner sets aside: `KIND-GROUP-TERM`, and from the second on `-NUMBER`.
  /// Of a long name of a group its beginning.
  public static func parked(
    _ kind: String, group: String, term: UInt64, number: Int = 1
  ) -> String {
    let end = "-\(term)" + (number == 1 ? "" : "-\(number)")
    let room = EntityName.maximumBytes - kind.utf8.count - 1 - end.utf8.count
    return "\(kind)-\(String(decoding: group.utf8.prefix(room), as: UTF8.self))\(end)"
  }
}

/// The name of an NBD export: `DISK` for the disk as it is, `DISK@INSTANT` for a read-only view,
/// `DISK@BRANCH` for what a branch of the disk's group has made of it, `DISK@BRANCH@INSTANT` for a
/// view of that.
public struct ExportName: Equatable, Hashable, Sendable, CustomStringConvertible {
  public var disk: String
  /// Nil for the disk, or the branch, as it is.
  public var instant: InstantExpression?
  /// Nil for the disk's group itself.
  public var branch: String?

  public init(disk: String, instant: InstantExpression? = nil) {
    self.disk = disk
    self.instant = instant
  }

  public init(disk: String, branch: String, instant: InstantExpression? = nil) {
    self.disk = disk
    self.branch = branch
    self.instant = instant
  }

  /// Splits at the first `@`, which a disk's name and a branch's cannot contain and a checkpoint's
  /// tag can, and at the next one behind the name of a branch. Whether
  /// the disk and the rest exist is not known here.
  public init(parsing text: String) throws(InstantSyntaxError) {
    let bytes = text.utf8
    let at = bytes.firstIndex(of: UInt8(ascii: "@"))
    disk = String(text[..<(at ?? bytes.endIndex)])
    guard EntityName.isValid(disk) else { throw .badDiskName(disk) }
    guard let at else { return }
    var rest = text[bytes.index(after: at)...]
    let next = rest.utf8.firstIndex(of: UInt8(ascii: "@")) ?? rest.endIndex
    let name = String(rest[..<next])
    if BranchName.isValid(name) {
      branch = name
      if next == rest.endIndex { return }
      rest = rest[bytes.index(after: next)...]
    }
    instant = try InstantExpression(parsing: String(rest))
  }

  /// What the site calls the disk that is meant: a branch's has both names.
  public var member: String { branch.map { "\(disk)@\($0)" } ?? disk }

  /// The text that `init(parsing:)` reads back.
  public var description: String {
    instant.map { "\(member)@\($0)" } ?? member
  }
}
