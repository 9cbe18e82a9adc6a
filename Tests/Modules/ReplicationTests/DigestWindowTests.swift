import BlockModel
import TestSupport
import Testing

@testable import Journal
@testable import Replication

/// Proves which blocks a list of what is lacking has, and that the digests of them are taken in
/// order, each of its own block, no more than are asked for, and all of a frame or nothing.
@Suite struct DigestWindowTests {
  private static let block = BlockDigest.blockByteCount

  private static func extent(_ start: UInt64, _ end: UInt64, disk: UInt16 = 0) -> DiskExtent {
    DiskExtent(DiskNumber(disk), ByteRange(start: start, end: end))
  }

  private static func position(_ offset: UInt64, disk: UInt16 = 0) -> DiskPosition {
    DiskPosition(DiskNumber(disk), offset)
  }

  private static func digest(_ value: UInt8) -> BlockDigest {
    unsafe [value].withUnsafeBytes { unsafe BlockDigest(of: $0) }
  }

  private static func encoded(_ digest: BlockDigest) -> [UInt8] {
    var encoder = WireEncoder()
    encoder.put(digest)
    return encoder.bytes
  }

  /// Two blocks and the beginning of a third; a few bytes of the fourth; a block of the next disk.
  private static let extents = [
    extent(512, 2 * block + 4096), extent(3 * block + 512, 3 * block + 1024),
    extent(0, block, disk: 1),
  ]

  private static func list() throws -> DiskExtents {
    try #require(DiskExtents(checking: extents))
  }

