/// The node memory of one `ExtentMap`: equal nodes cut from slabs that are freed with the map.
///
/// Slabs double up to `largestSlabNodes`, so that a small map stays small and a large one asks the
/// allocator rarely. `reset` takes every node back at once and keeps the slabs.
@safe
struct ExtentMapPool: ~Copyable {
  private static let firstSlabNodes = 8
  private static let largestSlabNodes = 1024

  @safe
  private struct Slab {
    let memory: UnsafeMutableRawPointer
    let nodeCount: Int
  }

  private var slabs: [Slab] = []
  /// The slab that fresh nodes come from, and how many it has given.
  private var slabIndex = 0
  private var usedInSlab = 0
  /// Nodes given back one by one; each holds the address of the next in its first word.
  private var released: UnsafeMutableRawPointer?
  /// Nodes in use.
  private(set) var nodeCount = 0

  init() {}

  deinit {
    for slab in slabs { unsafe slab.memory.deallocate() }
  }

  /// Uninitialised memory of `ExtentNodeLayout.nodeBytes` on a cache line border.
  mutating func take() -> UnsafeMutableRawPointer {
    nodeCount += 1
    if let node = unsafe released {
      unsafe released = unsafe node.load(as: UnsafeMutableRawPointer?.self)
      return unsafe node
    }
    if slabIndex < slabs.count, usedInSlab == slabs[slabIndex].nodeCount {
      slabIndex += 1
      usedInSlab = 0
    }
    if slabIndex == slabs.count { addSlab() }
    let offset = usedInSlab * ExtentNodeLayout.nodeBytes
    usedInSlab += 1
    return unsafe slabs[slabIndex].memory + offset
  }

  mutating func giveBack(_ node: UnsafeMutableRawPointer) {
    nodeCount -= 1
    unsafe node.storeBytes(of: released, as: UnsafeMutableRawPointer?.self)
    unsafe released = unsafe node
  }

  /// Takes all nodes back without touching them.
  mutating func reset() {
    slabIndex = 0
    usedInSlab = 0
    unsafe released = nil
    nodeCount = 0
  }

  private mutating func addSlab() {
    let previous = slabs.last?.nodeCount
    let nodes = previous.map { min($0 * 2, Self.largestSlabNodes) } ?? Self.firstSlabNodes
    unsafe slabs.append(
      Slab(
        memory: .allocate(byteCount: nodes * ExtentNodeLayout.nodeBytes, alignment: 64),
        nodeCount: nodes))
  }
}
