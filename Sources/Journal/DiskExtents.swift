import BlockModel

/// A range of one of a group's disks.
public struct DiskExtent: Hashable, Sendable {
  public var disk: DiskNumber
  public var range: ByteRange

  public init(_ disk: DiskNumber, _ range: ByteRange) {
    self.disk = disk
    self.range = range
  }

  public var start: DiskPosition { DiskPosition(disk, range.start) }
  public var end: DiskPosition { DiskPosition(disk, range.end) }
}

/// A byte of a group: disks by their numbers, then bytes by their offsets.
public struct DiskPosition: Hashable, Comparable, Sendable {
  public var disk: DiskNumber
  public var offset: UInt64

  public init(_ disk: DiskNumber, _ offset: UInt64) {
    self.disk = disk
    self.offset = offset
  }

  /// Nothing lies before it.
  public static let start = DiskPosition(DiskNumber(0), 0)

  public static func < (a: Self, b: Self) -> Bool {
    (a.disk.rawValue, a.offset) < (b.disk.rawValue, b.offset)
  }
}

/// Bytes of a group's disks, as ranges in ascending order that do not overlap. In memory, 24 bytes
/// each.
public struct DiskExtents: Equatable, Sendable {
  /// As many as are kept, sent and taken.
  public static let limit = 1 << 19

  public private(set) var extents: [DiskExtent]

  public init() { extents = [] }

  /// Nil unless they are in order, none is empty, none overlaps the next, and they are not more
  /// than `limit`.
  public init?(checking extents: [DiskExtent]) {
    self.init()
    for extent in extents { guard append(extent) else { return nil } }
  }

  fileprivate init(inOrder extents: [DiskExtent]) { self.extents = extents }

  /// All bytes of the disks.
  public init(whole disks: [JournalState.Disk]) {
    extents = disks.filter { $0.byteCount > 0 }.map {
      DiskExtent($0.number, ByteRange(start: 0, length: $0.byteCount))
    }.sorted { $0.start < $1.start }
  }

  public var isEmpty: Bool { extents.isEmpty }
  public var byteCount: UInt64 { extents.reduce(0) { $0 + $1.range.length } }

  /// False, and nothing is changed, unless it comes after all that are here, is not empty, and has
  /// its place among `limit`.
  public mutating func append(_ extent: DiskExtent) -> Bool {
    guard !extent.range.isEmpty, extents.count < Self.limit,
      extents.last.map({ $0.end <= extent.start }) ?? true
    else { return false }
    extents.append(extent)
    return true
  }

  /// What lies at `position` or behind it.
  public func rest(from position: DiskPosition) -> DiskExtents {
    let first = extents.firstIndexInOrder { $0.end > position }
    var rest = Array(extents[first...])
    if let extent = rest.first, extent.start < position {
      rest[0].range = ByteRange(start: position.offset, end: extent.range.end)
    }
    return DiskExtents(inOrder: rest)
  }

  /// What the others have not. May have more ranges than `limit`.
  public func subtracting(_ others: DiskExtents) -> DiskExtents {
    var result: [DiskExtent] = []
    var next = others.extents[...]
    for extent in extents {
      var left = extent
      next = next.drop { $0.end <= left.start }
      for other in next {
        if other.start >= left.end { break }
        if other.start > left.start {
          result.append(
            DiskExtent(left.disk, ByteRange(start: left.range.start, end: other.range.start)))
        }
        left.range = ByteRange(
          start: min(other.range.end, left.range.end), end: left.range.end)
        if left.range.isEmpty { break }
      }
      if !left.range.isEmpty { result.append(left) }
    }
    return DiskExtents(inOrder: result)
  }
}

/// Collects ranges in any order. Its memory is bounded by twice as many as it may have: when
/// they become too many, those with the least between them are joined, and what lies between is
/// taken along.
public struct DiskExtentCollector: Sendable {
  private static let leastGap: UInt64 = 4096

  private let limit: Int
  private var extents: [DiskExtent] = []
  /// Ranges with so much between them, or less, are joined.
  private var gap: UInt64 = 0

  public init(limit: Int = DiskExtents.limit) { self.limit = limit }

  /// Nothing is collected that was not added.
  public var isExact: Bool { gap == 0 }

  public mutating func add(_ extent: DiskExtent) {
    if extent.range.isEmpty { return }
    // Mostly one after the other.
    if let last = extents.last, last.disk == extent.disk, last.range.end == extent.range.start {
      extents[extents.count - 1].range.length += extent.range.length
      return
    }
    extents.append(extent)
    if extents.count >= 2 * limit { bound() }
  }

  /// What was added, and perhaps what lies between. Takes a time in proportion to it.
  public mutating func finish() -> DiskExtents {
    bound()
    return DiskExtents(inOrder: extents)
  }

  private mutating func bound() {
    extents.sort { $0.start < $1.start }
    join()
    while extents.count > limit {
      gap = max(Self.leastGap, gap * 2)
      join()
    }
  }

  /// - Precondition: in order of their starts.
  private mutating func join() {
    var count = 0
    for extent in extents {
      if count > 0, extents[count - 1].disk == extent.disk,
        extent.range.start <= extents[count - 1].range.end
          || extent.range.start - extents[count - 1].range.end <= gap
      {
        let last = extents[count - 1].range
        extents[count - 1].range = ByteRange(
          start: last.start, end: max(last.end, extent.range.end))
      } else {
        extents[count] = extent
        count += 1
      }
    }
    extents.removeLast(extents.count - count)
  }
}

extension WireEncoder {
  /// `DiskExtent.byteCount` bytes each, without their number.
  public mutating func put<Extents: Sequence<DiskExtent>>(extents: Extents) {
    for extent in extents {
      put(extent.disk.rawValue)
      put(extent.range.start)
      put(extent.range.length)
    }
  }

  public mutating func put(_ position: DiskPosition) {
    put(position.disk.rawValue)
    put(position.offset)
  }
}

extension DiskExtent {
  /// Encoded.
  public static let byteCount = 18
}

extension WireDecoder {
  /// Throws also when the range cannot be.
  public mutating func takeExtent() throws(Failure) -> DiskExtent {
    let disk = DiskNumber(try take())
    let (start, length) = (try take(UInt64.self), try take(UInt64.self))
    guard let range = ByteRange(validating: start, length: length, size: .max) else {
      throw .tooShort
    }
    return DiskExtent(disk, range)
  }

  public mutating func takePosition() throws(Failure) -> DiskPosition {
    DiskPosition(DiskNumber(try take()), try take())
  }
}
