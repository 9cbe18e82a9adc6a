import SystemIO

/// Why a command to a running site failed.
public enum ControlError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Nobody answers at the address.
  case unreachable(String, Errno)
  /// The connection ended, or took too long, before the reply was there.
  case interrupted(String, Errno?)
  /// The reply is not one of this protocol.
  case badReply(String)
  /// The site refused; its own words, and a `SiteError.Refusal` where it gave one.
  case refused(String, code: String? = nil)
  /// The site refused, because its configuration file is wrong.
  case badConfiguration(String)

  public var description: String {
    switch self {
    case .unreachable(let address, let errno):
      "no site answers at \(address): \(errno); --control or --config names another"
    case .interrupted(let address, let errno):
      "the connection to \(address) ended before the reply: \(errno?.description ?? "closed")"
    case .badReply(let what): "the reply cannot be understood: \(what)"
    case .refused(let reason, _), .badConfiguration(let reason): reason
    }
  }
}

/// What `--json` prints of a command that was not done. Encoded as JSON with these keys.
public struct FailedCommand: Encodable, Sendable {
  public var error: String
  /// Of `SiteError.Refusal`; nil: there is none for it, or no site has answered.
  public var refusal: String?

  public init(_ error: ControlError) {
    self.error = "\(error)"
    if case .refused(_, let code) = error { refusal = code }
  }
}
