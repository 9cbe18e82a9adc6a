import SystemIO

/// Why a hand-over does not happen: one sentence for the administrator.
public enum HandoverError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The other side said so, in its own words.
  case refused(String)
  /// The other side ended, or its connection did.
  case gone
  case timedOut
  /// It is not a message of this protocol, or comes at the wrong time.
  case protocolViolation(String)
  case system(Errno)

  public var description: String {
    switch self {
    case .refused(let reason): reason
    case .gone: "the other process has ended or closed the connection"
    case .timedOut: "the other process took too long"
    case .protocolViolation(let what): "the other process does not keep to the protocol: \(what)"
    case .system(let errno): "\(errno)"
    }
  }
}
