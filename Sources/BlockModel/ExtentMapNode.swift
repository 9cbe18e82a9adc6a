/// The memory layout that leaves and branches of an `ExtentMap` share.
///
/// | bytes    | content                                                              |
/// |----------|----------------------------------------------------------------------|
/// | 0–7      | number of entries in use                                             |
/// | 64–575   | 64 starts, ascending; unused ones hold `unusedStart`                 |
/// | 576–1599 | leaf: 64 × (length, source); branch: 64 child addresses, rest unused |
///
/// Starts lie apart from the rest so that a search reads nothing else, and begin on a cache line.
enum ExtentNodeLayout {
  static let capacity = 64
  static let entriesPerLine = 8
  static let startsOffset = 64
  static let valuesOffset = startsOffset + capacity * 8
  static let nodeBytes = valuesOffset + capacity * 16

  /// No extent begins here, because an extent's end fits in 64 bits.
  static let unusedStart = UInt64.max

  /// The last of 64 ascending starts that is at or before `key`; 0 when there is none.
  ///
  /// Counts instead of bisecting: the loads do not depend on each other, so that in a map larger
  /// than the caches the misses of one stage overlap.
  @inline(__always)
  static func slot(of key: UInt64, in starts: UnsafePointer<UInt64>) -> Int {
    var line = 0
    var probe = entriesPerLine
    while probe < capacity {
      line &+= unsafe starts[probe] <= key ? 1 : 0
      probe &+= entriesPerLine
    }
    let first = line &* entriesPerLine
    var slot = first
    var step = 1
    while step < entriesPerLine {
      slot &+= unsafe starts[first &+ step] <= key ? 1 : 0
      step &+= 1
    }
    return slot
  }

  static func clear(_ node: UnsafeMutableRawPointer) {
    unsafe node.storeBytes(of: 0, as: Int.self)
    unsafe (node + startsOffset).bindMemory(to: UInt64.self, capacity: capacity)
      .update(repeating: unusedStart, count: capacity)
  }
}

/// What a leaf keeps of an extent besides its start.
struct ExtentTail {
  var length: UInt64
  var source: ExtentSource
}

/// Up to 64 extents, sorted by start. The memory belongs to the map's pool.
///
/// Marked safe because the map alone makes and keeps these values; debug builds check every index.
@safe
struct ExtentLeaf {
  let address: UnsafeMutableRawPointer

  /// Makes an empty leaf of a node's memory.
  init(clearing address: UnsafeMutableRawPointer) {
    unsafe self.address = unsafe address
    unsafe ExtentNodeLayout.clear(address)
    unsafe (address + ExtentNodeLayout.valuesOffset)
      .bindMemory(to: ExtentTail.self, capacity: ExtentNodeLayout.capacity)
  }

  @inline(__always)
  private var starts: UnsafeMutablePointer<UInt64> {
    unsafe (address + ExtentNodeLayout.startsOffset).assumingMemoryBound(to: UInt64.self)
  }

  @inline(__always)
  private var tails: UnsafeMutablePointer<ExtentTail> {
    unsafe (address + ExtentNodeLayout.valuesOffset).assumingMemoryBound(to: ExtentTail.self)
  }

  @inline(__always) var isFull: Bool { count == ExtentNodeLayout.capacity }

  @inline(__always)
  var count: Int {
    get { unsafe address.load(as: Int.self) }
    nonmutating set {
      assert(0...ExtentNodeLayout.capacity ~= newValue)
      unsafe address.storeBytes(of: newValue, as: Int.self)
    }
  }

  @inline(__always)
  func slot(of key: UInt64) -> Int {
    unsafe ExtentNodeLayout.slot(of: key, in: UnsafePointer(starts))
  }

  /// `unusedStart` for entries that are not in use.
  @inline(__always)
  func start(_ slot: Int) -> UInt64 {
    assert(0..<ExtentNodeLayout.capacity ~= slot)
    return unsafe starts[slot]
  }

  @inline(__always)
  func tail(_ slot: Int) -> ExtentTail {
    assert(0..<count ~= slot)
    return unsafe tails[slot]
  }

  @inline(__always)
  func end(_ slot: Int) -> UInt64 { start(slot) &+ tail(slot).length }

  @inline(__always)
  func setSource(_ slot: Int, _ source: ExtentSource) {
    assert(0..<count ~= slot)
    unsafe tails[slot].source = source
  }

  @inline(__always)
  func setLength(_ slot: Int, _ length: UInt64) {
    assert(0..<count ~= slot)
    unsafe tails[slot].length = length
  }

  @inline(__always)
  func set(_ slot: Int, _ extent: Extent) {
    assert(0..<count ~= slot)
    unsafe starts[slot] = extent.start
    unsafe tails[slot] = ExtentTail(length: extent.length, source: extent.source)
  }

  /// Makes room for one extent and stores it.
  @inline(__always)
  func insert(_ extent: Extent, at slot: Int) {
    let count = self.count
    assert(0...count ~= slot && count < ExtentNodeLayout.capacity)
    let moved = count &- slot
    unsafe (starts + slot + 1).update(from: starts + slot, count: moved)
    unsafe (tails + slot + 1).update(from: tails + slot, count: moved)
    self.count = count &+ 1
    set(slot, extent)
  }

