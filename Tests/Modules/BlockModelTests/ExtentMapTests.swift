import BlockModel
import Testing

/// Proves the rules of single inserts and look-ups: what is replaced, cut, advanced and joined.
@Suite struct ExtentMapTests {
  private static func data(_ position: UInt32) -> ExtentSource {
    ExtentSource(segment: 1, position: position)
  }

  private static func extent(_ start: UInt64, _ length: UInt64, _ source: ExtentSource) -> Extent {
    Extent(start: start, length: length, source: source)
  }

  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let before: [Extent]
    let insert: Extent
    let after: [Extent]

    init(_ name: String, _ before: [Extent], insert: Extent, after: [Extent]) {
      testDescription = name
      self.before = before
      self.insert = insert
      self.after = after
    }
  }

  static let cases: [Case] = [
    Case(
      "into an empty map", [],
      insert: extent(100, 10, data(0)), after: [extent(100, 10, data(0))]),
    Case(
      "an empty range", [extent(0, 10, data(0))],
      insert: extent(5, 0, data(50)), after: [extent(0, 10, data(0))]),
    Case(
      "exactly over one", [extent(0, 10, data(0))],
      insert: extent(0, 10, data(50)), after: [extent(0, 10, data(50))]),
    Case(
      "before all others", [extent(100, 10, data(0))],
      insert: extent(20, 10, data(50)),
      after: [extent(20, 10, data(50)), extent(100, 10, data(0))]),
    Case(
      "beside others without joining them", [extent(0, 10, data(0)), extent(20, 10, data(20))],
      insert: extent(10, 10, data(10)),
      after: [extent(0, 10, data(0)), extent(10, 10, data(10)), extent(20, 10, data(20))]),
    Case(
      "into the middle of one", [extent(0, 100, data(1_000))],
      insert: extent(40, 20, data(50)),
      after: [extent(0, 40, data(1_000)), extent(40, 20, data(50)), extent(60, 40, data(1_060))]),
    Case(
      "over the end of one and the start of the next",
      [extent(0, 10, data(0)), extent(10, 10, data(100))],
      insert: extent(5, 10, data(500)),
      after: [extent(0, 5, data(0)), extent(5, 10, data(500)), extent(15, 5, data(105))]),
    Case(
      "over the first part of one", [extent(10, 10, data(100))],
      insert: extent(10, 4, data(500)),
      after: [extent(10, 4, data(500)), extent(14, 6, data(104))]),
    Case(
      "over the last part of one", [extent(10, 10, data(100))],
      insert: extent(16, 4, data(500)),
      after: [extent(10, 6, data(100)), extent(16, 4, data(500))]),
    Case(
      "over several", [extent(0, 4, data(0)), extent(8, 4, data(8)), extent(20, 4, data(20))],
      insert: extent(0, 100, data(500)), after: [extent(0, 100, data(500))]),
    Case(
      "zeros beside zeros on both sides", [extent(0, 10, .zeros), extent(20, 10, .zeros)],
      insert: extent(10, 10, .zeros), after: [extent(0, 30, .zeros)]),
    Case(
      "zeros over zeros", [extent(0, 100, .zeros)],
      insert: extent(40, 10, .zeros), after: [extent(0, 100, .zeros)]),
    Case(
      "a hole into zeros", [extent(0, 100, .zeros)],
      insert: extent(40, 20, .hole),
      after: [extent(0, 40, .zeros), extent(40, 20, .hole), extent(60, 40, .zeros)]),
    Case(
      "a hole beside zeros", [extent(0, 10, .zeros)],
      insert: extent(10, 10, .hole), after: [extent(0, 10, .zeros), extent(10, 10, .hole)]),
    Case(
      "data into zeros", [extent(0, 100, .zeros)],
      insert: extent(40, 20, data(50)),
      after: [extent(0, 40, .zeros), extent(40, 20, data(50)), extent(60, 40, .zeros)]),
    Case(
      "up to the last byte of the address space", [extent(.max - 8, 8, data(0))],
      insert: extent(.max - 4, 4, data(50)),
      after: [extent(.max - 8, 4, data(0)), extent(.max - 4, 4, data(50))]),
    Case(
      "zeros over the whole address space", [extent(7, 9, data(0))],
      insert: extent(0, .max, .zeros), after: [extent(0, .max, .zeros)]),
  ]

  @Test(arguments: cases)
  func insertingReplacesWhatItOverlaps(_ row: Case) {
    var map = ExtentMap()
    for extent in row.before { map.insert(extent.range, extent.source) }
    map.insert(row.insert.range, row.insert.source)
    #expect(map.extents == row.after)
    #expect(map.extentCount == row.after.count)
    #expect(map.mappedBytes == row.after.reduce(0) { $0 + $1.length })
    #expect(map.structuralDefect() == nil)
  }

  @Test func anEmptyMapHasNothing() {
    let map = ExtentMap()
    #expect(map.isEmpty == true)
    #expect(map.mappedBytes == 0)
    let piece = map.piece(at: 5, limit: 100)
    #expect(piece.length == 100)
    #expect(piece.source == nil)
    #expect(map.sealed().isEmpty)
  }

  @Test func aPieceEndsAtItsExtentAtTheNextOneOrAtItsLimit() {
    var map = ExtentMap()
    map.insert(ByteRange(start: 100, length: 50), Self.data(1_000))
    map.insert(ByteRange(start: 200, length: 50), .hole)
    let table: [(offset: UInt64, limit: UInt64, length: UInt64, source: ExtentSource?)] = [
      (0, 1_000, 100, nil), (0, 30, 30, nil),
      (100, 1_000, 50, Self.data(1_000)), (120, 1_000, 30, Self.data(1_020)),
      (120, 7, 7, Self.data(1_020)), (149, .max, 1, Self.data(1_049)),
      (150, 1_000, 50, nil), (150, 8, 8, nil),
      (230, 1_000, 20, .hole), (250, 1_000, 1_000, nil),
      (.max - 1, .max, 1, nil),
    ]
    let sealed = map.sealed()
    for row in table {
      let piece = map.piece(at: row.offset, limit: row.limit)
      #expect(piece == (row.length, row.source), "at \(row.offset), limit \(row.limit)")
      let sealedPiece = sealed.piece(at: row.offset, limit: row.limit)
      #expect(sealedPiece == (row.length, row.source), "at \(row.offset), limit \(row.limit)")
    }
  }

  @Test func anErrorEndsTheScan() {
    struct Enough: Error {}
    var map = ExtentMap()
    for index in 0..<10 { map.insert(ByteRange(start: UInt64(index) * 10, length: 10), .hole) }
    map.insert(ByteRange(start: 10, length: 10), Self.data(0))
    var seen = 0
    #expect(throws: Enough.self) {
      try map.forEachPiece(in: ByteRange(start: 0, length: 100)) { _, source throws(Enough) in
        seen += 1
        if source == Self.data(0) { throw Enough() }
      }
    }
    #expect(seen == 2)
  }

  @Test func removingAllMakesTheMapAsNew() {
    var map = ExtentMap()
    for round in 0..<4 {
      for index in 0..<10_000 {
        let place = round % 2 == 0 ? index : 9_999 - index
        map.insert(ByteRange(start: UInt64(place) * 7, length: 5), Self.data(UInt32(round)))
      }
      #expect(map.extentCount == 10_000)
      #expect(map.structuralDefect() == nil)
      map.removeAll()
      #expect(map.isEmpty == true)
      #expect(map.piece(at: 0, limit: 70_000) == (70_000, nil))
      #expect(map.piece(at: 69_000, limit: 70_000) == (70_000, nil))
      #expect(map.structuralDefect() == nil)
    }
  }
}
