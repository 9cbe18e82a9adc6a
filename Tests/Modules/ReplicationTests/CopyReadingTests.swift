import BlockModel
import Journal
import Storage
import StorageTesting
import TestSupport
import Testing

@testable import Replication

extension MemoryStore {
  fileprivate func put(_ byte: UInt8, _ count: Int, at offset: Int) throws {
    try unsafe [UInt8](repeating: byte, count: count).withUnsafeBytes {
      try unsafe write($0, at: UInt64(offset))
    }
  }
}

/// Proves what of a full copy is left out: blocks that the peer has said to have, as they are when
/// they are read; and that nothing is read of which it is still to tell.
@Suite struct CopyReadingTests {
  private static let block = Int(BlockDigest.blockByteCount)
  private static let disk = DiskNumber(0)

  /// A disk of so many blocks, and a bit more, of these bytes.
  private final class Scene {
    let store: MemoryStore
    let debt = CopyDebt()
    let comparison: CopyComparison
    let reading: CopyReading<MemoryStore>

    init(_ blocks: [UInt8], tail: Int = 0) throws {
      store = MemoryStore(byteCount: blocks.count * block + tail)
      for (index, byte) in blocks.enumerated() where byte != 0 {
        try store.put(byte, block, at: index * block)
      }
      _ = debt.begin([store.byteCount])
      comparison = CopyComparison(of: debt.lackingBlocks(of: UInt64(block)))
      reading = CopyReading([store], debt, comparison, Watermarks())
    }

    /// What the peer has in its blocks from one on.
    func say(_ blocks: [UInt8], from index: Int = 0) throws {
      let digests = blocks.map { byte in
        unsafe [UInt8](repeating: byte, count: block).withUnsafeBytes {
          unsafe BlockDigest(of: $0)
        }
      }
      try comparison.take(digests, from: DiskPosition(disk, UInt64(index * block)))
    }

    func sayNothing(before index: Int) throws {
      try comparison.take([], from: DiskPosition(disk, UInt64(index * block)))
    }

    /// What is sent until there is nothing, or a word is awaited: in words, with places in blocks.
    func next() throws -> [String] {
      var runs: [(kind: String, start: Int, end: Int)] = []
      while true {
        reading.run()
        if reading.isEmpty { break }
        while let piece = try reading.next() {
          let (start, end) = (Int(piece.range.start), Int(piece.range.end))
          let kind = try kind(piece)
          if let last = runs.last, last.kind == kind, last.end == start {
            runs[runs.count - 1].end = end
          } else {
            runs.append((kind, start, end))
          }
        }
      }
      return runs.map { "\($0.kind) \(Self.name($0.start))-\(Self.name($0.end))" }
    }

    private static func name(_ end: Int) -> String {
      end % block == 0 ? "\(end / block)" : "\(end / block)+\(end % block)"
    }

    private func kind(_ piece: CopyReading<MemoryStore>.Piece) throws -> String {
      switch piece.content {
      case .alike: return "alike"
      case .zeros: return "zeros"
      case .data:
        let bytes = unsafe reading.bytes(of: piece).map { unsafe Array($0) }
        #expect(bytes == Array(store.bytes[Int(piece.range.start)..<Int(piece.range.end)]))
        return "data"
      }
    }
  }

  @Test func `what the peer has is left out, the rest is sent in runs`() throws {
    let scene = try Scene([1, 2, 3, 4, 5, 0])
    try scene.say([1, 2, 7, 4, 7, 9])
    #expect(try scene.next() == ["alike 0-2", "data 2-3", "alike 3-4", "data 4-5", "zeros 5-6"])
    #expect(scene.debt.lackingByteCount == 0 && !scene.comparison.isUnderWay)
  }

  @Test func `nothing is read before the peer has told of it`() throws {
    let scene = try Scene([1, 2, 0, 4])
    #expect(try scene.next() == [] && scene.reading.isAwaiting)
    try scene.say([1])
    #expect(try scene.next() == ["alike 0-1"] && scene.reading.isAwaiting)
    try scene.sayNothing(before: 3)
    #expect(try scene.next() == ["data 1-2", "zeros 2-3"] && scene.reading.isAwaiting)
    #expect(scene.comparison.isUnderWay)
    try scene.sayNothing(before: 4)
    #expect(try scene.next() == ["data 3-4"] && !scene.reading.isAwaiting)
    #expect(!scene.comparison.isUnderWay)
  }

