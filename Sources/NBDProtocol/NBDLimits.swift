/// Every limit that the server puts on what a client sends.
///
/// The defaults accept what any client in the field sends; a test narrows them.
public struct NBDLimits: Equatable, Sendable {
  /// Longest string of the protocol, in bytes of UTF-8 (specification, "Conventions").
  public static let maximumStringBytes = 4096
  /// Most queries of one LIST_META_CONTEXT or SET_META_CONTEXT; more get `NBD_REP_ERR_TOO_BIG`.
  public static let maximumContextQueries = 64
  /// Most metadata contexts selected at one time; more get `NBD_REP_ERR_TOO_BIG`. Each may cost the
  /// server memory in proportion to what was written.
  public static let maximumContexts = 16
  /// Smallest addressable unit: requests need no alignment.
  public static let minimumBlockBytes: UInt32 = 1
  /// Requests aligned to this size are the cheapest to serve.
  public static let preferredBlockBytes: UInt32 = 4096

  /// Longest READ or WRITE, in bytes; told to clients that ask for block sizes. The specification
  /// asks servers to accept 32 MiB, and clients that do not ask assume it.
  public var maximumPayloadBytes: UInt32

  /// Longest payload of a refused WRITE that is read and thrown away so that the connection stays
  /// usable; a longer one ends the connection. At least `maximumPayloadBytes`.
  public var maximumDrainedPayloadBytes: UInt32

  /// Most option data kept in memory at once. A longer INFO or GO gets `NBD_REP_ERR_TOO_BIG`.
  public var maximumOptionDataBytes: UInt32

  /// Most option data skipped to refuse an option politely; more ends the connection.
  public var maximumSkippedOptionDataBytes: UInt32

  /// Options accepted in one handshake before LIST was answered; one more ends the connection.
  public var maximumOptionCount: Int

  /// Options accepted in addition for each export that LIST named, because tools that list a
  /// server ask for the details of every export on the same connection.
  public var optionCountPerListedExport: Int

  /// - Precondition: `maximumPayloadBytes` is at least `preferredBlockBytes` (the specification
  ///   forbids to advertise less) and at most `maximumDrainedPayloadBytes`.
  public init(
    maximumPayloadBytes: UInt32 = 32 << 20,
    maximumDrainedPayloadBytes: UInt32 = 64 << 20,
    maximumOptionDataBytes: UInt32 = 64 << 10,
    maximumSkippedOptionDataBytes: UInt32 = 32 << 20,
    maximumOptionCount: Int = 64,
    optionCountPerListedExport: Int = 8
  ) {
    precondition(maximumPayloadBytes >= Self.preferredBlockBytes)
    precondition(maximumDrainedPayloadBytes >= maximumPayloadBytes)
    self.maximumPayloadBytes = maximumPayloadBytes
    self.maximumDrainedPayloadBytes = maximumDrainedPayloadBytes
    self.maximumOptionDataBytes = maximumOptionDataBytes
    self.maximumSkippedOptionDataBytes = maximumSkippedOptionDataBytes
    self.maximumOptionCount = maximumOptionCount
    self.optionCountPerListedExport = optionCountPerListedExport
  }
}
