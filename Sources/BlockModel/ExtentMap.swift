/// The newest source of every byte of a disk that a set of writes has touched.
///
/// Holds extents that do not overlap, sorted by start. This is the index of the journal segment
/// that is being written: one thread owns it, and every guest write is one `insert`.
///
/// Three levels: a flat root, branches and leaves of up to 64 entries. A look-up is one short
/// bisection and two counted searches; an insert moves at most 1.5 KiB; memory is asked for only
/// when a slab of nodes is used up or the root doubles. Adjacent zeros of one kind are
/// kept as one extent.
///
/// Invariants:
/// - Every leaf has an extent, except the only leaf of an empty map.
/// - A branch's start for a leaf, and the root's start for a branch, is the start of the first
///   extent below it. Only the first entry of the map's first branch and of the root may be out of
///   date: searches never read it.
///
/// An extent's source advances with its bytes, so `position` plus an extent's length must stay
/// inside 32 bits; segments are far smaller.
public struct ExtentMap: ~Copyable {
  var root: ExtentMapRoot
  var pool: ExtentMapPool
  /// End of the last extent. Extents are only replaced, never taken away, so it never sinks.
  var lastEnd: UInt64 = 0

  /// Number of extents.
  public internal(set) var extentCount = 0
  /// Sum of the extents' lengths, in bytes.
  public internal(set) var mappedBytes: UInt64 = 0

  /// Allocates a few KiB.
  public init() {
    root = ExtentMapRoot()
    pool = ExtentMapPool()
    addFirstLeaf()
  }

  @inline(__always) public var isEmpty: Bool { extentCount == 0 }

  /// Forgets every extent in constant time and keeps the memory for those to come.
  public mutating func removeAll() {
    root.removeAll()
    pool.reset()
    lastEnd = 0
    extentCount = 0
    mappedBytes = 0
    addFirstLeaf()
  }

  private mutating func addFirstLeaf() {
    let leaf = unsafe ExtentLeaf(clearing: pool.take())
    let branch = unsafe ExtentBranch(clearing: pool.take())
    branch.insert(leaf, start: 0, at: 0)
    root.insert(branch, start: 0, at: 0)
  }
}

// One owner at a time: a map can be handed to another thread but not copied, and reading it
// changes nothing.
extension ExtentMap: @unchecked Sendable {}

/// A place in an `ExtentMap`; valid until the map changes.
struct ExtentMapPosition {
  var branchIndex: Int
  var branch: ExtentBranch
  var leafIndex: Int
  var leaf: ExtentLeaf
  var slot: Int
}

extension ExtentMap {
  /// The last extent that starts at or before `offset`; when there is none, the map's first slot.
  @inline(__always)
  func position(of offset: UInt64) -> ExtentMapPosition {
    let branchIndex = root.index(of: offset)
    let branch = root.branch(branchIndex)
    let leafIndex = branch.slot(of: offset)
    let leaf = branch.leaf(leafIndex)
    return ExtentMapPosition(
      branchIndex: branchIndex, branch: branch, leafIndex: leafIndex, leaf: leaf,
      slot: leaf.slot(of: offset))
  }

  /// The last extent; slot 0 of an empty map.
  @inline(__always)
  func lastPosition() -> ExtentMapPosition {
    let branchIndex = root.count &- 1
    let branch = root.branch(branchIndex)
    let leafIndex = branch.count &- 1
    let leaf = branch.leaf(leafIndex)
    return ExtentMapPosition(
      branchIndex: branchIndex, branch: branch, leafIndex: leafIndex, leaf: leaf,
      slot: max(leaf.count &- 1, 0))
  }

  /// First start in the leaves after `position`'s; `.max` when it is in the last leaf.
  @inline(__always)
  func startOfNextLeaf(_ position: ExtentMapPosition) -> UInt64 {
    let leafIndex = position.leafIndex &+ 1
    if leafIndex < position.branch.count { return position.branch.start(leafIndex) }
    let branchIndex = position.branchIndex &+ 1
    return branchIndex < root.count ? root.start(branchIndex) : .max
  }

  /// Slot 0 of the next leaf; nil when `position` is in the last one.
  @inline(__always)
  func nextLeaf(_ position: ExtentMapPosition) -> ExtentMapPosition? {
    var next = position
    next.slot = 0
    next.leafIndex &+= 1
    if next.leafIndex == next.branch.count {
      next.branchIndex &+= 1
      guard next.branchIndex < root.count else { return nil }
      next.branch = root.branch(next.branchIndex)
      next.leafIndex = 0
    }
    next.leaf = next.branch.leaf(next.leafIndex)
    return next
  }
}
