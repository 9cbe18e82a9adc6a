import BlockModel
import Journal

/// What a follower has said of the blocks that it was asked for, or lacks, as far as their turn has
/// not come.
///
/// It says it in the order of the blocks, and not too far ahead: a list of any length takes a
/// bounded memory.
public struct DigestWindow: Sendable {
  /// What is known of a byte that is lacking.
  public enum Word: Equatable, Sendable {
    /// It lies in this block, which has that digest.
    case said(DiskExtent, BlockDigest)
    /// Nothing is said of what lies before the position.
    case nothing(until: DiskPosition)
    /// What is said of it is to come.
    case awaited
  }

  /// Of blocks whose turn has not come; 1.2 MiB of memory.
  public static let limit = 1 << 14
  /// Nothing lies behind it.
  public static let end = DiskPosition(DiskNumber(.max), .max)

  private var blocks: LackingBlocks
  /// In order; those before `first` are done with.
  private var entries: [(block: DiskExtent, digest: BlockDigest)] = []
  private var first = 0
  /// All before it is done with, also what is still to be said of it.
  private var done = DiskPosition.start

  init(of extents: DiskExtents) { blocks = LackingBlocks(extents) }

  private var waiting: ArraySlice<(block: DiskExtent, digest: BlockDigest)> { entries[first...] }

  /// The digests of as many blocks from the position on. Of what lies between those before and the
  /// position, none come.
  mutating func take(
    _ digests: [BlockDigest], from position: DiskPosition
  ) throws(LinkError) {
    guard position >= blocks.position else {
      throw .protocolViolation("the peer says again what it has of the blocks that it lacks")
    }
    guard waiting.count + digests.count <= Self.limit else {
      throw .protocolViolation("the peer says more than is asked of the blocks that it lacks")
    }
    var next = blocks
    next.pass(to: position)
    var found: [(block: DiskExtent, digest: BlockDigest)] = []
    for digest in digests {
      guard let block = next.next, !found.isEmpty || block.start == position else {
        throw .protocolViolation("the peer says what it has of blocks that it does not lack")
      }
      found.append((block, digest))
      next.pass()
    }
    blocks = next
    entries += found.filter { $0.block.end > done }
  }

  func word(at position: DiskPosition) -> Word {
    if position < done { return .nothing(until: done) }
    let index = waiting.firstIndexInOrder { $0.block.end > position }
    if index < entries.endIndex {
      let (block, digest) = entries[index]
      return block.start <= position ? .said(block, digest) : .nothing(until: block.start)
    }
    if position < blocks.position { return .nothing(until: blocks.position) }
    guard let range = blocks.following(position) else { return .nothing(until: Self.end) }
    return range.start <= position ? .awaited : .nothing(until: range.start)
  }

  /// Where the first byte lies of which something is to be said yet, at or after the position.
  func awaited(from position: DiskPosition) -> DiskPosition? {
    let position = max(position, done, blocks.position)
    return blocks.following(position).map { max($0.start, position) }
  }

  /// Nothing is to be said any more, and all that was said is done with.
  var isOver: Bool { waiting.isEmpty && awaited(from: done) == nil }

  /// All that lies before the position is done with.
  mutating func passed(_ position: DiskPosition) {
    done = max(done, position)
    first += waiting.prefix { $0.block.end <= position }.count
    if first > entries.count / 2 {
      entries.removeFirst(first)
      first = 0
    }
  }
}
