import SystemIO

/// Why a connection of a client has ended.
enum ClientError: Error, CustomStringConvertible {
  /// Broken, closed, or without an answer for too long: what may happen.
  case lost(String)
  /// The server does not open the export: its words.
  case refused(String)
  /// The server does not keep to the protocol.
  case wrong(String)

  var description: String {
    switch self {
    case .lost(let why): "lost: \(why)"
    case .refused(let why): "refused: \(why)"
    case .wrong(let why): "wrong: \(why)"
    }
  }
}
