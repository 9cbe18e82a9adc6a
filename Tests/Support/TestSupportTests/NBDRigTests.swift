import Foundation
import TestSupport
import Testing

/// Proves the NBD client, the load and the proxy on upstream servers.
@Suite(.scratch, .requires("nbdkit", "qemu-nbd")) struct NBDRigTests {
  /// An upstream server of a memory disk.
  private struct Upstream {
    let scratch = try! ScratchDirectory()
    let socket: String
    let process: ChildProcess
    var uri: String { "nbd+unix:///?socket=\(socket)" }

    init(_ arguments: [String]) throws {
      let socket = try scratch.socket("nbd.sock")
      process = try ChildProcess("nbdkit", ["-f", "-U", socket] + arguments, logs: scratch)
      self.socket = socket
      try eventually("nbdkit listens") { RawConnection.isListening(unix: socket) }
    }
  }

  @Test func `every request of the client does what it says`() throws {
    let upstream = try Upstream(["memory", "8M"])
    let client = try NBDClient(upstream.uri)
    #expect(client.size == 8 << 20)
    #expect(!client.isReadOnly && client.canFlush && client.canFUA && client.canMultiConnect)
    var generator = SeededGenerator(seed: 1)
    let bytes = generator.bytes(100_001)
    try client.write(bytes, at: 511, fua: true)
    try client.flush()
    try client.zero(at: 1000, count: 3)
    try client.trim(at: 5 << 20, count: 4096)
    var expected = [UInt8](repeating: 0, count: 511) + bytes
    expected.replaceSubrange(1000..<1003, with: [0, 0, 0])
    #expect(try client.read(at: 0, count: expected.count) == expected)
  }

  @Test func `an error of the server reaches the caller and the connection lives on`() throws {
    let upstream = try Upstream(["memory", "1M"])
    let client = try NBDClient(upstream.uri, checksRequests: false)
    let error = #expect(throws: NBDClient.Failure.self) { try client.read(at: 1 << 20, count: 1) }
    #expect(error?.errno == EINVAL)
    #expect(try client.read(at: 0, count: 1) == [0])
    #expect(client.isAlive)
  }

  @Test func `an export that is refused and a server that is not there throw`() throws {
    let scratch = try ScratchDirectory()
    let socket = try scratch.socket("nbd.sock")
    #expect(throws: NBDClient.Failure.self) { try NBDClient("nbd+unix:///?socket=\(socket)") }
    let image = try scratch.sparseFile("disk.raw", size: 1 << 20)
    let server = try ChildProcess(
      "qemu-nbd", ["-t", "-f", "raw", "-x", "name", "-k", socket, image], logs: scratch)
    try eventually("qemu-nbd listens") { RawConnection.isListening(unix: socket) }
    #expect(throws: NBDClient.Failure.self) { try NBDClient("nbd+unix:///other?socket=\(socket)") }
    #expect(try NBDClient("nbd+unix:///name?socket=\(socket)").size == 1 << 20)
    try server.terminate()
  }

  @Test func `an answer that never comes is not waited for without end`() throws {
    let upstream = try Upstream(["--filter=delay", "memory", "1M", "rdelay=60"])
    let client = try NBDClient(upstream.uri, within: .milliseconds(200))
    #expect(throws: RigError.self) { try client.read(at: 0, count: 1) }
  }

  @Test func `a load with many in flight leaves what its history says`() throws {
    let upstream = try Upstream(["memory", "4M"])
    let history = WriteHistory(sectors: 8192)
    let load = WriteLoad(upstream.uri, history: history)
    try load.makeProgress(500)
    try load.stop()
    #expect(load.failure == nil)
    let image = try NBDClient(upstream.uri).read(at: 0, count: 4 << 20)
    #expect(history.violations(in: image) == [])
    #expect(history.cutViolations(in: image) == [])
  }

  @Test func `a load ends with a reason when its server is killed`() throws {
    let upstream = try Upstream(["memory", "4M"])
    let history = WriteHistory(sectors: 8192)
    let load = WriteLoad(upstream.uri, history: history)
    try load.makeProgress(100)
    upstream.process.kill()
    try eventually("the load notices") { load.failure != nil }
    try load.stop()
    #expect(history.acknowledgedCount <= history.count)
  }

  @Test func `a volatile cache that dies shows as lost writes`() throws {
    let scratch = try ScratchDirectory()
    let image = try scratch.sparseFile("disk.raw", size: 4 << 20)
    let socket = try scratch.socket("nbd.sock")
    let server = try ChildProcess(
      "nbdkit",
      ["-f", "-U", socket, "--filter=cache", "file", image, "cache=writeback"], logs: scratch)
    try eventually("nbdkit listens") { RawConnection.isListening(unix: socket) }
    let history = WriteHistory(sectors: 8192)
    var shape = WriteLoad.Shape()
    shape.flushEvery = 0
    let load = WriteLoad("nbd+unix:///?socket=\(socket)", history: history, shape: shape)
    try load.makeProgress(100)
    server.kill()
    try server.wait()
    try load.stop()
    let left = [UInt8](try Data(contentsOf: URL(fileURLWithPath: image)))
    #expect(history.violations(in: left).first?.contains("lost") == true)
  }

  @Test func `a cable that is cut breaks its connections until it is joined`() throws {
    let port = try unusedPort()
    let server = try ChildProcess(
      "nbdkit", ["-f", "-i", "127.0.0.1", "-p", "\(port)", "memory", "4M"])
    try eventually("nbdkit listens") { (try? RawConnection(port: port)) != nil }
    let cable = try CutProxy(to: port)
    defer { cable.stop() }
    let uri = "nbd://" + cable.address.dropFirst("tcp:".count)

    let first = try NBDClient(uri)
    try first.write([1, 2, 3], at: 0)
    let before = cable.forwardedBytes
    cable.cut(afterBytes: 1000)
    #expect(throws: (any Error).self) {
      try first.write([UInt8](repeating: 9, count: 100_000), at: 4096)
    }
    #expect(cable.forwardedBytes == before + 1000)
    #expect(cable.isCut)
    #expect(throws: (any Error).self) { try NBDClient(uri) }
    cable.join()
    #expect(try NBDClient(uri).read(at: 0, count: 3) == [1, 2, 3])
    try server.terminate()
  }
}
