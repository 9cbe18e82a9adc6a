import BlockModel
import Foundation
import SystemIO
import Testing

@testable import Storage

/// Proves what only NBD servers show: refusals, errors, connections, blocks changed in part by
/// many threads, allocation, encryption. All with real servers.
@Suite(.enabled(if: Tools.have("nbdkit"), "needs nbdkit")) struct NBDStoreTests {
  let folder = ScratchFolder()

  private func openError(_ uri: String, expectedSize: UInt64? = nil) -> StorageError? {
    var limits = UpstreamLimits()
    limits.connectTimeoutSeconds = 1
    do throws(StorageError) {
      _ = try NBDStore.open(uri, expectedSize: expectedSize, limits: limits)
      return nil
    } catch { return error }
  }

  // MARK: Opening

  @Test func anotherSizeIsRefused() throws {
    let server = try NBDServer.nbdkit(["memory", "1M"], in: folder)
    #expect(
      openError(server.uri, expectedSize: 2 << 20)
        == .sizeDisagrees(store: server.uri, byteCount: 1 << 20, expected: 2 << 20))
  }

  @Test(
    arguments: [
      (["-r", "memory", "1M"], "read-only"),
      (["sh", "-"], "neither FLUSH nor FUA"),
      (
        [
          "--filter=blocksize-policy", "memory", "1000000", "blocksize-minimum=4096",
          "blocksize-preferred=4096",
        ],
        "no multiple"
      ),
    ] as [([String], String)])
  func anUnsuitableExportIsRefused(arguments: [String], words: String) throws {
    var arguments = arguments
    if let index = arguments.firstIndex(of: "-") {
      // A plugin that can write and has no flush.
      let script =
        "#!/bin/sh\ncase $1 in get_size) echo 1048576;; can_write) exit 0;; *) exit 2;; esac"
      try script.write(toFile: folder["plugin"], atomically: true, encoding: .utf8)
      _ = unsafe chmod(folder["plugin"], 0o755)
      arguments[index] = folder["plugin"]
    }
    let server = try NBDServer.nbdkit(arguments, in: folder)
    #expect("\(openError(server.uri)!)".contains(words))
  }

  @Test(arguments: [
    "nbd+unix:///?socket=/nonexistent/socket", "nbd://127.0.0.1:1", "http://example.invalid/",
    "not a uri",
  ])
  func noServerIsDisconnected(uri: String) {
    guard case .disconnected(let request, let message) = openError(uri) else {
      Issue.record("opened, or another error")
      return
    }
    #expect(request.store == uri && request.operation == .open && !message.isEmpty)
  }

  @Test func aSilentServerIsGivenUp() throws {
    let listener = try Socket.listen(on: .unix(path: folder["silent"]))
    let error = openError("nbd+unix:///?socket=\(folder["silent"])")
    #expect("\(error!)".contains("has not answered in time"))
    withExtendedLifetime(listener) {}
  }

  @Test func encryptionIsUsedWhenTheURISaysSo() throws {
    let key = String(repeating: "c0ffee42", count: 8)
    try "tapline:\(key)\n".write(toFile: folder["keys"], atomically: true, encoding: .utf8)
    let server = try NBDServer.nbdkit(
      ["--tls=require", "--tls-psk=\(folder["keys"])", "memory", "1M"], in: folder)
    #expect(openError(server.uri) != nil)
    let uri = "nbds+unix://tapline@\(server.uriRest)&tls-psk-file=\(folder["keys"])"
    let store = try NBDStore.open(uri, expectedSize: 1 << 20)
    try store.write(pattern(5000), at: 100)
    #expect(try store.read(5000, at: 100) == pattern(5000))
  }

  @Test(arguments: [("auto", 4), ("disable", 1)])
  func severalConnectionsOnlyWhereTheServerAllows(mode: String, count: Int) throws {
    let server = try NBDServer.nbdkit(
      ["--filter=multi-conn", "memory", "1M", "multi-conn-mode=\(mode)"], in: folder)
    let store = try NBDStore.open(server.uri, expectedSize: nil)
    #expect(store.connectionCount == count)
  }

  // MARK: Requests

  @Test(arguments: [
    ("ENOSPC", StorageError.Operation.write), ("EIO", .write), ("EPERM", .write), ("EIO", .read),
    ("ENOSPC", .zero),
  ])
  func errorsOfTheServerKeepTheirMeaning(
    name: String, operation: StorageError.Operation
  ) throws {
    let call = [.write: "pwrite", .read: "pread", .zero: "zero"][operation]!
    let server = try NBDServer.nbdkit(
      ["--filter=error", "memory", "1M", "error-\(call)=\(name)", "error-\(call)-rate=100%"],
      in: folder)
    let store = try NBDStore.open(server.uri, expectedSize: nil)
    let request = StorageError.Request(server.uri, operation, 4096, 512)
    let error = #expect(throws: StorageError.self) {
      switch operation {
      case .write: try store.write(pattern(512), at: 4096)
      case .read: _ = try store.read(512, at: 4096)
      default: try store.zero(ByteRange(start: 4096, length: 512), mayFreeSpace: true)
      }
    }
    switch (name, error) {
    case ("ENOSPC", .noSpace(request)), ("EIO", .inputOutput(request, _)): break
    case ("EPERM", .failed(request, .notPermitted, _)): break
    default: Issue.record("\(name) became \(String(describing: error))")
    }
    if operation != .read { #expect(try store.read(1, at: 0) == [0]) }
  }

  @Test func largeRequestsAreSplit() throws {
    let server = try NBDServer.nbdkit(["memory", "100M"], in: folder)
    let store = try NBDStore.open(server.uri, expectedSize: nil)
    // The period is no divisor of any request's size, so a misplaced piece differs.
    let period = pattern(999_983)
    var bytes: [UInt8] = []
    for _ in 0..<70 { bytes += period }
    try store.write(bytes, at: 1 << 20)
    #expect(try store.read(bytes.count, at: 1 << 20) == bytes)
    try store.zero(ByteRange(start: 1 << 20, length: 66 << 20), mayFreeSpace: true)
    #expect(try store.nextDataRange(from: 1 << 20, limit: 67 << 20) == nil)
    #expect(
      try store.read(8192, at: 67 << 20 - 4096) == zeros(4096) + bytes[(66 << 20)...].prefix(4096))
  }

  @Test func largeAndSmallPiecesAreGatheredIntoOneRange() throws {
    let server = try NBDServer.nbdkit(["memory", "8M"], in: folder)
    let store = try NBDStore.open(server.uri, expectedSize: nil)
    let pieces = [100, 1 << 20, 3, 3 << 20, 500_000, 700_000, 1]
    let period = pattern(99_991)
    var bytes: [UInt8] = []
    while bytes.count < pieces.reduce(0, +) { bytes += period }
    bytes.removeLast(bytes.count - pieces.reduce(0, +))
    try store.writeGathered(bytes, pieces: pieces, at: 77)
    #expect(try store.read(bytes.count, at: 77) == bytes)
  }

  @Test func zerosKeepTheServersSpaceUnlessTheyMayFreeIt() throws {
    let path = try folder.makeFile("disk", byteCount: 8 << 20)
    let server = try NBDServer.nbdkit(["file", path], in: folder)
    let store = try NBDStore.open(server.uri, expectedSize: nil)
    try store.write(pattern(4 << 20), at: 0)
    try store.sync()
    let full = allocatedBytes(path)
    try store.zero(ByteRange(start: 0, length: 4 << 20), mayFreeSpace: false)
    #expect(allocatedBytes(path) >= full)
    try store.zero(ByteRange(start: 0, length: 4 << 20), mayFreeSpace: true)
    #expect(allocatedBytes(path) <= full - (4 << 20) + 65536)
  }

  @Test func neverCached() throws {
    let server = try NBDServer.nbdkit(["memory", "1M"], in: folder)
    let store = try NBDStore.open(server.uri, expectedSize: nil)
    var bytes = [UInt8](repeating: 0, count: 1)
    let isCached = try unsafe bytes.withUnsafeMutableBytes {
      try unsafe store.readIfCached(into: $0, at: 0)
    }
    #expect(!isCached)
  }

  /// Each thread owns every eighth piece of 512 bytes, so all write into the same blocks of 4 KiB.
  @Test func partsOfOneBlockAreWrittenByManyThreads() throws {
    let server = try NBDServer.nbdkit(
      StoreModelTests.Kind.nbdMinimumBlock.nbdkitArguments, in: folder)
    let store = try NBDStore.open(server.uri, expectedSize: nil)
    #expect(store.connectionCount == 4)
    let bytes = pattern(64 << 10)
    let threads = (0..<8).map { thread in
      SystemIO.Thread(name: "client-\(thread)") {
        for piece in stride(from: thread, to: 128, by: 8) {
          let range = piece * 512..<(piece + 1) * 512
          do { try store.write(Array(bytes[range]), at: UInt64(range.lowerBound)) } catch {
            Issue.record(error)
          }
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(try store.read(bytes.count, at: 0) == bytes)
  }

  @Test func allocationIsAsked() throws {
    let path = try folder.makeFile("disk", byteCount: 3 << 30)
    let server = try NBDServer.nbdkit(["file", path], in: folder)
    let store = try NBDStore.open(server.uri, expectedSize: 3 << 30)
    #expect(try store.nextDataRange(from: 0, limit: 3 << 30) == nil)
    try store.write(pattern(4096), at: 2 << 30 | 65536)
    let data = try #require(try store.nextDataRange(from: 5, limit: 3 << 30))
    #expect(data.start > 2 << 30 && data.end <= 2 << 30 | 1 << 20)
  }

  @Test(.enabled(if: Tools.have("qemu-io"), "needs qemu-io"))
  func anotherClientSeesTheBytes() throws {
    let server = try NBDServer.nbdkit(["memory", "1M"], in: folder)
    let store = try NBDStore.open(server.uri, expectedSize: nil)
    try store.write([UInt8](repeating: 0xA5, count: 7000), at: 1000)
    try store.sync()
    let commands = ["read -P 0xa5 1000 7000", "write -P 0x3c 50000 3000"]
    for command in commands {
      let output = Tools.run("qemu-io", "-f", "raw", "-c", command, server.uri)
      #expect(output?.contains("Pattern verification failed") == false)
    }
    #expect(try store.read(3000, at: 50000) == [UInt8](repeating: 0x3C, count: 3000))
  }
}
