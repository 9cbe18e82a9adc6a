import SystemIO
import TestSupport
import Testing

@testable import Replication

/// A peer that is busy is waited for; one that is gone is not.
@Suite struct LinkChannelTests {
  private static func connect(stall: Int32) throws -> (LinkChannel, Socket) {
    let listener = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
    listener.setBufferBytes(send: 64 << 10, receive: 64 << 10)
    let channel = try LinkChannel(
      connectingTo: .tcp(host: "127.0.0.1", port: try listener.localPort()),
      stallMilliseconds: stall)
    var peer: Socket?
    try eventually("a connection") {
      peer = try listener.accept()
      return peer != nil
    }
    return (channel, try #require(peer))
  }

  /// More than all buffers between the two take.
  private static let body = [UInt8](repeating: 1, count: 32 << 20)

  @Test func `a peer that says nothing and takes nothing is given up`() throws {
    let (channel, peer) = try Self.connect(stall: 300)
    #expect(throws: LinkError.self) { try channel.send(LinkFrame(.records), Self.body) }
    peer.shutDown()
  }

  @Test func `a peer that takes nothing and says that it is busy is waited for`() throws {
    let (channel, peer) = try Self.connect(stall: 1000)
    let busy = Thread(name: "busy") {
      for _ in 0..<30 {
        let alive = LinkFrame(.alive).encoded
        unsafe alive.withUnsafeBytes { buffer in
          do throws(Errno) { _ = try unsafe peer.send(buffer) } catch {}
        }
        Thread.sleep(milliseconds: 100)
      }
      var left = Self.body.count + LinkFrame.byteCount
      while left > 0, peer.waitReadable(timeoutMilliseconds: 10_000),
        let bytes = try? peer.receive(limit: 1 << 20), !bytes.isEmpty
      {
        left -= bytes.count
      }
    }
    try channel.send(LinkFrame(.records), Self.body)
    busy.join()
    #expect(try channel.receive(timeoutMilliseconds: 0)?.0.kind == .alive)
  }
}
