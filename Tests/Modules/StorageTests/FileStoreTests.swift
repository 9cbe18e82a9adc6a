import BlockModel
import Foundation
import SystemIO
import Testing

@testable import Storage

/// Proves what only files show: creation, refusals with their texts, the lock, holes and space.
@Suite struct FileStoreTests {
  let folder = ScratchFolder()

  private func openError(
    _ path: String, expectedSize: UInt64?, createIfMissing: Bool = false
  ) -> StorageError? {
    do throws(StorageError) {
      _ = try FileStore.open(
        path, expectedSize: expectedSize, createIfMissing: createIfMissing)
      return nil
    } catch { return error }
  }

  @Test func aMissingFileIsCreatedSparse() throws {
    let store = try FileStore.open(
      folder["new"], expectedSize: 1 << 30, createIfMissing: true)
    #expect(store.byteCount == 1 << 30)
    #expect(allocatedBytes(folder["new"]) < 1 << 20)
    #expect(try store.nextDataRange(from: 0, limit: 1 << 30) == nil)
  }

  @Test func anEmptyFileIsGrownOnlyWhereCreationIsAllowed() throws {
    let path = try folder.makeFile("empty", byteCount: 0)
    #expect(
      openError(path, expectedSize: 4096)
        == .sizeDisagrees(store: path, byteCount: 0, expected: 4096))
    #expect(openError(path, expectedSize: 4096, createIfMissing: true) == nil)
    #expect(try contents(path).count == 4096)
  }

  @Test func aMissingFileIsRefused() {
    let error = openError(folder["none"], expectedSize: 4096)
    #expect(error == .cannotOpen(store: folder["none"], .notFound))
    #expect("\(error!)".contains("does not exist: create it"))
    #expect(
      openError(folder["none"], expectedSize: nil, createIfMissing: true)
        == .cannotOpen(store: folder["none"], .notFound))
  }

  @Test func anotherSizeIsRefusedInWords() throws {
    let path = try folder.makeFile("short", byteCount: 5)
    let error = openError(path, expectedSize: 20 << 30, createIfMissing: true)
    #expect("\(error!)".contains("\(path): size is 5 bytes, configuration says 20G: "))
  }

  @Test(arguments: ["/dev/full", "/dev/null", "/tmp"])
  func whatIsNoFileIsRefused(path: String) {
    #expect(openError(path, expectedSize: nil) != nil)
  }

  @Test(arguments: [1, 511, 513, 4097] as [UInt64])
  func oddSizesAreAllowed(byteCount: UInt64) throws {
    let path = try folder.makeFile("odd\(byteCount)", byteCount: byteCount)
    let store = try FileStore.open(path, expectedSize: byteCount)
    try store.write([9], at: byteCount - 1)
    #expect(try store.read(1, at: byteCount - 1) == [9])
    #expect(throws: StorageError.self) { try store.write([1, 2], at: byteCount - 1) }
    #expect(try contents(path).count == Int(byteCount))
  }

  @Test func aSecondOpenIsRefusedUntilTheFirstEnds() throws {
    let path = try folder.makeFile("disk", byteCount: 4096)
    do {
      let store = try FileStore.open(path, expectedSize: 4096)
      #expect(openError(path, expectedSize: 4096) == .inUse(store: path))
      _ = store.byteCount
    }
    #expect(openError(path, expectedSize: 4096) == nil)
  }

  @Test(.enabled(if: Tools.have("flock"), "needs flock(1)"))
  func anotherProcessIsKeptOut() throws {
    let path = try folder.makeFile("disk", byteCount: 4096)
    let store = try FileStore.open(path, expectedSize: 4096)
    #expect(Tools.run("flock", "--nonblock", path, "true") == nil)
    withExtendedLifetime(store) {}
  }

  @Test func requestsOutsideAreRefused() throws {
    let path = try folder.makeFile("disk", byteCount: 4096)
    let store = try FileStore.open(path, expectedSize: nil)
    #expect(throws: StorageError.self) { try store.read(2, at: 4095) }
    #expect(throws: StorageError.self) { try store.read(1, at: .max) }
    #expect(throws: StorageError.self) {
      try store.zero(ByteRange(start: 4000, length: 97), mayFreeSpace: true)
    }
    #expect(throws: StorageError.self) {
      try store.writeGathered([1, 2], pieces: [1, 1], at: 4095)
    }
  }

  /// Linux tells of lost writes once: what makes the file larger may be told in place of a sync.
  @Test func whatAnotherCallIsToldOfLostWritesTheNextSyncSays() throws {
    let store = try FileStore.open(folder["disk"], expectedSize: 4096, createIfMissing: true)
    #expect(throws: Errno.io) { try store.owing { () throws(Errno) in throw .io } }
    #expect(throws: StorageError.self) { try store.sync() }
    try store.sync()
  }

  @Test func aFileThatShrinksIsNoticed() throws {
    let path = try folder.makeFile("disk", byteCount: 8192)
    let store = try FileStore.open(path, expectedSize: nil)
    try File(opening: path, .readWrite).truncate(to: 5000)
    #expect(throws: StorageError.endsEarly(.init(path, .read, 4096, 4096))) {
      try store.read(4096, at: 4096)
    }
  }

  @Test func zeroingFreesSpaceOnlyWhenItMay() throws {
    let store = try FileStore.open(folder["disk"], expectedSize: 8 << 20, createIfMissing: true)
    try store.write(pattern(8 << 20), at: 0)
    try store.sync()
    let full = allocatedBytes(folder["disk"])
    try store.zero(ByteRange(start: 0, length: 4 << 20), mayFreeSpace: false)
    #expect(allocatedBytes(folder["disk"]) >= full)
    try store.zero(ByteRange(start: 4 << 20, length: 4 << 20), mayFreeSpace: true)
    #expect(allocatedBytes(folder["disk"]) <= full - (4 << 20) + 65536)
    #expect(try contents(folder["disk"]).allSatisfy { $0 == 0 })
  }

  @Test func holesAreSkipped() throws {
    let store = try FileStore.open(folder["disk"], expectedSize: 64 << 20, createIfMissing: true)
    try store.write(pattern(4096), at: 32 << 20)
    let data = try #require(try store.nextDataRange(from: 0, limit: 64 << 20))
    #expect(data.start > 16 << 20 && data.start <= 32 << 20 && data.end < 48 << 20)
    #expect(try store.nextDataRange(from: data.end, limit: 64 << 20) == nil)
    #expect(try store.nextDataRange(from: 0, limit: 16 << 20) == nil)
    let inside = try store.nextDataRange(from: 32 << 20 | 100, limit: 32 << 20 | 200)
    #expect(inside == ByteRange(start: 32 << 20 | 100, length: 100))
  }

  @Test func manyGatheredPiecesAreOneRange() throws {
    let store = try FileStore.open(folder["disk"], expectedSize: 1 << 20, createIfMissing: true)
    let bytes = pattern(3000 * 7)
    try store.writeGathered(bytes, pieces: Array(repeating: 7, count: 3000), at: 11)
    #expect(try store.read(bytes.count, at: 11) == bytes)
  }

  @Test func whatWasJustWrittenIsCached() throws {
    let store = try FileStore.open(folder["disk"], expectedSize: 65536, createIfMissing: true)
    let bytes = pattern(65536)
    try store.write(bytes, at: 0)
    var copy = [UInt8](repeating: 0, count: 65536)
    let isCached = try unsafe copy.withUnsafeMutableBytes {
      try unsafe store.readIfCached(into: $0, at: 0)
    }
    #expect(!isCached || copy == bytes)
  }
}
