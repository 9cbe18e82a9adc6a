import BlockModel
import Journal

/// What a follower lacks, block by block: each range cut at the multiples of
/// `BlockDigest.blockByteCount`. A place in them, which only goes on.
public struct LackingBlocks: Sendable {
  private let extents: [DiskExtent]
  private var index = 0
  /// All before it is passed.
  public private(set) var position = DiskPosition.start

  public init(_ extents: DiskExtents) { self.extents = extents.extents }

  /// The block that comes; nil at the end.
  public var next: DiskExtent? {
    guard index < extents.count else { return nil }
    let extent = extents[index]
    let start = max(extent.start, position).offset
    let size = BlockDigest.blockByteCount
    let end = min(extent.range.end - start, size - start % size) + start
    return DiskExtent(extent.disk, ByteRange(start: start, end: end))
  }

  /// Passes the block that comes.
  public mutating func pass() {
    guard let block = next else { return }
    position = block.end
    if block.end == extents[index].end { index += 1 }
  }

  /// Passes all blocks that end at the position or before it, and what of another lies before it.
  public mutating func pass(to position: DiskPosition) {
    guard position > self.position else { return }
    self.position = position
    index += extents[index...].prefix { $0.end <= position }.count
  }

  /// What lies at the position; nil: it is not lacking.
  func range(at position: DiskPosition) -> DiskExtent? {
    following(position).flatMap { $0.start <= position ? $0 : nil }
  }

  /// The first range that ends behind the position.
  func following(_ position: DiskPosition) -> DiskExtent? {
    let index = extents.firstIndexInOrder { $0.end > position }
    return index < extents.count ? extents[index] : nil
  }
}
