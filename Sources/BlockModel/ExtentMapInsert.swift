/// Writing to an `ExtentMap`.
extension ExtentMap {
  /// Makes `source` the source of `range`, whatever the map had there.
  ///
  /// Extents that reach into `range` are cut; what remains of them behind it keeps its bytes'
  /// source. An empty range changes nothing. Does not allocate, except when a new leaf is due and
  /// the last slab of nodes is used up.
  public mutating func insert(_ range: ByteRange, _ source: ExtentSource) {
    guard range.length > 0 else { return }
    precondition(range.end > range.start, "an extent's end must fit in 64 bits")
    if source.isZeros {
      store(widened(range, over: source), source)
    } else {
      store(range, source)
    }
  }

  @inline(__always)
  private mutating func store(_ range: ByteRange, _ source: ExtentSource) {
    var hasCleared = false
    while true {
      let position = range.start >= lastEnd ? lastPosition() : position(of: range.start)
      let leaf = position.leaf
      let slot = position.slot
      let slotStart = leaf.start(slot)

      if slotStart == range.start, leaf.tail(slot).length == range.length {
        leaf.setSource(slot, source)
        return
      }

      // The first slot whose extent begins inside or behind the range.
      let count = leaf.count
      let first = slotStart < range.start ? slot &+ 1 : slot
      let following = first < count ? leaf.start(first) : startOfNextLeaf(position)
      let isGap =
        range.end <= following && (first == 0 || leaf.end(first &- 1) <= range.start)
      if isGap {
        if storeInGap(range, source, position, first) {
          if hasCleared { mergeSparse(around: self.position(of: range.start)) }
          return
        }
      } else if range.end > startOfNextLeaf(position) {
        clearFollowing(range, position, first)
        hasCleared = true
      } else if splice(range, source, position, first) {
        return
      }
    }
  }

  /// Stores an extent that touches no other one before slot `first`. False when the leaf had to be
  /// split and the place must be looked up again.
  @inline(__always)
  private mutating func storeInGap(
    _ range: ByteRange, _ source: ExtentSource, _ position: ExtentMapPosition, _ first: Int
  ) -> Bool {
    let extent = Extent(start: range.start, length: range.length, source: source)
    if !position.leaf.isFull {
      position.leaf.insert(extent, at: first)
    } else if first == ExtentNodeLayout.capacity {
      // Ascending writes fill leaves completely instead of leaving halves behind.
      addLeaf(after: position, with: extent)
    } else {
      splitLeaf(position)
      return false
    }
    extentCount &+= 1
    mappedBytes &+= range.length
    lastEnd = max(lastEnd, range.end)
    return true
  }

  /// Stores an extent that overlaps others of one leaf only; `first` is the first slot that begins
  /// at or after the range's start. False when the leaf had to be split.
  private mutating func splice(
    _ range: ByteRange, _ source: ExtentSource, _ position: ExtentMapPosition, _ first: Int
  ) -> Bool {
    let leaf = position.leaf
    let count = leaf.count
    var last = first
    var replacedBytes: UInt64 = 0
    while last < count, leaf.start(last) < range.end {
      replacedBytes &+= leaf.tail(last).length
      last += 1
    }

    // What the last overlapped extent keeps behind the range.
    var remainder: Extent?
    if last > 0, leaf.end(last - 1) > range.end {
      let end = leaf.end(last - 1)
      let skipped = range.end &- leaf.start(last - 1)
      remainder = Extent(
        start: range.end, length: end &- range.end,
        source: leaf.tail(last - 1).source.advanced(by: skipped))
    }
    let added = remainder == nil ? 1 : 2
    guard count - (last - first) + added <= ExtentNodeLayout.capacity else {
      splitLeaf(position)
      return false
    }

    if first > 0, leaf.end(first - 1) > range.start {
      replacedBytes &+= leaf.end(first - 1) &- range.start
      leaf.setLength(first - 1, range.start &- leaf.start(first - 1))
    }
    leaf.resize(at: first, removing: last - first, adding: added)
    leaf.set(first, Extent(start: range.start, length: range.length, source: source))
    if let remainder {
      leaf.set(first + 1, remainder)
      replacedBytes &-= remainder.length
    }

    extentCount += added - (last - first)
    mappedBytes = mappedBytes &+ range.length &- replacedBytes
    lastEnd = max(lastEnd, range.end)
    if added < last - first { mergeSparse(around: position) }
    return true
  }

  /// Clears `range` where it reaches over the end of a leaf; `first` is the first slot of
  /// `position`'s leaf that begins at or after the range's start. May leave that leaf empty: the
  /// caller stores an extent there next.
  private mutating func clearFollowing(
    _ range: ByteRange, _ position: ExtentMapPosition, _ first: Int
  ) {
    let leaf = position.leaf
    if first > 0, leaf.end(first - 1) > range.start {
      mappedBytes &-= leaf.end(first - 1) &- range.start
      leaf.setLength(first - 1, range.start &- leaf.start(first - 1))
    }
    dropExtents(of: leaf, from: first, to: leaf.count)

    while let next = nextLeaf(position), next.leaf.start(0) < range.end {
      var last = 0
      let count = next.leaf.count
      while last < count, next.leaf.end(last) <= range.end { last += 1 }
      dropExtents(of: next.leaf, from: 0, to: last)
      if last == count {
        removeLeaf(next)
        continue
      }
      let start = next.leaf.start(0)
      if start < range.end {
        let tail = next.leaf.tail(0)
        let skipped = range.end &- start
        mappedBytes &-= skipped
        next.leaf.set(
          0,
          Extent(
            start: range.end, length: tail.length &- skipped,
            source: tail.source.advanced(by: skipped)))
      }
      setFirstStart(next, next.leaf.start(0))
      break
    }
  }

  private mutating func dropExtents(of leaf: ExtentLeaf, from first: Int, to last: Int) {
    for slot in first..<last { mappedBytes &-= leaf.tail(slot).length }
    leaf.resize(at: first, removing: last - first, adding: 0)
    extentCount -= last - first
  }

  /// `range` together with the extents of the same kind of zeros that overlap or touch it.
  private func widened(_ range: ByteRange, over zeros: ExtentSource) -> ByteRange {
    var start = range.start
    var end = range.end
    if start > 0, let before = extent(containing: start - 1), before.source == zeros {
      start = before.start
    }
    if end < .max, let after = extent(containing: end), after.source == zeros {
      end = after.end
    }
    return ByteRange(start: start, end: end)
  }

  private func extent(containing offset: UInt64) -> Extent? {
    let position = position(of: offset)
    let start = position.leaf.start(position.slot)
    guard start <= offset, offset < position.leaf.end(position.slot) else { return nil }
    let tail = position.leaf.tail(position.slot)
    return Extent(start: start, length: tail.length, source: tail.source)
  }
}
