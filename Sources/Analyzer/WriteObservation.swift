public import BlockModel

/// What the analyzer is told about one request that changed a disk: 32 bytes, no payload.
///
/// The payload stays where the journal put it; `source` says where, so that the analyzer can read
/// the few payloads it samples.
public struct WriteObservation: Equatable, Sendable {
  public enum Kind: UInt8, Sendable {
    case write
    /// WRITE_ZEROES: carries no payload.
    case zero
    case trim
  }

  /// The instant the group stamped on the record.
  public var timestamp: Timestamp
  /// First byte of the disk that the request covers.
  public var offset: UInt64
  /// Where the payload is; `.zeros` for kinds without one.
  public var source: ExtentSource
  /// Bytes covered.
  public var length: UInt32
  public var disk: DiskNumber
  public var kind: Kind

  @inline(__always)
  public init(
    timestamp: Timestamp, offset: UInt64, source: ExtentSource, length: UInt32, disk: DiskNumber,
    kind: Kind
  ) {
    self.timestamp = timestamp
    self.offset = offset
    self.source = source
    self.length = length
    self.disk = disk
    self.kind = kind
  }
}
