/// Position of a record in its group's order. The first record of a group is 1; 0 means "nothing".
public struct SequenceNumber: RawRepresentable, Comparable, Hashable, Sendable, Codable {
  public var rawValue: UInt64

  @inline(__always) public init(rawValue: UInt64) { self.rawValue = rawValue }
  @inline(__always) public init(_ value: UInt64) { rawValue = value }

  public static let none = SequenceNumber(0)
  /// No group comes this far: what a peer says beyond it is no record's number.
  public static let limit = SequenceNumber(1 << 62)

  @inline(__always)
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

  @inline(__always)
  public func advanced(by count: UInt64) -> SequenceNumber { SequenceNumber(rawValue &+ count) }

  /// The number of records in `start ..< self`.
  @inline(__always)
  public func distance(from start: SequenceNumber) -> UInt64 { rawValue &- start.rawValue }
}

/// An instant: nanoseconds since 1970-01-01T00:00:00Z, without leap seconds (as `CLOCK_REALTIME`).
///
/// Timestamps of records are strictly increasing in a group (a hybrid logical clock), so an instant
/// names one cut through the group's history.
public struct Timestamp: RawRepresentable, Comparable, Hashable, Sendable, Codable {
  public var rawValue: UInt64

  @inline(__always) public init(rawValue: UInt64) { self.rawValue = rawValue }
  @inline(__always) public init(nanoseconds: UInt64) { rawValue = nanoseconds }

  public static let zero = Timestamp(rawValue: 0)
  public static let distantFuture = Timestamp(rawValue: .max)

  @inline(__always) public var nanoseconds: UInt64 { rawValue }

  @inline(__always)
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

  /// Nanoseconds from `earlier` to this instant; 0 when `earlier` is later.
  public func nanoseconds(since earlier: Timestamp) -> UInt64 {
    rawValue > earlier.rawValue ? rawValue - earlier.rawValue : 0
  }
}

/// Number of a disk inside its group, in the order of the configuration. On the wire: 16 bits.
public struct DiskNumber: RawRepresentable, Hashable, Sendable, Codable {
  public var rawValue: UInt16
  @inline(__always) public init(rawValue: UInt16) { self.rawValue = rawValue }
  @inline(__always) public init(_ value: UInt16) { rawValue = value }
  @inline(__always) public var index: Int { Int(rawValue) }
}
