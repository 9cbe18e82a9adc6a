/// Making one sealed map of several.
extension SealedExtentMap {
  /// The map after the writes of `older` and then those of `newer`.
  ///
  /// Linear in the number of extents; allocates the result, and while it works up to 24 bytes for
  /// each extent of `older` and 48 for each of `newer`.
  public static func merging(
    older: SealedExtentMap, newer: SealedExtentMap
  ) -> SealedExtentMap {
    if older.isEmpty { return newer }
    if newer.isEmpty { return older }

    // Each newer extent can cut an older one in two.
    var merged = SealedExtentMapBuilder(capacity: older.count + 2 * newer.count)
    var oldIndex = 0
    var old = older[0]
    for newIndex in 0..<newer.count {
      let new = newer[newIndex]
      while oldIndex < older.count, old.start < new.start {
        if old.end <= new.start {
          merged.append(old)
        } else {
          merged.append(
            Extent(start: old.start, length: new.start &- old.start, source: old.source))
          old = old.droppingFirst(new.start &- old.start)
          break
        }
        oldIndex &+= 1
        if oldIndex < older.count { old = older[oldIndex] }
      }
      merged.append(new)
      while oldIndex < older.count, old.end <= new.end {
        oldIndex &+= 1
        if oldIndex < older.count { old = older[oldIndex] }
      }
      if oldIndex < older.count, old.start < new.end {
        old = old.droppingFirst(new.end &- old.start)
      }
    }
    while oldIndex < older.count {
      merged.append(old)
      oldIndex &+= 1
      if oldIndex < older.count { old = older[oldIndex] }
    }
    return merged.finish()
  }

  /// The map after the writes of all `oldestFirst`, in that order.
  ///
  /// Merges neighbours pair by pair, so that each extent is copied once for each doubling of the
  /// number of maps. An empty list gives an empty map; a list of one gives that map itself.
  public static func merging(_ oldestFirst: [SealedExtentMap]) -> SealedExtentMap {
    var maps = oldestFirst
    while maps.count > 1 {
      var merged: [SealedExtentMap] = []
      merged.reserveCapacity((maps.count + 1) / 2)
      for index in stride(from: 0, to: maps.count - 1, by: 2) {
        merged.append(merging(older: maps[index], newer: maps[index + 1]))
      }
      if maps.count % 2 == 1, let newest = maps.last { merged.append(newest) }
      maps = merged
    }
    return maps.first ?? SealedExtentMap()
  }
}

extension Extent {
  /// What is left without the first `count` bytes, which must be fewer than `length`.
  @inline(__always)
  fileprivate func droppingFirst(_ count: UInt64) -> Extent {
    Extent(
      start: start &+ count, length: length &- count, source: source.advanced(by: count))
  }
}
