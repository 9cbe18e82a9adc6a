import SystemIO
import Testing

/// Proves that connecting without waiting says how it has ended, and that only names are asked for.
@Suite struct ConnectingTests {
  @Test func `a connection that comes about can be used`() throws {
    let listener = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
    let port = try listener.localPort()
    let socket = try Socket.beginConnecting(to: .tcp(host: "127.0.0.1", port: port))
    #expect(socket.waitWritable(timeoutMilliseconds: 10_000))
    try socket.checkConnected()
    #expect(listener.waitReadable(timeoutMilliseconds: 10_000))
    #expect(try listener.accept() != nil)
  }

  @Test func `a connection that is refused says so`() throws {
    var listener: Socket? = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
    let port = try #require(try listener?.localPort())
    listener = nil
    #expect(throws: Errno.self) {
      let socket = try Socket.beginConnecting(to: .tcp(host: "127.0.0.1", port: port))
      #expect(socket.waitWritable(timeoutMilliseconds: 10_000))
      try socket.checkConnected()
    }
  }

  @Test(arguments: [
    ("127.0.0.1", false), ("::1", false), ("fe80::1%eth0", false), ("localhost", true),
    ("10.1", true), ("1.2.3.4.5", true), ("1.2.3.256", true), ("west.example", true),
  ])
  func `what is no number is a name`(host: String, isName: Bool) {
    #expect(SocketAddress.tcp(host: host, port: 1).isName == isName)
  }

  @Test func `a name has a number`() throws {
    let found = try SocketAddress.tcp(host: "localhost", port: 7).lookedUp()
    #expect(found == .tcp(host: "127.0.0.1", port: 7))
    let path = SocketAddress.unix(path: "/a")
    #expect(!path.isName)
    #expect(try path.lookedUp() == path)
  }
}
