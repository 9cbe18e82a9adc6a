import BlockModel
import Journal
import JournalTestSupport
import Storage
import StorageTesting
import SystemIO
import TestSupport
import Testing

@testable import Replication

/// A full copy gives every byte of every disk once, in order: data as data, the rest as zeros.
@Suite struct BaselineReaderTests {
  /// Puts the pieces together; checks their order and sizes.
  static func copy(_ stores: [MemoryStore]) throws -> [[UInt8]] {
    let debt = CopyDebt()
    _ = debt.begin(stores.map(\.byteCount))
    var reader = BaselineReader(stores, debt)
    var disks: [[UInt8]] = []
    var lacking = debt.lackingByteCount
    func begin(_ disk: DiskNumber, _ range: ByteRange) {
      while disks.count <= disk.index { disks.append([]) }
      #expect(disks.count == disk.index + 1, "disks come in order")
      #expect(range.start == UInt64(disks[disk.index].count), "pieces follow each other")
      #expect(range.length > 0)
    }
    while let piece = try reader.next() {
      switch piece {
      case .data(let disk, let range):
        begin(disk, range)
        #expect(range.length <= 1 << 20)
        disks[disk.index] += unsafe Array(reader.bytes(range))
      case .zeros(let disk, let range):
        begin(disk, range)
        disks[disk.index] += repeatElement(0, count: Int(range.length))
      }
      #expect(debt.lackingByteCount < lacking)
      lacking = debt.lackingByteCount
    }
    #expect(lacking == 0)
    #expect(try reader.next() == nil)
    return disks
  }

  static func store(_ count: Int, _ data: [(Int, [UInt8])]) throws -> MemoryStore {
    let store = MemoryStore(byteCount: count)
    for (offset, bytes) in data {
      try unsafe bytes.withUnsafeBytes { try unsafe store.write($0, at: UInt64(offset)) }
    }
    return store
  }

  @Test func copiesWhateverIsThere() throws {
    let long = [UInt8](repeating: 9, count: (2 << 20) + 5)
    let stores = [
      try Self.store(1000, []),
      try Self.store(1, [(0, [7])]),
      try Self.store(5000, [(0, [1, 2]), (3000, [3]), (4999, [4])]),
      try Self.store(long.count + 10, [(10, long)]),
      try Self.store(4096, [(100, [5])]),
    ]
    #expect(try Self.copy(stores) == stores.map(\.bytes))
  }

  @Test(arguments: UInt64(0)..<30)
  func copiesRandomDisks(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let stores = try (0...random.below(3)).map { _ in
      let size = 1 + random.below(20_000)
      let data = (0..<random.below(20)).map { _ in
        let offset = random.below(size)
        return (offset, random.bytes(1 + random.below(size - offset)).map { $0 & 3 })
      }
      return try Self.store(size, data)
    }
    #expect(try Self.copy(stores) == stores.map(\.bytes))
  }

  @Test func zerosAreNotRead() throws {
    let store = try Self.store(1 << 20, [])
    store.failNext(.read, with: .io)
    #expect(try Self.copy([store]) == [store.bytes])
  }

  @Test func `what has changed since it was read comes again, and nothing else`() throws {
    let store = try Self.store(1 << 20, [(0, [1]), (500_000, [2])])
    let debt = CopyDebt()
    _ = debt.begin([store.byteCount])
    var reader = BaselineReader([store], debt)
    while try reader.next() != nil {}
    try debt.note(DiskNumber(0), Self.map(500_000, 10))
    guard case .data(_, let range) = try reader.next() else {
      Issue.record("nothing comes")
      return
    }
    #expect(range == ByteRange(start: 499_712, length: 4 << 10))
    #expect(try reader.next() == nil)
  }

  @Test func `what was not confirmed is lacking after a break`() throws {
    let store = try Self.store(100_000, [])
    let debt = CopyDebt()
    let copy = debt.begin([store.byteCount])
    var reader = BaselineReader([store], debt)
    while try reader.next() != nil {}
    debt.confirm(debt.mark())
    try debt.note(DiskNumber(0), Self.map(0, 1))
    _ = try reader.next()
    #expect(debt.lackingByteCount == 0 && !debt.isConfirmed)
    #expect(!debt.resume(.init(number: copy ^ 1, stored: 1)))
    #expect(debt.resume(.init(number: copy, stored: 1)))
    #expect(debt.lackingByteCount == 4 << 10)
  }

  @Test func `a peer that has less than it had confirmed, or more, has another copy`() throws {
    let debt = CopyDebt()
    let copy = debt.begin([100_000])
    debt.take(0, ByteRange(start: 0, length: 100_000))
    let (first, second) = (debt.mark(), debt.mark())
    debt.confirm(first)
    #expect(!debt.resume(.init(number: copy, stored: first - 1)))
    #expect(!debt.resume(.init(number: copy, stored: second + 1)))
    #expect(debt.resume(.init(number: copy, stored: second)))
  }

  @Test func `a copy of an earlier life of the owner, or of its clone, is not known`() throws {
    let (debt, other) = (CopyDebt(), CopyDebt())
    #expect(!debt.resume(.init(number: other.begin([100_000]))))
    #expect(!debt.resume(.none))
    #expect(debt.begin([100_000]) != other.begin([100_000]))
  }

  /// Behind the ends that the copy began with, too.
  @Test func `what changes while records follow is lacking only after a break`() throws {
    let debt = CopyDebt()
    let copy = debt.begin([100_000])
    debt.take(0, ByteRange(start: 0, length: 100_000))
    debt.confirm(debt.mark())
    debt.follow()
    try debt.note(DiskNumber(0), Self.map(110_000, 10))
    #expect(debt.lackingByteCount == 0)
    #expect(debt.resume(.init(number: copy, stored: 1)))
    #expect(debt.lacking(0, from: 0) == ByteRange(start: 106_496, length: 3514))
  }

  @Test func `a disk that comes during a copy is lacking, and one that leaves is not`() throws {
    let debt = CopyDebt()
    let copy = debt.begin([100_000, 50_000])
    for disk in 0..<2 { debt.take(disk, ByteRange(start: 0, length: disk == 0 ? 100_000 : 50_000)) }
    debt.confirm(debt.mark())
    debt.follow()
    // Apply may be quicker than the link.
    try debt.note(DiskNumber(3), Self.map(0, 4096))
    try debt.note(DiskNumber(1), Self.map(0, 4096))
    #expect(debt.resume(.init(number: copy, stored: 1)))
    debt.adjust(to: [100_000, 0, 0, 200_000])
    #expect(debt.lackingByteCount == 200_000)
    #expect(debt.lacking(3, from: 0) == ByteRange(start: 0, length: 200_000))
    #expect(debt.lacking(1, from: 0) == nil && debt.lacking(9, from: 0) == nil)
    try debt.note(DiskNumber(1), Self.map(0, 4096))
    #expect(debt.lackingByteCount == 200_000)
  }

  private static func map(_ start: UInt64, _ length: UInt64) throws -> SealedExtentMap {
    try SealedExtentMap(checking: 1) { _ in Extent(start: start, length: length, source: .zeros) }
  }

  @Test(arguments: [StorageError.Operation.read, .findData])
  func anErrorIsPassedOn(operation: StorageError.Operation) throws {
    let store = try Self.store(1000, [(10, [1])])
    store.failNext(operation, with: .io)
    #expect(throws: StorageError.self) { try Self.copy([store]) }
  }
}

extension BaselineReader.Piece: Equatable {
  public static func == (a: Self, b: Self) -> Bool { "\(a)" == "\(b)" }
}
