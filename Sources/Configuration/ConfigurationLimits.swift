import BlockModel

/// What a configuration means when it leaves something out.
public enum ConfigurationDefaults {
  public static let mode = ReplicationMode.async
  /// Apply a record as soon as possible.
  public static let historyNanoseconds: UInt64 = 0
  public static let applyEveryNanoseconds: UInt64 = 1_000_000_000
  public static let checkpointEveryNanoseconds: UInt64 = 5_000_000_000
  public static let journalCapacityBytes: UInt64 = 8 << 30
  public static let onFull = OnFull.degrade
  public static let segmentSizeBytes: UInt64 = 64 << 20
  public static let connections = 1024
  public static let connectionsPerDisk = 256
  public static let requests = 1024
  public static let replyBytes = 8 << 20
  public static let handshakeNanoseconds: UInt64 = 10_000_000_000
}

/// The bounds of what a configuration may say.
public enum ConfigurationLimits {
  /// A site's file has a few kilobytes; this bounds what the parser is fed.
  public static let fileBytes = 1 << 20
  /// Mappings and lists inside each other; the format needs five.
  public static let yamlDepth = 16
  /// Mappings, lists, keys and values together.
  public static let yamlNodes = 100_000

  public static let nbdListeners = 64
  /// With one for links and one for control.
  public static let listeners = nbdListeners + 2
  public static let groups = 1024
  public static let peers = 8
  public static let accessRules = 1024
  public static let connections = 1...65_536
  public static let requests = 1...65_536
  public static let replyBytes: ClosedRange<UInt64> = (1 << 20)...(1 << 30)
  public static let handshakeNanoseconds: ClosedRange<UInt64> = 100_000_000...3_600_000_000_000
  /// Disks are numbered with 16 bits in journal records; this is what one site is built for.
  public static let disksPerGroup = 256

  public static let segmentSizeBytes: ClosedRange<UInt64> = (64 << 10)...(1 << 30)
  /// One segment is written, one sealed, one applied and one recycled at the same time.
  public static let minimumSegments: UInt64 = 4
  public static let maximumSegments: UInt64 = 1 << 20
  /// Offsets of files are signed 64-bit numbers.
  public static let diskSizeBytes: ClosedRange<UInt64> = 1...UInt64(Int64.max)
  /// Ten years: the sum of an instant and a duration never overflows.
  public static let durationNanoseconds: UInt64 = 3650 * 86_400_000_000_000
  /// `sun_path` of `sockaddr_un` has 108 bytes, of which one ends the path.
  public static let unixPathBytes = 107
  /// `PATH_MAX` of Linux without the byte that ends the path.
  public static let pathBytes = 4095
}
