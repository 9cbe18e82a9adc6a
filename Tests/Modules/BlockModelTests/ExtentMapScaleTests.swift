import BlockModel
import TestSupport
import Testing

/// Proves that the tree works with several rows of branches in its root, in every order of arrival,
/// and that its nodes stay few.
@Suite struct ExtentMapScaleTests {
  enum Order: CaseIterable, Sendable { case ascending, descending, random, twoStreams }

  private static func offsets(_ order: Order, count: Int) -> [Int] {
    switch order {
    case .ascending: Array(0..<count)
    case .descending: (0..<count).reversed()
    case .twoStreams: (0..<count).map { $0 % 2 == 0 ? $0 / 2 : count / 2 + $0 / 2 }
    case .random: shuffled(count)
    }
  }

  private static func shuffled(_ count: Int) -> [Int] {
    var generator = SeededGenerator(seed: 7)
    var indices = Array(0..<count)
    for index in stride(from: count - 1, to: 0, by: -1) {
      indices.swapAt(index, generator.below(index + 1))
    }
    return indices
  }

  private static func filled(_ order: Order, count: Int) -> ExtentMap {
    var map = ExtentMap()
    for index in offsets(order, count: count) {
      map.insert(
        ByteRange(start: UInt64(index) * 8, length: 4),
        ExtentSource(segment: 1, position: UInt32(index) * 16))
    }
    return map
  }

  /// - fill: the smallest number of extents for each node.
  @Test(arguments: [
    (Order.ascending, 63), (.descending, 30), (.random, 38), (.twoStreams, 62),
  ])
  func extentsOfManyBranchesAreFound(order: Order, fill: Int) {
    let count = 200_000
    let map = Self.filled(order, count: count)
    #expect(map.extentCount == count)
    #expect(map.structuralDefect() == nil)
    #expect(map.nodesInUse * fill <= count)
    let sealed = map.sealed()
    for index in stride(from: 0, to: count, by: 17) {
      let offset = UInt64(index) * 8
      let source = ExtentSource(segment: 1, position: UInt32(index) * 16 + 1)
      let rest: UInt64 = index == count - 1 ? 90 : 4
      guard map.piece(at: offset + 1, limit: 90) == (3, source),
        map.piece(at: offset + 4, limit: 90) == (rest, nil),
        sealed.piece(at: offset + 1, limit: 90) == (3, source),
        sealed.piece(at: offset + 4, limit: 90) == (rest, nil)
      else {
        Issue.record("extent \(index) is not found")
        return
      }
    }
  }

  /// Large writes, each of which leaves two extents where up to thousands were.
  @Test(arguments: [60, 240, 1_000, 4_000, 50_000], [Order.ascending, .descending, .random])
  func nodesBecomeFewWhenExtentsDo(stretch: Int, order: Order) {
    let count = 40_000
    var map = Self.filled(.random, count: count)
    let length = UInt64(stretch)
    for index in Self.offsets(order, count: count * 8 / stretch) {
      let start = UInt64(index) * length + 1
      map.insert(ByteRange(start: start, length: length), .hole)
      map.insert(
        ByteRange(start: start + 8, length: length - 9), ExtentSource(segment: 2, position: 0))
    }
    #expect(map.structuralDefect() == nil)
    #expect(map.nodesInUse <= map.extentCount / 8 + 8, "\(map.extentCount) extents")
  }

  /// Ascending writes fill leaves of 64; each large write then stays inside one leaf.
  @Test func leavesThatShrinkOneByOneAreJoined() {
    var map = Self.filled(.ascending, count: 64 * 64)
    for leaf in 0..<64 as Range<UInt64> {
      map.insert(ByteRange(start: leaf * 64 * 8 + 8, length: 62 * 8), .hole)
    }
    #expect(map.extentCount == 64 * 3)
    #expect(map.structuralDefect() == nil)
    #expect(map.nodesInUse <= map.extentCount / 8)
  }

  /// The sizes around the windows and levels of the search.
  @Test(arguments: [1, 2, 63, 64, 65, 127, 128, 129, 4_095, 4_096, 4_097, 4_160, 270_000])
  func aSealedMapOfAnySizeFindsItsExtents(count: Int) {
    let map = Self.filled(.ascending, count: count)
    let sealed = map.sealed()
    #expect(sealed.count == count)
    let step = max(1, count / 5_000)
    for index in stride(from: 0, to: count, by: step) {
      let offset = UInt64(index) * 8
      guard sealed.firstIndex(endingAfter: offset + 3) == index,
        sealed.firstIndex(endingAfter: offset + 4) == index + 1
      else {
        Issue.record("extent \(index) is not found")
        return
      }
    }
  }
}
