/// Why a text names no instant or no export. The description is one sentence without a full stop.
public enum InstantSyntaxError: Error, Equatable, Sendable, CustomStringConvertible {
  /// No instant where one must be.
  case empty
  /// Text of a form that is none of the four.
  case unrecognized(String)
  /// Looks like a date, but is not one of RFC 3339, or lies outside 1970 to 2554.
  case badTimestamp(String)
  /// `-` is not followed by a duration.
  case badDuration(UnitSyntaxError)
  /// A checkpoint tag that `CheckpointTag.isValid` refuses.
  case badTag(String)
  /// A disk name that `EntityName.isValid` refuses.
  case badDiskName(String)

  public var description: String {
    switch self {
    case .empty: "the instant is empty"
    case .unrecognized(let text):
      "\(text.quotedForMessage) is not an instant; write 2026-11-21T10:03:07.512Z, -90s, latest"
        + " or checkpoint:TAG"
    case .badTimestamp(let text):
      "\(text.quotedForMessage) is not an instant of RFC 3339 between 1970 and 2554,"
        + " such as 2026-11-21T10:03:07.512Z"
    case .badDuration(let error): "the duration after '-' is wrong: \(error)"
    case .badTag(let tag):
      "\(tag.quotedForMessage) is not a checkpoint tag: 1 to \(CheckpointTag.maximumBytes) bytes"
        + " without control characters"
    case .badDiskName(let name): "\(name.quotedForMessage) is not a disk name: \(EntityName.rule)"
    }
  }
}

/// How a person or an NBD client names an instant of a group's history. It becomes a cut through
/// the history only when a group resolves it.
public enum InstantExpression: Equatable, Hashable, Sendable, CustomStringConvertible {
  /// The newest instant there is: `latest`.
  case latest
  /// So long before the moment at which the expression is resolved: `-90s`, `-1h30m`.
  case ago(nanoseconds: UInt64)
  /// `2026-11-21T10:03:07.512Z`.
  case at(Timestamp)
  /// The newest checkpoint with this tag: `checkpoint:TAG`.
  case checkpoint(tag: String)

  private static let checkpointPrefix = "checkpoint:"

  public init(parsing text: String) throws(InstantSyntaxError) {
    guard let first = text.utf8.first else { throw .empty }
    if text.hasSameBytes(as: "latest") {
      self = .latest
    } else if first == UInt8(ascii: "-") {
      do {
        self = .ago(nanoseconds: try TimeSpan.parse(String(text.utf8.dropFirst()) ?? ""))
      } catch {
        throw .badDuration(error)
      }
    } else if text.utf8.starts(with: Self.checkpointPrefix.utf8) {
      let tag = String(text.utf8.dropFirst(Self.checkpointPrefix.utf8.count)) ?? ""
      guard CheckpointTag.isValid(tag) else { throw .badTag(tag) }
      self = .checkpoint(tag: tag)
    } else if TextScanner.isDigit(first) {
      guard let timestamp = Timestamp(rfc3339: text) else { throw .badTimestamp(text) }
      self = .at(timestamp)
    } else {
      throw .unrecognized(text)
    }
  }

  /// The text that `init(parsing:)` reads back.
  public var description: String {
    switch self {
    case .latest: "latest"
    case .ago(let nanoseconds): "-" + TimeSpan.format(nanoseconds)
    case .at(let timestamp): timestamp.description
    case .checkpoint(let tag): Self.checkpointPrefix + tag
    }
  }
}

/// The text that names a checkpoint.
public enum CheckpointTag {
  /// In UTF-8.
  public static let maximumBytes = 128

  /// 1 to `maximumBytes` bytes of UTF-8 without control characters.
  public static func isValid(_ tag: String) -> Bool {
    (1...maximumBytes).contains(tag.utf8.count)
      && tag.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
  }
}