  /// Replaces `removed` extents from `slot` on by `added` entries that the caller then sets.
  func resize(at slot: Int, removing removed: Int, adding added: Int) {
    let count = self.count
    let newCount = count - removed + added
    assert(slot + removed <= count && newCount <= ExtentNodeLayout.capacity)
    if removed != added {
      let moved = count - slot - removed
      unsafe (starts + slot + added).update(from: starts + slot + removed, count: moved)
      unsafe (tails + slot + added).update(from: tails + slot + removed, count: moved)
    }
    self.count = newCount
    padStarts(from: newCount, to: count)
  }

  /// Moves the extents from `slot` on to the end of `other`.
  func moveSuffix(from slot: Int, to other: ExtentLeaf) {
    let count = self.count
    let moved = count - slot
    let target = other.count
    assert(moved >= 0 && target + moved <= ExtentNodeLayout.capacity)
    unsafe (other.starts + target).update(from: starts + slot, count: moved)
    unsafe (other.tails + target).update(from: tails + slot, count: moved)
    other.count = target + moved
    self.count = slot
    padStarts(from: slot, to: count)
  }

  private func padStarts(from newCount: Int, to oldCount: Int) {
    guard newCount < oldCount else { return }
    unsafe (starts + newCount)
      .update(repeating: ExtentNodeLayout.unusedStart, count: oldCount - newCount)
  }
}

/// Up to 64 leaves with their first starts. The memory belongs to the map's pool.
///
/// Marked safe for the same reason as `ExtentLeaf`.
@safe
struct ExtentBranch {
  let address: UnsafeMutableRawPointer

  /// Makes an empty branch of a node's memory.
  init(clearing address: UnsafeMutableRawPointer) {
    unsafe self.address = unsafe address
    unsafe ExtentNodeLayout.clear(address)
    unsafe (address + ExtentNodeLayout.valuesOffset)
      .bindMemory(to: ExtentLeaf.self, capacity: ExtentNodeLayout.capacity)
  }

  @inline(__always)
  private var starts: UnsafeMutablePointer<UInt64> {
    unsafe (address + ExtentNodeLayout.startsOffset).assumingMemoryBound(to: UInt64.self)
  }

  @inline(__always)
  private var leaves: UnsafeMutablePointer<ExtentLeaf> {
    unsafe (address + ExtentNodeLayout.valuesOffset).assumingMemoryBound(to: ExtentLeaf.self)
  }

  @inline(__always) var isFull: Bool { count == ExtentNodeLayout.capacity }

  @inline(__always)
  var count: Int {
    get { unsafe address.load(as: Int.self) }
    nonmutating set { unsafe address.storeBytes(of: newValue, as: Int.self) }
  }

  @inline(__always)
  func slot(of key: UInt64) -> Int {
    unsafe ExtentNodeLayout.slot(of: key, in: UnsafePointer(starts))
  }

  @inline(__always)
  func start(_ slot: Int) -> UInt64 {
    assert(0..<count ~= slot)
    return unsafe starts[slot]
  }

  @inline(__always)
  func setStart(_ slot: Int, _ start: UInt64) {
    assert(0..<count ~= slot)
    unsafe starts[slot] = start
  }

  @inline(__always)
  func leaf(_ slot: Int) -> ExtentLeaf {
    assert(0..<count ~= slot)
    return unsafe leaves[slot]
  }

  func insert(_ leaf: ExtentLeaf, start: UInt64, at slot: Int) {
    let count = self.count
    assert(0...count ~= slot && count < ExtentNodeLayout.capacity)
    unsafe (starts + slot + 1).update(from: starts + slot, count: count - slot)
    unsafe (leaves + slot + 1).update(from: leaves + slot, count: count - slot)
    unsafe starts[slot] = start
    unsafe leaves[slot] = leaf
    self.count = count + 1
  }

  func remove(at slot: Int) {
    let count = self.count
    assert(0..<count ~= slot)
    let moved = count - slot - 1
    unsafe (starts + slot).update(from: starts + slot + 1, count: moved)
    unsafe (leaves + slot).update(from: leaves + slot + 1, count: moved)
    unsafe starts[count - 1] = ExtentNodeLayout.unusedStart
    self.count = count - 1
  }

  /// Moves the leaves from `slot` on to the end of `other`.
  func moveSuffix(from slot: Int, to other: ExtentBranch) {
    let count = self.count
    let moved = count - slot
    let target = other.count
    assert(moved >= 0 && target + moved <= ExtentNodeLayout.capacity)
    unsafe (other.starts + target).update(from: starts + slot, count: moved)
    unsafe (other.leaves + target).update(from: leaves + slot, count: moved)
    other.count = target + moved
    self.count = slot
    unsafe (starts + slot).update(repeating: ExtentNodeLayout.unusedStart, count: moved)
  }
}
