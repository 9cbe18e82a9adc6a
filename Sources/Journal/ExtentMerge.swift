import BlockModel
import SystemIO

/// Walks through the extents of one map in ascending order. One thread.
struct ExtentCursor {
  private enum Source {
    case map(SealedExtentMap)
    case file(FiledIndex.FiledExtents)
  }

  private let source: Source
  private var next = 0
  fileprivate private(set) var current: Extent?

  init(_ map: SealedExtentMap, from offset: UInt64) {
    source = .map(map)
    let first = map.firstIndex(endingAfter: offset)
    current = first < map.count ? map[first] : nil
    next = first + 1
  }

  init(_ extents: FiledIndex.FiledExtents) throws(Errno) {
    source = .file(extents)
    current = try extents.read()
  }

  fileprivate mutating func advance() throws(Errno) {
    switch source {
    case .map(let map):
      current = next < map.count ? map[next] : nil
      next += 1
    case .file(let extents): current = try extents.read()
    }
  }
}

/// What several maps of one disk come to, extent by extent in ascending order: where they overlap,
/// the newest wins. Needs memory for the reading ahead of each file, and not for the result.
public struct ExtentMerge {
  private var newestFirst: [ExtentCursor]
  private let oldestFirst: [Generation]
  private let disk: DiskNumber
  /// All before it was taken.
  private var position: UInt64 = 0
  /// Taken, and not given.
  private var pending: Extent?

  /// Of generations that follow each other, from the byte at `offset` on. Blocks.
  public init(
    _ oldestFirst: [Generation], disk: DiskNumber, from offset: UInt64 = 0
  ) throws(JournalError) {
    self.oldestFirst = oldestFirst
    self.disk = disk
    newestFirst = try Self.cursors(oldestFirst, disk, from: offset)
    position = offset
  }

  private static func cursors(
    _ oldestFirst: [Generation], _ disk: DiskNumber, from offset: UInt64
  ) throws(JournalError) -> [ExtentCursor] {
    var cursors: [ExtentCursor] = []
    for generation in oldestFirst.reversed() {
      cursors += try generation.cursors(disk: disk, from: offset)
    }
    return cursors
  }

  /// Nil behind the last. Blocks. Where a file cannot be read, goes on in what it was made of.
  /// Adjacent zeros of one kind are one extent, as in a map.
  public mutating func next() throws(JournalError) -> Extent? {
    var first = pending
    if first == nil { first = try take() }
    guard var extent = first else { return nil }
    pending = nil
    while extent.source.isZeros, let following = try take() {
      guard following.start == extent.end, following.source == extent.source else {
        pending = following
        break
      }
      extent.length += following.length
    }
    return extent
  }

  private mutating func take() throws(JournalError) -> Extent? {
    while true {
      do throws(Errno) { return try nextExtent() } catch {
        guard FiledIndex.isOfFile(error) else {
          throw .storage(error, doing: "reading an index file")
        }
        // That file is not used again.
        newestFirst = try Self.cursors(oldestFirst, disk, from: position)
      }
    }
  }

  private mutating func nextExtent() throws(Errno) -> Extent? {
    while true {
      var firstStart = UInt64.max
      var isAtEnd = true
      for index in newestFirst.indices {
        while let extent = newestFirst[index].current, extent.end <= position {
          try newestFirst[index].advance()
        }
        guard let extent = newestFirst[index].current else { continue }
        isAtEnd = false
        if extent.start <= position {
          // Nothing newer begins before `firstStart`.
          let end = min(extent.end, firstStart)
          defer { position = end }
          return Extent(
            start: position, length: end - position,
            source: extent.source.advanced(by: position - extent.start))
        }
        firstStart = min(firstStart, extent.start)
      }
      if isAtEnd { return nil }
      position = firstStart
    }
  }

  /// The next extents, at most so many, as a map; empty behind the last. Blocks.
  public mutating func nextMap(limit: Int) throws(JournalError) -> SealedExtentMap {
    var extents: [Extent] = []
    while extents.count < limit, let extent = try next() { extents.append(extent) }
    do throws(BlockModelError) {
      return try SealedExtentMap(checking: extents.count) { extents[$0] }
    } catch { throw .damaged("an index file is out of order: \(error)") }
  }
}
