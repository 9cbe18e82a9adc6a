import Foundation
import SystemIO
import TestSupport
import Testing

/// Proves that a peer whose machine has vanished, which sends nothing any more and not even the end
/// of its connection, is noticed by the system in the time that was asked for.
@Suite(.scratch) struct KeepAliveTests {
  static let canMakeNetworks = geteuid() == 0 && (try? run("ip", ["netns", "list"]))?.status == 0

  private func option(_ socket: Socket, _ level: Int32, _ name: Int32) -> Int32 {
    var value: Int32 = 0
    var length = socklen_t(4)
    return unsafe getsockopt(socket.rawDescriptor, level, name, &value, &length) == 0 ? value : -1
  }

  @Test func `both ends of every connection watch for the other`() throws {
    let listener = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
    let client = try Socket.connect(
      to: .tcp(host: "127.0.0.1", port: try listener.localPort()))
    let accepted = try #require(try listener.accept())
    let tcp = Int32(IPPROTO_TCP)
    for socket in [client, accepted] {
      #expect(option(socket, SOL_SOCKET, SO_KEEPALIVE) == 1)
      #expect(option(socket, tcp, TCP_KEEPIDLE) == 60)
      #expect(option(socket, tcp, TCP_KEEPINTVL) == 10)
      #expect(option(socket, tcp, TCP_USER_TIMEOUT) == 120_000)
    }
  }

  /// Two machines, one of which can be unplugged.
  private final class Networks {
    let name = "tl-\(getpid())-\(UInt32.random(in: 0...999))"
    let (here, there): (String, String)
    let address: String

    init() throws {
      let net = UInt32.random(in: 0...16383)
      here = "tlh\(net)"
      there = "tlt\(net)"
      let prefix = "100.\(64 + net / 256).\(net % 256)"
      address = "\(prefix).1"
      try ip("netns add \(name)")
      try ip("link add \(here) type veth peer name \(there) netns \(name)")
      try ip("addr add \(address)/24 dev \(here)")
      try ip("link set \(here) up")
      try ip("-n \(name) addr add \(prefix).2/24 dev \(there)")
      try ip("-n \(name) link set \(there) up")
    }

    deinit {
      _ = try? ip("netns del \(name)")
      _ = try? ip("link del \(here)")
    }

    func ip(_ words: String) throws {
      try run("ip", words.split(separator: " ").map(String.init)).checked()
    }

    func unplug() throws { try ip("-n \(name) link set \(there) down") }
  }

  @Test(.enabled(if: canMakeNetworks, "needs root and ip(8)"), arguments: [false, true])
  func `a peer that was unplugged is noticed`(whileDataWaits: Bool) throws {
    let networks = try Networks()
    let listener = try Socket.listen(on: .tcp(host: networks.address, port: 0))
    let port = try listener.localPort()
    let code =
      "import socket, time\n"
      + "s = socket.create_connection(('\(networks.address)', \(port)))\ns.send(b'x')\n"
      + "time.sleep(600)"
    let peer = try ChildProcess(
      "ip", ["netns", "exec", networks.name, "/usr/bin/python3", "-c", code])
    try #require(listener.waitReadable(timeoutMilliseconds: 60_000))
    let socket = try #require(try listener.accept())
    socket.keepAlive(KeepAlive(idleSeconds: 1, intervalSeconds: 1, patienceSeconds: 3))
    try #require(socket.waitReadable(timeoutMilliseconds: 60_000))
    #expect(try socket.receive(limit: 10) == [120])
    try networks.unplug()
    if whileDataWaits {
      let bytes = [UInt8](repeating: 1, count: 1000)
      _ = try unsafe bytes.withUnsafeBytes { try unsafe socket.send($0) }
    }
    // Of what hangs; without the options it would be minutes or for ever.
    try #require(socket.waitReadable(timeoutMilliseconds: 100_000))
    #expect(throws: Errno.self) { try socket.receive(limit: 10) }
    peer.kill()
  }
}
