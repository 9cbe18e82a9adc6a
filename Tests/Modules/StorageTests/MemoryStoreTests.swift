import StorageTesting
import SystemIO
import Testing

@testable import Storage

/// Proves the test double: failures on request, and what a power failure leaves.
@Suite struct MemoryStoreTests {
  @Test func unsyncedBytesAreDropped() throws {
    let store = MemoryStore(byteCount: 16)
    try store.write([1, 2], at: 0)
    try store.sync()
    try store.write([3, 4], at: 1)
    #expect(store.bytes[..<3] == [1, 3, 4] && store.durableBytes[..<3] == [1, 2, 0])
    store.dropUnsynced()
    #expect(try store.read(3, at: 0) == [1, 2, 0])
  }

  @Test func aFailureHappensOnce() throws {
    let store = MemoryStore(byteCount: 16)
    store.failNext(.write, with: .noSpace)
    #expect(throws: StorageError.noSpace(.init("memory", .write, 2, 1))) {
      try store.write([1], at: 2)
    }
    try store.write([1], at: 2)
    store.failNext(.sync, with: .io)
    #expect(throws: StorageError.self) { try store.sync() }
    #expect(store.durableBytes[2] == 0)
    try store.sync()
    #expect(store.durableBytes[2] == 1)
  }
}
