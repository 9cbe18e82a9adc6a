import SystemIO

/// Why a command to a running site failed.
public enum ControlError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Nobody answers at the address.
  case unreachable(String, Errno)
  /// The connection ended, or took too long, before the reply was there.
  case interrupted(String, Errno?)
  /// The reply is not one of this protocol.
  case badReply(String)
  /// The site refused; its own words.
  case refused(String)
  /// The site refused, because its configuration file is wrong.
  case badConfiguration(String)

  public var description: String {
    switch self {
    case .unreachable(let address, let errno):
      "no site answers at \(address): \(errno); --control or --config names another"
    case .interrupted(let address, let errno):
      "the connection to \(address) ended before the reply: \(errno?.description ?? "closed")"
    case .badReply(let what): "the reply cannot be understood: \(what)"
    case .refused(let reason), .badConfiguration(let reason): reason
    }
  }
}
