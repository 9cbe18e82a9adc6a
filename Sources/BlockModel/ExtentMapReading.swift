/// Reading an `ExtentMap`. Nothing here allocates.
extension ExtentMap {
  /// How far the bytes from `offset` on have one source, and which.
  ///
  /// For a reader in a loop:
  /// ```
  /// while offset < end {
  ///   let piece = map.piece(at: offset, limit: end - offset)
  ///   …
  ///   offset += piece.length
  /// }
  /// ```
  /// - Parameters:
  ///   - offset: Offset in the disk, in bytes; less than 2⁶⁴ − 1.
  ///   - limit: The most bytes that the piece may have; at least 1.
  /// - Returns: `length` is in bytes, from 1 to `limit`. `source` is that of the byte at `offset`;
  ///   nil when the map has nothing there.
  public func piece(
    at offset: UInt64, limit: UInt64
  ) -> (length: UInt64, source: ExtentSource?) {
    precondition(limit > 0 && offset < .max, "a piece has at least one byte")
    let position = position(of: offset)
    let start = position.leaf.start(position.slot)
    guard start <= offset else { return (min(start &- offset, limit), nil) }
    let tail = position.leaf.tail(position.slot)
    let skipped = offset &- start
    if skipped < tail.length {
      return (min(tail.length &- skipped, limit), tail.source.advanced(by: skipped))
    }
    let nextSlot = position.slot &+ 1
    let next =
      nextSlot < position.leaf.count
      ? position.leaf.start(nextSlot) : startOfNextLeaf(position)
    return (min(next &- offset, limit), nil)
  }

  /// Calls `body` for the pieces of `range` in order, cut at the borders of extents, without gaps.
  ///
  /// The source is that of a piece's first byte; nil for a piece of which the map has nothing.
  @inline(__always)
  public func forEachPiece<Failure: Error>(
    in range: ByteRange, _ body: (ByteRange, ExtentSource?) throws(Failure) -> Void
  ) throws(Failure) {
    guard !range.isEmpty else { return }
    var offset = range.start
    var position = position(of: offset)
    scan: while offset < range.end {
      while position.slot == position.leaf.count {
        guard let next = nextLeaf(position) else { break scan }
        position = next
      }
      let start = position.leaf.start(position.slot)
      guard start < range.end else { break }
      let tail = position.leaf.tail(position.slot)
      position.slot &+= 1
      let end = min(start &+ tail.length, range.end)
      guard end > offset else { continue }
      if start > offset {
        try body(ByteRange(start: offset, end: start), nil)
        offset = start
      }
      try body(ByteRange(start: offset, end: end), tail.source.advanced(by: offset &- start))
      offset = end
    }
    if offset < range.end { try body(ByteRange(start: offset, end: range.end), nil) }
  }

  /// Calls `body` for every extent in ascending order.
  @inline(__always)
  public func forEachExtent<Failure: Error>(
    _ body: (Extent) throws(Failure) -> Void
  ) throws(Failure) {
    var branchIndex = 0
    while branchIndex < root.count {
      let branch = root.branch(branchIndex)
      var leafIndex = 0
      while leafIndex < branch.count {
        let leaf = branch.leaf(leafIndex)
        var slot = 0
        while slot < leaf.count {
          let tail = leaf.tail(slot)
          try body(Extent(start: leaf.start(slot), length: tail.length, source: tail.source))
          slot &+= 1
        }
        leafIndex &+= 1
      }
      branchIndex &+= 1
    }
  }

  /// An immutable copy: linear in the number of extents, allocates 24 bytes for each.
  public borrowing func sealed() -> SealedExtentMap {
    var builder = SealedExtentMapBuilder(capacity: extentCount)
    forEachExtent { builder.append($0) }
    return builder.finish()
  }
}
