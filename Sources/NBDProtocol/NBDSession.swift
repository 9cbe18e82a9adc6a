/// Which headers the messages of the transmission phase have.
public enum NBDHeaderStyle: Sendable {
  /// Compact requests, simple replies.
  case simple
  /// Compact requests; what carries content or may fail in part is answered in chunks.
  case structured
  /// Requests and chunks with headers of 32 bytes and lengths of 64 bits.
  case extended
}

/// A metadata context that a client selected with SET_META_CONTEXT.
public struct NBDMetaContext: Equatable, Sendable {
  /// What BLOCK_STATUS replies call it; chosen by the server, unique among those selected.
  public let identifier: UInt32
  /// `NAMESPACE:LEAF`.
  public let name: String

  public init(identifier: UInt32, name: String) {
    self.identifier = identifier
    self.name = name
  }
}

/// What a handshake agreed on.
public struct NBDSession: Equatable, Sendable {
  public let export: NBDExport
  public let headers: NBDHeaderStyle
  /// Empty: BLOCK_STATUS is refused. In the order in which replies are sent.
  public let contexts: [NBDMetaContext]

  public init(
    export: NBDExport, headers: NBDHeaderStyle = .simple, contexts: [NBDMetaContext] = []
  ) {
    self.export = export
    self.headers = headers
    self.contexts = contexts
  }

  public var transmissionFlags: NBDTransmissionFlags {
    var flags = export.transmissionFlags
    if headers != .simple { flags.insert(.sendDF) }
    if headers == .extended, !contexts.isEmpty { flags.insert(.blockStatusPayload) }
    return flags
  }
}
