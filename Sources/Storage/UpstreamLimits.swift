/// How much an upstream NBD server is asked for at once, and how long it is waited for.
public struct UpstreamLimits: Equatable, Sendable {
  /// Connections to a server that offers multi-conn; every other server gets one.
  public var connectionCount = 4
  /// Until the server has answered the handshake.
  public var connectTimeoutSeconds: UInt64 = 10
  /// Until one request has been answered; then the connection counts as broken.
  public var requestTimeoutSeconds: UInt64 = 120
  /// The same while the group that has the store ends.
  public var hurriedTimeoutSeconds: UInt64 = 10
  /// How often a request is sent again after its connection broke.
  public var requestRetries = 3
  /// Tries to make a broken connection again, for one request. With the delays below, about 5
  /// seconds when the server refuses at once.
  public var reconnectTries = 8
  public var firstReconnectDelayMilliseconds: UInt64 = 50
  public var lastReconnectDelayMilliseconds: UInt64 = 2000

  public init() {}

  /// The most payload of one request: what every server takes that names no limit (NBD protocol,
  /// "Block size constraints").
  static let requestBytes: UInt64 = 32 << 20
  /// The most that one WRITE_ZEROES or BLOCK_STATUS covers, so that a server that writes zeros
  /// itself answers well within the timeout.
  static let zeroBytes: UInt64 = 64 << 20
  static let statusBytes: UInt64 = 1 << 30
  /// The largest minimum block that the protocol allows a server to ask for.
  static let blockBytes: UInt64 = 64 << 10
  /// Small adjacent buffers are copied together up to this size: one round trip instead of many.
  static let gatherBytes: UInt64 = 1 << 20
}
