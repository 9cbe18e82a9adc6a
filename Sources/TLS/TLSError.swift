import COpenSSL

/// Why credentials cannot be used or a session failed; `description` is for the log.
public struct TLSError: Error, Sendable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }

  /// `doing`, with what OpenSSL has to say about it. Empties this thread's queue of errors.
  static func openSSL(_ doing: String) -> TLSError {
    var reasons: [String] = []
    while true {
      let code = ERR_get_error()
      if code == 0 { break }
      if let text = unsafe ERR_reason_error_string(code) {
        reasons.append(unsafe String(cString: text))
      }
    }
    return TLSError(reasons.isEmpty ? doing : "\(doing): \(reasons.joined(separator: ", "))")
  }
}
