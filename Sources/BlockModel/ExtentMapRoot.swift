/// The top level of an `ExtentMap`: all branches with their first starts, in two flat arrays.
///
/// Grows with one entry for two to four thousand extents, so a flat array is enough: four million
/// random extents make about two thousand entries. Its length is a multiple of a node's, and unused
/// starts are `ExtentNodeLayout.unusedStart`, so that it is searched like a row of nodes.
@safe
struct ExtentMapRoot: ~Copyable {
  private static let initialCapacity = ExtentNodeLayout.capacity

  private var starts: UnsafeMutablePointer<UInt64>
  private var branches: UnsafeMutablePointer<ExtentBranch>
  private var capacity: Int
  private(set) var count = 0

  init() {
    capacity = Self.initialCapacity
    unsafe starts = .allocate(capacity: capacity)
    unsafe starts.initialize(repeating: ExtentNodeLayout.unusedStart, count: capacity)
    unsafe branches = .allocate(capacity: capacity)
  }

  deinit {
    unsafe starts.deallocate()
    unsafe branches.deallocate()
  }

  /// The last branch whose first start is at or before `key`; 0 when there is none.
  @inline(__always)
  func index(of key: UInt64) -> Int {
    var row = 0
    var probe = ExtentNodeLayout.capacity
    while probe < count {
      row &+= unsafe starts[probe] <= key ? 1 : 0
      probe &+= ExtentNodeLayout.capacity
    }
    let first = row &* ExtentNodeLayout.capacity
    return unsafe first &+ ExtentNodeLayout.slot(of: key, in: UnsafePointer(starts + first))
  }

  @inline(__always)
  func start(_ index: Int) -> UInt64 {
    assert(0..<count ~= index)
    return unsafe starts[index]
  }

  @inline(__always)
  func branch(_ index: Int) -> ExtentBranch {
    assert(0..<count ~= index)
    return unsafe branches[index]
  }

  mutating func setStart(_ index: Int, _ start: UInt64) {
    assert(0..<count ~= index)
    unsafe starts[index] = start
  }

  mutating func insert(_ branch: ExtentBranch, start: UInt64, at index: Int) {
    assert(0...count ~= index)
    if count == capacity { grow() }
    let moved = count - index
    unsafe (starts + index + 1).update(from: starts + index, count: moved)
    unsafe (branches + index + 1).update(from: branches + index, count: moved)
    unsafe starts[index] = start
    unsafe branches[index] = branch
    count += 1
  }

  mutating func remove(at index: Int) {
    assert(0..<count ~= index)
    count -= 1
    let moved = count - index
    unsafe (starts + index).update(from: starts + index + 1, count: moved)
    unsafe (branches + index).update(from: branches + index + 1, count: moved)
    unsafe starts[count] = ExtentNodeLayout.unusedStart
  }

  mutating func removeAll() {
    unsafe starts.update(repeating: ExtentNodeLayout.unusedStart, count: count)
    count = 0
  }

  private mutating func grow() {
    let newCapacity = capacity * 2
    let newStarts = UnsafeMutablePointer<UInt64>.allocate(capacity: newCapacity)
    let newBranches = UnsafeMutablePointer<ExtentBranch>.allocate(capacity: newCapacity)
    unsafe newStarts.initialize(from: starts, count: count)
    unsafe (newStarts + count)
      .initialize(repeating: ExtentNodeLayout.unusedStart, count: newCapacity - count)
    unsafe newBranches.initialize(from: branches, count: count)
    unsafe starts.deallocate()
    unsafe branches.deallocate()
    unsafe starts = unsafe newStarts
    unsafe branches = unsafe newBranches
    capacity = newCapacity
  }
}