  @Test func `what is written before it is read is compared as it is then`() throws {
    let scene = try Scene([1, 2])
    try scene.say([1, 9])
    for (index, byte) in [UInt8(5), 9].enumerated() {
      try scene.store.put(byte, Self.block, at: index * Self.block)
    }
    #expect(try scene.next() == ["data 0-1", "alike 1-2"])
  }

  /// What the peer said was of before.
  @Test(arguments: [1, 0] as [UInt8]) func `a block that comes again is sent`(first: UInt8) throws {
    let scene = try Scene([first, 3])
    if first != 0 { try scene.say([9]) }
    #expect(try scene.next() == [first == 0 ? "zeros 0-1" : "data 0-1"])
    // Also when it comes late.
    try scene.say(first == 0 ? [9, 3] : [3], from: first == 0 ? 0 : 1)
    #expect(try scene.next() == ["alike 1-2"])
    try scene.store.put(9, Self.block, at: 0)
    let all = Extent(start: 0, length: UInt64(Self.block), source: .zeros)
    scene.debt.note(Self.disk, try SealedExtentMap(checking: 1) { _ in all })
    #expect(try scene.next() == ["data 0-1"])
  }

  @Test func `once records follow, nothing is left out`() throws {
    let scene = try Scene([1, 2])
    try scene.say([1, 2])
    scene.comparison.end()
    #expect(try scene.next() == ["data 0-2"])
  }

  /// Data does not begin or end where blocks do.
  @Test func `a block is read as a whole where the peer has told of it`() throws {
    let scene = try Scene([0, 0, 0, 0], tail: 5000)
    let block = Self.block
    try scene.store.put(7, 2 * block, at: block / 2)
    try scene.store.put(8, 5000, at: 4 * block)
    let content = scene.store.bytes
    let digests = [0, 1, 2, 4].map { index in
      unsafe Array(content[index * block..<min((index + 1) * block, content.count)])
        .withUnsafeBytes { unsafe BlockDigest(of: $0) }
    }
    try scene.comparison.take(Array(digests[..<3]), from: .start)
    try scene.comparison.take([digests[3]], from: DiskPosition(Self.disk, UInt64(4 * block)))
    #expect(try scene.next() == ["alike 0-3", "zeros 3-4", "alike 4-4+5000"])
  }

  /// A part of a block is confirmed, or known to the peer already.
  @Test func `the peer is asked for whole blocks only, and for the end of the disk`() throws {
    let block = UInt64(Self.block)
    let debt = CopyDebt()
    _ = debt.begin([6 * block + 100])
    debt.take(0, ByteRange(start: block, length: 4096))
    debt.take(0, ByteRange(start: 4 * block - 4096, length: 4096))
    let asked = debt.lackingBlocks(of: block)
    #expect(
      asked.extents.map(\.range) == [
        ByteRange(start: 0, end: block), ByteRange(start: 2 * block, end: 3 * block),
        ByteRange(start: 4 * block, end: 6 * block + 100),
      ])
  }

  @Test func `what was alike counts once it is sent, and not after a break before it is confirmed`()
    throws
  {
    let debt = CopyDebt()
    let copy = debt.begin([1 << 20])
    debt.take(0, ByteRange(start: 0, length: 64 << 10))
    debt.noteAlike(64 << 10)
    let mark = debt.mark()
    debt.take(0, ByteRange(start: 64 << 10, length: 128 << 10))
    debt.noteAlike(100_000)
    debt.noteAlike(28 << 10)
    #expect(debt.alikeByteCount == 64 << 10 + 100_000 + 28 << 10)
    #expect(debt.resume(.init(number: copy, stored: mark)))
    #expect(debt.alikeByteCount == 64 << 10)
    #expect(debt.lackingByteCount == 15 << 16)
  }
}
