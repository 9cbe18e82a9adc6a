import BlockModel
import Foundation
import Synchronization
import SystemIO
import Testing

@testable import Storage

/// Proves that a server's death loses nothing silently: requests go on over a new connection, and
/// a sync either covers every write before it or throws. Real servers are killed and restarted.
@Suite(.enabled(if: Tools.have("nbdkit"), "needs nbdkit")) struct NBDReconnectTests {
  let folder = ScratchFolder()

  private func open(_ server: NBDServer) throws -> NBDStore {
    try NBDStore.open(server.uri, expectedSize: 1 << 20)
  }

  private func restart(_ server: NBDServer) throws {
    server.kill()
    try server.start()
  }

  private func serveFile(_ filters: [String] = []) throws -> NBDServer {
    let path = try folder.makeFile("disk", byteCount: 1 << 20)
    return try NBDServer.nbdkit(filters + ["file", path], in: folder)
  }

  @Test func readsGoOn() throws {
    let server = try serveFile()
    let store = try open(server)
    try store.write(pattern(4096), at: 0)
    try store.sync()
    for _ in 0..<3 {
      try restart(server)
      #expect(try store.read(4096, at: 0) == pattern(4096))
      #expect(throws: Never.self) { try store.sync() }
    }
  }

  @Test func writesGoOnAndTheSyncTellsWhatMayBeLost() throws {
    let server = try serveFile()
    let store = try open(server)
    try store.write(pattern(4096, seed: 1), at: 0)
    try restart(server)
    try store.write(pattern(4096, seed: 2), at: 4096)
    #expect(throws: StorageError.unsyncedWritesLost(store: server.uri)) { try store.sync() }
    try store.write(pattern(4096, seed: 1), at: 0)
    try store.write(pattern(4096, seed: 2), at: 4096)
    try store.sync()
    #expect(
      try contents(folder["disk"])[..<8192]
        == (pattern(4096, seed: 1) + pattern(4096, seed: 2))[...])
  }

  @Test func theSyncThatMeetsTheBreakTellsToo() throws {
    let server = try serveFile()
    let store = try open(server)
    try store.zero(ByteRange(start: 0, length: 4096), mayFreeSpace: false)
    try restart(server)
    #expect(throws: StorageError.unsyncedWritesLost(store: server.uri)) { try store.sync() }
    try store.sync()
  }

  @Test func whatAVolatileCacheLostIsThereAfterTheReplay() throws {
    let server = try serveFile(["--filter=cache"])
    let store = try open(server)
    try store.write(pattern(65536, seed: 1), at: 0)
    try store.sync()
    try store.write(pattern(65536, seed: 2), at: 65536)
    try restart(server)
    #expect(try store.read(65536, at: 0) == pattern(65536, seed: 1))
    #expect(try store.read(65536, at: 65536).allSatisfy { $0 == 0 }, "the cache kept its writes")
    #expect(throws: StorageError.unsyncedWritesLost(store: server.uri)) { try store.sync() }
    try store.write(pattern(65536, seed: 2), at: 65536)
    try store.sync()
    server.kill()
    let bytes = try contents(folder["disk"])
    #expect(bytes[..<65536] == pattern(65536, seed: 1)[...])
    #expect(bytes[65536..<131072] == pattern(65536, seed: 2)[...])
  }

  @Test func manyThreadsGoOnThroughManyDeaths() throws {
    let server = try serveFile()
    let store = try open(server)
    let isOver = Atomic(false)
    let roundCounts = Mutex([Int](repeating: 0, count: 4))
    let threads = (0..<4).map { thread in
      SystemIO.Thread(name: "client-\(thread)") {
        var round = 0
        do {
          while !isOver.load(ordering: .relaxed) {
            round += 1
            let bytes = pattern(3000, seed: UInt64(thread * 1_000_000 + round))
            let offset = UInt64(thread * 100_000 + round % 20 * 5000)
            try store.write(bytes, at: offset)
            if try store.read(3000, at: offset) != bytes { throw TestFailure("other bytes") }
            roundCounts.withLock { $0[thread] = round }
          }
        } catch { Issue.record(error) }
      }
    }
    defer {
      isOver.store(true, ordering: .relaxed)
      for thread in threads { thread.join() }
    }
    for _ in 0..<5 {
      let before = roundCounts.withLock { $0 }
      try waitUntil("every thread goes on") {
        zip(before, roundCounts.withLock { $0 }).allSatisfy { $0 + 2 < $1 }
      }
      try restart(server)
    }
    #expect(throws: StorageError.unsyncedWritesLost(store: server.uri)) { try store.sync() }
  }

  @Test func aServerThatStaysAwayIsAnErrorInBoundedTime() throws {
    let server = try serveFile()
    var limits = UpstreamLimits()
    limits.reconnectTries = 3
    limits.firstReconnectDelayMilliseconds = 10
    let store = try NBDStore.open(server.uri, expectedSize: nil, limits: limits)
    server.kill()
    let start = Date()
    let error = #expect(throws: StorageError.self) { try store.read(512, at: 0) }
    guard case .disconnected = error else { throw TestFailure("\(String(describing: error))") }
    #expect(Date().timeIntervalSince(start) < 10)
    try server.start()
    #expect(try store.read(1, at: 0) == [0])
  }

  @Test(arguments: [["memory", "512K"], ["-r", "memory", "1M"]])
  func anotherExportAfterTheRestartIsRefused(arguments: [String]) throws {
    let server = try NBDServer.nbdkit(["memory", "1M"], in: folder)
    var limits = UpstreamLimits()
    limits.reconnectTries = 2
    let store = try NBDStore.open(server.uri, expectedSize: nil, limits: limits)
    server.kill()
    try server.start(arguments)
    let error = #expect(throws: StorageError.self) { try store.read(512, at: 0) }
    #expect("\(error!)".contains("another export"))
  }

  @Test func aRequestThatIsNeverAnsweredIsGivenUp() throws {
    let server = try NBDServer.nbdkit(
      ["--filter=delay", "memory", "1M", "rdelay=600"], in: folder)
    var limits = UpstreamLimits()
    limits.requestTimeoutSeconds = 1
    limits.requestRetries = 0
    let store = try NBDStore.open(server.uri, expectedSize: nil, limits: limits)
    let error = #expect(throws: StorageError.self) { try store.read(512, at: 0) }
    #expect("\(error!)".contains("has not answered in time"))
    #expect(throws: Never.self) { try store.write(pattern(512), at: 0) }
  }
}
