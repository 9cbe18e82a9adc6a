/// A half-open range of bytes of a disk: `start ..< end`.
///
/// A value of this type never wraps: `start + length` fits in 64 bits. Sizes and offsets of disks
/// are bytes everywhere in Tapline; sectors and blocks appear only where a format demands them.
public struct ByteRange: Equatable, Hashable, Sendable {
  public var start: UInt64
  public var length: UInt64

  /// - Precondition: `start + length` does not overflow. Values from outside go through
  ///   `init(validating:length:size:)`.
  @inline(__always)
  public init(start: UInt64, length: UInt64) {
    self.start = start
    self.length = length
  }

  @inline(__always)
  public init(start: UInt64, end: UInt64) {
    self.start = start
    self.length = end - start
  }

  /// Nil unless `start ..< start + length` lies inside a disk of `size` bytes.
  @inline(__always)
  public init?(validating start: UInt64, length: UInt64, size: UInt64) {
    let (end, overflow) = start.addingReportingOverflow(length)
    guard !overflow, end <= size else { return nil }
    self.start = start
    self.length = length
  }

  @inline(__always) public var end: UInt64 { start &+ length }
  @inline(__always) public var isEmpty: Bool { length == 0 }

  @inline(__always)
  public func overlaps(_ other: ByteRange) -> Bool {
    start < other.end && other.start < end
  }

  @inline(__always)
  public func contains(_ other: ByteRange) -> Bool {
    start <= other.start && other.end <= end
  }
}
