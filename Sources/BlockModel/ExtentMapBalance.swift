/// Keeping the nodes of an `ExtentMap` neither overfull nor needlessly many.
extension ExtentMap {
  /// Two neighbours that together have at most this many entries become one.
  private static var sparseEntries: Int { ExtentNodeLayout.capacity / 2 }

  /// Moves the second half of a full leaf into a new leaf. Positions become invalid.
  mutating func splitLeaf(_ position: ExtentMapPosition) {
    let middle = ExtentNodeLayout.capacity / 2
    let start = position.leaf.start(middle)
    let right = unsafe ExtentLeaf(clearing: pool.take())
    position.leaf.moveSuffix(from: middle, to: right)
    insertLeaf(right, start: start, after: position)
  }

  /// Adds a leaf of one extent, which must lie between `position`'s leaf and the next.
  mutating func addLeaf(after position: ExtentMapPosition, with extent: Extent) {
    let leaf = unsafe ExtentLeaf(clearing: pool.take())
    leaf.insert(extent, at: 0)
    insertLeaf(leaf, start: extent.start, after: position)
  }

  private mutating func insertLeaf(
    _ leaf: ExtentLeaf, start: UInt64, after position: ExtentMapPosition
  ) {
    let branch = position.branch
    let slot = position.leafIndex + 1
    guard branch.isFull else {
      branch.insert(leaf, start: start, at: slot)
      return
    }
    let right = unsafe ExtentBranch(clearing: pool.take())
    if slot == ExtentNodeLayout.capacity {
      right.insert(leaf, start: start, at: 0)
    } else {
      let middle = ExtentNodeLayout.capacity / 2
      branch.moveSuffix(from: middle, to: right)
      // A leaf that belongs between the halves goes to the left one, so that the right one keeps
      // its first start.
      if slot <= middle {
        branch.insert(leaf, start: start, at: slot)
      } else {
        right.insert(leaf, start: start, at: slot - middle)
      }
    }
    root.insert(right, start: right.start(0), at: position.branchIndex + 1)
  }

  /// Records that the first extent of `position`'s leaf begins at `start` now.
  mutating func setFirstStart(_ position: ExtentMapPosition, _ start: UInt64) {
    position.branch.setStart(position.leafIndex, start)
    if position.leafIndex == 0 { root.setStart(position.branchIndex, start) }
  }

  /// Removes a leaf that is not the map's first. Positions in earlier leaves stay valid.
  mutating func removeLeaf(_ position: ExtentMapPosition) {
    assert(position.branchIndex > 0 || position.leafIndex > 0)
    let branch = position.branch
    branch.remove(at: position.leafIndex)
    unsafe pool.giveBack(position.leaf.address)
    if branch.count == 0 {
      root.remove(at: position.branchIndex)
      unsafe pool.giveBack(branch.address)
    } else if position.leafIndex == 0 {
      root.setStart(position.branchIndex, branch.start(0))
    }
  }

  /// Joins the leaf at `position` and the one behind it, and their branches, with neighbours where
  /// both are nearly empty; so large writes over many small ones leave no chain of tiny nodes.
  /// Positions become invalid.
  mutating func mergeSparse(around position: ExtentMapPosition) {
    // From the back to the front, for joining moves what is behind.
    if let next = nextLeaf(position) { joinWithNextLeaf(next.branch, next.leafIndex) }
    joinWithNextLeaf(position.branch, position.leafIndex)
    if position.leafIndex > 0 { joinWithNextLeaf(position.branch, position.leafIndex - 1) }
    joinWithNextBranch(position.branchIndex + 1)
    joinWithNextBranch(position.branchIndex)
    if position.branchIndex > 0 { joinWithNextBranch(position.branchIndex - 1) }
  }

  private mutating func joinWithNextBranch(_ branchIndex: Int) {
    guard branchIndex + 1 < root.count else { return }
    let branch = root.branch(branchIndex)
    let next = root.branch(branchIndex + 1)
    guard branch.count + next.count <= Self.sparseEntries else { return }
    next.moveSuffix(from: 0, to: branch)
    root.remove(at: branchIndex + 1)
    unsafe pool.giveBack(next.address)
  }

  private mutating func joinWithNextLeaf(_ branch: ExtentBranch, _ leafIndex: Int) {
    guard leafIndex + 1 < branch.count else { return }
    let leaf = branch.leaf(leafIndex)
    let next = branch.leaf(leafIndex + 1)
    guard leaf.count + next.count <= Self.sparseEntries else { return }
    next.moveSuffix(from: 0, to: leaf)
    branch.remove(at: leafIndex + 1)
    unsafe pool.giveBack(next.address)
  }
}