  @Test func `a digest is the SHA-256, as it stands in the standard`() throws {
    let digest = unsafe Array("abc".utf8).withUnsafeBytes { unsafe BlockDigest(of: $0) }
    let bytes = Self.encoded(digest)
    #expect(bytes.count == BlockDigest.byteCount)
    #expect(
      bytes.prefix(8).elementsEqual([0xBA, 0x78, 0x16, 0xBF, 0x8F, 0x01, 0xCF, 0xEA])
        && bytes.suffix(4).elementsEqual([0xF2, 0x00, 0x15, 0xAD]))
    var decoder = WireDecoder(bytes)
    #expect(try decoder.takeDigest() == digest)
    #expect(BlockDigest.zeroBlock == .zeros(Int(Self.block)))
    #expect(BlockDigest.zeroBlock != .zeros(512))
  }

  @Test func `ranges are cut where blocks of the disk begin`() throws {
    var blocks = LackingBlocks(try Self.list())
    var found: [DiskExtent] = []
    while let block = blocks.next {
      found.append(block)
      blocks.pass()
    }
    #expect(
      found == [
        Self.extent(512, Self.block), Self.extent(Self.block, 2 * Self.block),
        Self.extent(2 * Self.block, 2 * Self.block + 4096), Self.extents[1], Self.extents[2],
      ])
  }

  @Test func `what is passed is left out, also a part of a block, and nothing comes again`() throws
  {
    var blocks = LackingBlocks(try Self.list())
    blocks.pass(to: Self.position(Self.block + 100))
    #expect(blocks.next == Self.extent(Self.block + 100, 2 * Self.block))
    blocks.pass(to: Self.position(0))
    #expect(blocks.next == Self.extent(Self.block + 100, 2 * Self.block))
    blocks.pass(to: Self.position(2 * Self.block + 4096))
    #expect(blocks.next == Self.extents[1])
    blocks.pass(to: DigestWindow.end)
    #expect(blocks.next == nil)
  }

  @Test func `the last block of the largest disk is one`() throws {
    let last = Self.extent(UInt64.max - 1000, .max)
    var blocks = LackingBlocks(try #require(DiskExtents(checking: [last])))
    #expect(blocks.next == last)
    blocks.pass()
    #expect(blocks.next == nil)
  }

  @Test func `a byte has the digest of its block, awaits it, or has none`() throws {
    var window = DigestWindow(of: try Self.list())
    #expect(window.word(at: Self.position(0)) == .nothing(until: Self.position(512)))
    #expect(window.word(at: Self.position(600)) == .awaited)
    try window.take([Self.digest(1), Self.digest(2)], from: Self.position(512))
    #expect(
      window.word(at: Self.position(600))
        == .said(Self.extent(512, Self.block), Self.digest(1)))
    #expect(
      window.word(at: Self.position(Self.block))
        == .said(Self.extent(Self.block, 2 * Self.block), Self.digest(2)))
    #expect(window.word(at: Self.position(2 * Self.block)) == .awaited)
    // Of the third none comes.
    try window.take([Self.digest(4)], from: Self.extents[1].start)
    #expect(
      window.word(at: Self.position(2 * Self.block)) == .nothing(until: Self.extents[1].start))
    #expect(window.word(at: Self.extents[1].start) == .said(Self.extents[1], Self.digest(4)))
    #expect(
      window.word(at: Self.extents[1].end) == .nothing(until: Self.position(0, disk: 1)))
    #expect(window.word(at: Self.position(7, disk: 1)) == .awaited)
    try window.take([], from: DigestWindow.end)
    #expect(window.word(at: Self.position(7, disk: 1)) == .nothing(until: DigestWindow.end))
    window.passed(Self.position(2 * Self.block))
    #expect(window.word(at: Self.extents[1].start) == .said(Self.extents[1], Self.digest(4)))
  }

  /// It is of before what was sent there.
  @Test func `what is said of a block that was passed counts for nothing`() throws {
    var window = DigestWindow(of: try Self.list())
    window.passed(Self.position(Self.block))
    try window.take([Self.digest(1), Self.digest(2)], from: Self.position(512))
    #expect(window.word(at: Self.position(600)) == .nothing(until: Self.position(Self.block)))
    #expect(
      window.word(at: Self.position(Self.block))
        == .said(Self.extent(Self.block, 2 * Self.block), Self.digest(2)))
    window.passed(Self.position(2 * Self.block))
    #expect(
      window.word(at: Self.position(Self.block)) == .nothing(until: Self.position(2 * Self.block)))
  }

  @Test func `it is over when all is passed, or nothing is to be said any more`() throws {
    var window = DigestWindow(of: try Self.list())
    #expect(window.awaited(from: .start) == Self.position(512))
    #expect(window.awaited(from: Self.position(700)) == Self.position(700))
    #expect(window.awaited(from: Self.extents[0].end) == Self.extents[1].start)
    try window.take([Self.digest(1)], from: Self.position(512))
    #expect(window.awaited(from: .start) == Self.position(Self.block))
    window.passed(Self.extents[1].end)
    #expect(window.awaited(from: .start) == Self.extents[2].start && !window.isOver)
    var silent = window
    try silent.take([], from: DigestWindow.end)
    #expect(silent.isOver)
    try window.take([Self.digest(4)], from: Self.extents[2].start)
    #expect(window.awaited(from: .start) == nil && !window.isOver)
    window.passed(Self.extents[2].end)
    #expect(window.isOver)
  }

  @Test(arguments: 0..<5) func `what is not asked for ends it, and nothing of it is taken`(
    number: Int
  ) throws {
    var window = DigestWindow(of: try Self.list())
    try window.take([Self.digest(1)], from: Self.position(512))
    #expect(throws: LinkError.self) {
      switch number {
      case 0: try window.take([Self.digest(2)], from: Self.position(512))
      case 1: try window.take([], from: Self.position(0))
      case 2:
        try window.take([Self.digest(2)], from: Self.position(2 * Self.block + 4096))
      case 3: try window.take([Self.digest(2)], from: Self.position(0, disk: 2))
      default:
        try window.take(
          [UInt8](2...6).map(Self.digest), from: Self.position(Self.block))
      }
    }
    #expect(window.word(at: Self.position(Self.block)) == .awaited)
    try window.take([Self.digest(2)], from: Self.position(Self.block))
  }

  @Test func `no more are taken than may wait, until some are done with`() throws {
    let whole = Self.extent(0, Self.block * UInt64(DigestWindow.limit + 1))
    var window = DigestWindow(of: try #require(DiskExtents(checking: [whole])))
    let many = [BlockDigest](repeating: Self.digest(1), count: DigestWindow.limit)
    try window.take(many, from: whole.start)
    let last = Self.position(whole.range.end - Self.block)
    #expect(throws: LinkError.self) { try window.take([Self.digest(2)], from: last) }
    window.passed(Self.position(Self.block - 1))
    #expect(throws: LinkError.self) { try window.take([Self.digest(2)], from: last) }
    window.passed(Self.position(Self.block))
    try window.take([Self.digest(2)], from: last)
    #expect(
      window.word(at: last) == .said(Self.extent(last.offset, whole.range.end), Self.digest(2)))
  }

  /// Against a plain list of all blocks.
  @Test func `whatever comes in whatever order, a byte has what was said of its block`() throws {
    var generator = SeededGenerator(seed: testSeed(1))
    for _ in 0..<60 {
      let list = try Self.randomList(&generator)
      var blocks: [DiskExtent] = []
      var all = LackingBlocks(list)
      while let block = all.next {
        blocks.append(block)
        all.pass()
      }
      var said: [DiskExtent: BlockDigest] = [:]
      var (window, next, done) = (DigestWindow(of: list), 0, 0)
      for _ in 0..<40 {
        let first = Int(generator.next() % UInt64(blocks.count))
        let digests = (0..<Int(generator.next() % 4)).map { Self.digest(UInt8($0)) }
        let fits = first >= next && first + digests.count <= blocks.count
        do {
          try window.take(digests, from: blocks[first].start)
          #expect(fits)
          for (block, digest) in zip(blocks[first...], digests) { said[block] = digest }
          next = first + digests.count
        } catch { #expect(!fits) }
        if generator.next() % 3 == 0 {
          done = max(done, Int(generator.next() % UInt64(blocks.count)))
          window.passed(blocks[done].start)
        }
        let block = blocks[done + Int(generator.next() % UInt64(blocks.count - done))]
        let word = window.word(at: block.start)
        if let digest = said[block] {
          #expect(word == .said(block, digest))
        } else if let place = blocks.firstIndex(of: block), place < next {
          guard case .nothing(let until) = word else {
            Issue.record("\(word) of block \(place), and \(next) comes")
            return
          }
          #expect(until >= block.end)
        } else {
          #expect(word == .awaited)
        }
      }
    }
  }

  private static func randomList(_ generator: inout SeededGenerator) throws -> DiskExtents {
    var extents = DiskExtents()
    var offset: UInt64 = 0
    for _ in 0..<(1 + generator.next() % 6) {
      offset += 1 + generator.next() % (2 * block)
      let length = 1 + generator.next() % (3 * block)
      guard extents.append(extent(offset, offset + length)) else {
        throw RigError("a list that is not in order")
      }
      offset += length
    }
    return extents
  }

  @Test func `a frame is what was told, or malformed`() throws {
    let digests = [Self.digest(1), Self.digest(2)]
    let bytes = LinkMessage.encodeDigests(digests, from: Self.position(7, disk: 3))
    let found = try LinkMessage.decodeDigests(bytes)
    #expect(found.digests == digests && found.position == Self.position(7, disk: 3))
    #expect(try LinkMessage.decodeDigests(Array(bytes.prefix(10))).digests.isEmpty)
    for count in [0, 9, 11, bytes.count - 1] {
      #expect(throws: LinkError.self) {
        try LinkMessage.decodeDigests(Array(bytes.prefix(count)))
      }
    }
    let many = [BlockDigest](repeating: digests[0], count: LinkMessage.digestLimit + 1)
    #expect(throws: LinkError.self) {
      try LinkMessage.decodeDigests(LinkMessage.encodeDigests(many, from: .start))
    }
  }
}
