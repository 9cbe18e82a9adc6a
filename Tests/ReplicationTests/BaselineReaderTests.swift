import BlockModel
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
    var reader = BaselineReader(stores, byteCounts: stores.map(\.byteCount))
    var disks: [[UInt8]] = []
    var progress = reader.progress
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
      #expect(reader.progress >= progress)
      progress = reader.progress
    }
    #expect(progress == 1)
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
