extension RandomAccessCollection {
  /// The first element of which `isBehind` is true, in a collection where it is false for all
  /// before that one and true for all from there on; `endIndex` when there is none. Takes a number
  /// of questions that grows with the logarithm of the count.
  @inlinable
  public func firstIndexInOrder(where isBehind: (Element) -> Bool) -> Index {
    var start = startIndex
    var count = count
    while count > 0 {
      let half = count / 2
      let middle = index(start, offsetBy: half)
      if isBehind(self[middle]) {
        count = half
      } else {
        start = index(after: middle)
        count -= half + 1
      }
    }
    return start
  }
}
