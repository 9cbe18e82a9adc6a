import BlockModel

/// What holds the bytes of a disk.
public enum BackingAddress: Hashable, Sendable, CustomStringConvertible {
  /// `file:PATH`: a raw file or a block device; which one is seen when it is opened.
  case file(path: String)
  /// An export of an NBD server, by the URI as it was written, for example
  /// `nbd+unix:///data?socket=/run/upstream.sock`. The NBD URI specification defines the form:
  /// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md
  case nbd(uri: String)

  /// What an NBD URI may start with.
  public static let nbdSchemes = [
    "nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock",
  ]

  public init(parsing text: String) throws(AddressSyntaxError) {
    if let path = text.dropping(prefix: "file:") {
      guard (1...ConfigurationLimits.pathBytes).contains(path.utf8.count), !path.utf8.contains(0)
      else {
        throw AddressSyntaxError(
          "\(text.quotedForMessage): the path has 1 to \(ConfigurationLimits.pathBytes) bytes")
      }
      self = .file(path: path)
      return
    }
    for scheme in Self.nbdSchemes {
      guard let rest = text.dropping(prefix: scheme + "://") else { continue }
      try Self.check(rest, scheme: scheme, of: text)
      self = .nbd(uri: text)
      return
    }
    throw AddressSyntaxError(
      "\(text.quotedForMessage) is not a backing store; write file:PATH or an NBD URI such as"
        + " nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=PATH")
  }

  /// The text that `init(parsing:)` reads back.
  public var description: String {
    switch self {
    case .file(let path): "file:\(path)"
    case .nbd(let uri): uri
    }
  }

  /// Finds early what would otherwise fail at the first connection: characters that no URI has,
  /// a missing host, a missing socket.
  private static func check(
    _ rest: String, scheme: String, of text: String
  ) throws(AddressSyntaxError) {
    guard text.utf8.count <= ConfigurationLimits.pathBytes,
      text.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
    else {
      throw AddressSyntaxError(
        "\(text.quotedForMessage): a URI has at most \(ConfigurationLimits.pathBytes) bytes, all"
          + " of them visible ASCII; write others as %XX")
    }
    let beforeQuery = rest.prefix { $0 != "?" && $0 != "#" }
    let authority = beforeQuery.prefix { $0 != "/" }
    if scheme.hasSuffix("+unix") {
      guard authority.isEmpty else {
        throw AddressSyntaxError(
          "\(text.quotedForMessage): write three slashes, as in \(scheme):///EXPORT?socket=PATH")
      }
      let query = rest.dropFirst(beforeQuery.count).drop { $0 == "?" }.prefix { $0 != "#" }
      let hasSocket = query.split(whereSeparator: { $0 == "&" || $0 == ";" }).contains {
        $0.hasPrefix("socket=") && $0.count > "socket=".count
      }
      guard hasSocket else {
        throw AddressSyntaxError("\(text.quotedForMessage) needs ?socket=PATH")
      }
    } else if authority.isEmpty {
      throw AddressSyntaxError("\(text.quotedForMessage) names no host")
    }
  }
}
