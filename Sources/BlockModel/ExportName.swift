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
}

/// The name of an NBD export: `DISK` for the disk as it is, `DISK@INSTANT` for a read-only view,
/// `DISK@BRANCH` for what a branch of the disk's group has made of it.
public struct ExportName: Equatable, Hashable, Sendable, CustomStringConvertible {
  public var disk: String
  /// Nil for the disk itself, or a branch.
  public var instant: InstantExpression?
  /// Nil for the disk itself, or an instant of it.
  public var branch: String?

  public init(disk: String, instant: InstantExpression? = nil) {
    self.disk = disk
    self.instant = instant
  }

  public init(disk: String, branch: String) {
    self.disk = disk
    self.branch = branch
  }

  /// Splits at the first `@`, which a disk name cannot contain and a checkpoint tag can. Whether
  /// the disk and the rest exist is not known here.
  public init(parsing text: String) throws(InstantSyntaxError) {
    let bytes = text.utf8
    let at = bytes.firstIndex(of: UInt8(ascii: "@"))
    disk = String(text[..<(at ?? bytes.endIndex)])
    guard EntityName.isValid(disk) else { throw .badDiskName(disk) }
    guard let at else { return }
    let rest = String(text[bytes.index(after: at)...])
    if BranchName.isValid(rest) {
      branch = rest
    } else {
      instant = try InstantExpression(parsing: rest)
    }
  }

  /// The text that `init(parsing:)` reads back.
  public var description: String {
    if let branch { return "\(disk)@\(branch)" }
    return instant.map { "\(disk)@\($0)" } ?? disk
  }
}
