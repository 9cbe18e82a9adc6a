import BlockModel

/// How much NBD clients may take of a site.
public struct ClientLimits: Equatable, Sendable {
  /// Clients that have opened an export; one more is refused.
  public var connections: Int
  /// Of these, clients of one disk and its views.
  public var connectionsPerDisk: Int
  /// Requests of one client that have no reply yet. Beyond it, the client is left unread.
  public var requests: Int
  /// Bytes of replies to one client that are being made, or that it has not taken. Beyond it, the
  /// client is left unread; a request that began below it may go beyond.
  public var bytes: Int
  /// How long a client may take to open an export.
  public var handshakeNanoseconds: UInt64

  public init(
    connections: Int = ConfigurationDefaults.connections,
    connectionsPerDisk: Int = ConfigurationDefaults.connectionsPerDisk,
    requests: Int = ConfigurationDefaults.requests,
    bytes: Int = ConfigurationDefaults.replyBytes,
    handshakeNanoseconds: UInt64 = ConfigurationDefaults.handshakeNanoseconds
  ) {
    self.connections = connections
    self.connectionsPerDisk = connectionsPerDisk
    self.requests = requests
    self.bytes = bytes
    self.handshakeNanoseconds = handshakeNanoseconds
  }
}

extension ConfigurationField {
  func clientLimits() throws(ConfigurationError) -> ClientLimits {
    let mapping = try ConfigurationMapping(
      self, subject: "limits", keys: ClientLimits.keyNames)
    var limits = ClientLimits()
    if let field = mapping["connections"] {
      limits.connections = try field.count(in: ConfigurationLimits.connections)
    }
    if let field = mapping["connections_per_disk"] {
      limits.connectionsPerDisk = try field.count(in: ConfigurationLimits.connections)
    }
    if let field = mapping["requests"] {
      limits.requests = try field.count(in: ConfigurationLimits.requests)
    }
    if let field = mapping["bytes"] {
      limits.bytes = Int(try field.bytes(in: ConfigurationLimits.replyBytes))
    }
    if let field = mapping["handshake"] {
      limits.handshakeNanoseconds = try field.nanoseconds(
        in: ConfigurationLimits.handshakeNanoseconds)
    }
    return limits
  }

  private func count(in range: ClosedRange<Int>) throws(ConfigurationError) -> Int {
    let text = try text()
    guard let count = Int(text), range.contains(count) else {
      throw failure(
        "'\(key)' needs a number from \(range.lowerBound) to \(range.upperBound), not "
          + text.quotedForMessage)
    }
    return count
  }

  private func nanoseconds(
    in range: ClosedRange<UInt64>
  ) throws(ConfigurationError) -> UInt64 {
    let duration = try nanoseconds()
    guard range.contains(duration) else {
      throw failure(
        "'\(key)' must be between \(TimeSpan.format(range.lowerBound)) and "
          + "\(TimeSpan.format(range.upperBound)), not \(try text())")
    }
    return duration
  }
}
