import SystemIO
import TLS
import Testing

@testable import Appliance

/// Proves that a socket is not taken for closed because what was not taken yet lies at the buffer's
/// end.
@Suite struct InputBufferTests {
  @Test func `there is room again as soon as something was taken`() throws {
    let listener = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
    let peer = try Socket.connect(to: .tcp(host: "127.0.0.1", port: try listener.localPort()))
    #expect(listener.waitReadable(timeoutMilliseconds: 10_000))
    let accepted = try #require(try listener.accept())
    let transport = Transport(accepted)
    let sent = (0..<5000).map { UInt8(truncatingIfNeeded: $0) }
    try unsafe sent.withUnsafeBytes { try unsafe peer.sendAll($0) }
    var buffer = InputBuffer(byteCount: 4096, headroom: 0)
    func receive() throws -> Int {
      #expect(accepted.waitReadable(timeoutMilliseconds: 10_000))
      let count = try #require(try buffer.receive(from: transport, wanted: 10))
      return try #require(count > 0 ? count : nil, "nothing is no end")
    }
    while !buffer.isFull { _ = try receive() }
    buffer.consume(30)
    var count = 0
    while count < 30 { count += try receive() }
    #expect(unsafe Array(buffer.unread) == Array(sent[30..<4126]))
    peer.shutDown()
  }
}
