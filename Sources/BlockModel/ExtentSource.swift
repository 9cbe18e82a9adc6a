/// Where the newest bytes of an extent are: in a journal segment, or nowhere because they are zero.
///
/// One 64-bit word, because an extent map holds millions: the segment number in the high 32 bits,
/// the byte position in the segment file in the low 32. The two highest values mean zeros: one
/// keeps its space allocated, the other (a trim) lets the backing store free it.
public struct ExtentSource: Equatable, Hashable, Sendable {
  public var rawValue: UInt64

  @inline(__always) public init(rawValue: UInt64) { self.rawValue = rawValue }

  @inline(__always)
  public init(segment: UInt32, position: UInt32) {
    rawValue = UInt64(segment) << 32 | UInt64(position)
  }

  /// Zeros whose space stays allocated (WRITE_ZEROES).
  public static let zeros = ExtentSource(rawValue: .max)
  /// Zeros whose space may be freed (TRIM, or WRITE_ZEROES that allows a hole).
  public static let hole = ExtentSource(rawValue: .max - 1)

  /// The index that knows lies in a file, and what was asked of it is not in memory: whoever may
  /// wait for the disk must ask again. No map holds it.
  public static let unresolved = ExtentSource(rawValue: .max - 2)

  /// True for `zeros` and `hole`: the bytes read as zero.
  @inline(__always) public var isZeros: Bool { rawValue >= .max - 1 }
  @inline(__always) public var segment: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) }
  @inline(__always) public var position: UInt32 { UInt32(truncatingIfNeeded: rawValue) }

  /// The source of the bytes that begin `count` bytes later in the same extent.
  @inline(__always)
  public func advanced(by count: UInt64) -> ExtentSource {
    isZeros ? self : ExtentSource(rawValue: rawValue &+ count)
  }

  /// The source, or nil (read the base) when its segment is below `floor`, the oldest one that is
  /// still kept: the floor rule of merged indexes, which the journal's `IndexLevels` explains.
  @inline(__always)
  public func unlessBelow(segment floor: UInt32) -> ExtentSource? {
    rawValue < UInt64(floor) << 32 ? nil : self
  }
}

/// A range of a disk together with the source of its bytes.
public struct Extent: Equatable, Hashable, Sendable {
  public var start: UInt64
  public var length: UInt64
  public var source: ExtentSource

  @inline(__always)
  public init(start: UInt64, length: UInt64, source: ExtentSource) {
    self.start = start
    self.length = length
    self.source = source
  }

  @inline(__always) public var end: UInt64 { start &+ length }
  @inline(__always) public var range: ByteRange { ByteRange(start: start, length: length) }
}
