@testable import BlockModel

extension ExtentMap {
  /// The first broken invariant of the tree; nil when it is sound.
  func structuralDefect() -> String? {
    var extents = 0
    var bytes: UInt64 = 0
    var nodes = 0
    var previous: Extent?
    for branchIndex in 0..<root.count {
      let branch = root.branch(branchIndex)
      nodes += 1
      if branch.count == 0 { return "branch \(branchIndex) has no leaf" }
      if branchIndex > 0, root.start(branchIndex) != branch.leaf(0).start(0) {
        return "the root's start of branch \(branchIndex) is out of date"
      }
      for leafIndex in 0..<branch.count {
        let leaf = branch.leaf(leafIndex)
        nodes += 1
        if leaf.count == 0, extentCount > 0 { return "leaf \(branchIndex).\(leafIndex) is empty" }
        if branchIndex + leafIndex > 0, branch.start(leafIndex) != leaf.start(0) {
          return "the start of leaf \(branchIndex).\(leafIndex) is out of date"
        }
        for slot in 0..<leaf.count {
          let tail = leaf.tail(slot)
          let extent = Extent(start: leaf.start(slot), length: tail.length, source: tail.source)
          if let defect = Self.defect(between: previous, and: extent) { return defect }
          previous = extent
          bytes += extent.length
        }
        for slot in leaf.count..<ExtentNodeLayout.capacity
        where leaf.start(slot) != ExtentNodeLayout.unusedStart {
          return "slot \(slot) of leaf \(branchIndex).\(leafIndex) is not cleared"
        }
        extents += leaf.count
      }
    }
    if extents != extentCount { return "\(extents) extents, counted \(extentCount)" }
    if bytes != mappedBytes { return "\(bytes) bytes, counted \(mappedBytes)" }
    if nodes != pool.nodeCount { return "\(nodes) nodes, the pool gave \(pool.nodeCount)" }
    if lastEnd != previous?.end ?? 0 { return "the end of the last extent is out of date" }
    return nil
  }

  private static func defect(between previous: Extent?, and extent: Extent) -> String? {
    if extent.length == 0 { return "\(extent) is empty" }
    guard let previous else { return nil }
    if extent.start < previous.end { return "\(extent) overlaps \(previous)" }
    if extent.start == previous.end, extent.source.isZeros, extent.source == previous.source {
      return "\(extent) should be one with \(previous)"
    }
    return nil
  }

  /// Leaves and branches in use.
  var nodesInUse: Int { pool.nodeCount }
}
