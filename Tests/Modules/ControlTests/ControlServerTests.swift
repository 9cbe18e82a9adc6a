import Appliance
import BlockModel
import Configuration
import SystemIO
import Testing

@testable import Control

/// Proves over a real socket that commands reach the site and replies come back whole, that bad
/// requests are refused in words, and that no client can keep others from being served.
@Suite(.timeLimit(.minutes(2))) struct ControlServerTests {
  @Test func statusComesBackWhole() throws {
    let fixture = try ControlFixture()
    let received = try fixture.client.status()
    #expect(try ControlJSON.pretty(received) == ControlJSON.pretty(SampleStatus.status))
  }

  @Test func timelineComesBackWhole() throws {
    let fixture = try ControlFixture()
    let received = try fixture.client.timeline(group: "shop")
    #expect(try ControlJSON.pretty(received) == ControlJSON.pretty(SampleStatus.timeline))
  }

  @Test func checkpointIsTakenOnce() throws {
    let fixture = try ControlFixture()
    let checkpoint = try fixture.client.checkpoint(group: "shop", tag: "before ümbau")
    #expect(checkpoint.tag == "before ümbau")
    #expect(checkpoint.sequence == 42)
    #expect(fixture.site.checkpoints == ["shop before ümbau"])
  }

  @Test func whatAReloadCameToComesBackWhole() throws {
    let fixture = try ControlFixture()
    #expect(try fixture.client.reload() == SampleStatus.reload)
  }

  @Test func aConfigurationThatIsWrongIsToldFromOtherRefusals() throws {
    let fixture = try ControlFixture()
    let error = ConfigurationError(file: "east.yaml", line: 7, reason: "unknown key 'x'")
    fixture.site.reloading.withLock { $0 = .failure(error) }
    #expect(throws: ControlError.badConfiguration("east.yaml:7: unknown key 'x'")) {
      try fixture.client.reload()
    }
  }

  @Test func refusalOfTheSiteArrivesInItsWords() throws {
    let fixture = try ControlFixture()
    #expect(throws: ControlError.refused("there is no group 'nowhere'")) {
      try fixture.client.timeline(group: "nowhere")
    }
  }

  @Test(arguments: [
    (#"{"command":"status""#, "bad request: it is not JSON"),
    ("", "bad request: it is not JSON"),
    ("\u{0}\u{1}", "bad request: it is not JSON"),
    (#"{"group":"shop"}"#, #"bad request: the member "command" is missing"#),
    (#"{"command":7}"#, #"bad request: the member "command" is not of its type"#),
    (#"{"command":"timeline"}"#, "bad request: timeline needs a group"),
    (#"{"command":"format"}"#, "unknown command 'format'"),
    (#"{"command":"checkpoint","group":"shop"}"#, "a checkpoint needs a tag"),
    (#"{"command":"checkpoint","group":"shop","tag":""}"#, "a checkpoint needs a tag"),
    (#"{"command":"checkpoint","group":"shop","tag":"a\nb"}"#, "a checkpoint needs a tag"),
  ])
  func badRequestIsRefusedAndTheConnectionGoesOn(_ line: String, _ reason: String) throws {
    let fixture = try ControlFixture()
    let client = try fixture.connect()
    try client.send(line + "\n")
    let reply = try ControlJSON.decode(
      ControlReply<NoResult>.self, from: Array(try #require(try client.receiveLine()).utf8))
    #expect(!reply.ok)
    #expect(reply.error?.hasPrefix(reason) == true, "\(reply)")
    try client.send("{\"command\":\"status\"}\n")
    #expect(try client.receiveLine()?.contains(#""ok":true"#) == true)
    #expect(fixture.site.checkpoints == [])
  }

  @Test func bytesThatAreNotUTF8AreRefused() throws {
    let fixture = try ControlFixture()
    let client = try fixture.connect()
    try client.send([0x7B, 0xFF, 0xFE, 0x7D, 0x0A])
    #expect(try client.receiveLine()?.contains("not JSON") == true)
  }

  @Test func repliesKeepTheOrderOfRequestsSentTogether() throws {
    let fixture = try ControlFixture()
    let client = try fixture.connect()
    let requests = (1...20).map { #"{"command":"checkpoint","group":"shop","tag":"t\#($0)"}"# }
    try client.send(requests.joined(separator: "\n") + "\n")
    for number in 1...20 {
      #expect(try client.receiveLine()?.contains(#""tag":"t\#(number)""#) == true)
    }
  }

  @Test func requestInPiecesIsPutTogether() throws {
    let fixture = try ControlFixture()
    let client = try fixture.connect()
    for byte in "{\"command\":\"timeline\",\"group\":\"shop\"}\n".utf8 { try client.send([byte]) }
    #expect(try client.receiveLine()?.contains("before-upgrade") == true)
  }

  @Test func requestThatIsTooLongEndsTheConnectionWithAReason() throws {
    let fixture = try ControlFixture()
    let client = try fixture.connect()
    try client.send([UInt8](repeating: 32, count: ControlLimits.requestBytes + 1))
    #expect(try client.receiveLine()?.contains("a request has at most") == true)
    #expect(try client.receiveLine() == nil)
  }

  @Test func longestRequestIsTaken() throws {
    let fixture = try ControlFixture()
    let client = try fixture.connect()
    let request = Array(#"{"command":"status"}"#.utf8)
    let padding = [UInt8](repeating: 32, count: ControlLimits.requestBytes - request.count)
    try client.send(request + padding + [0x0A])
    #expect(try client.receiveLine()?.contains(#""ok":true"#) == true)
  }

  @Test func silentAndWaitingClientsDoNotHoldOthersUp() throws {
    let fixture = try ControlFixture()
    let silent = try fixture.connect()
    let waiting = try fixture.connect()
    let replied = try fixture.site.gate.withLock { _ in
      try waiting.send("{\"command\":\"timeline\",\"group\":\"shop\"}\n")
      return try fixture.client.status().site
    }
    #expect(replied == "east")
    #expect(try waiting.receiveLine()?.contains(#""ok":true"#) == true)
    _ = silent
  }

  @Test func connectionsBeyondTheLimitAreRefusedUntilOneEnds() throws {
    let fixture = try ControlFixture()
    var clients = try (0..<ControlLimits.connections).map { _ in try fixture.connect() }
    try waitUntil { fixture.server.connectionCount == ControlLimits.connections }
    #expect(throws: ControlError.refused("too many control connections; 32 is the limit")) {
      try fixture.client.status()
    }
    clients.removeLast()
    try waitUntil { fixture.server.connectionCount < ControlLimits.connections }
    #expect(try fixture.client.status().site == "east")
  }

  @Test func clientThatGoesAwayBeforeItsReplyHarmsNobody() throws {
    let fixture = try ControlFixture()
    for _ in 0..<20 {
      let client = try fixture.connect()
      try client.send("{\"command\":\"status\"}\n{\"command\":\"status\"}\n")
      client.socket.shutDown()
    }
    #expect(try fixture.client.status().site == "east")
    try waitUntil { fixture.server.connectionCount == 0 }
  }

  @Test func stopEndsConnectionsAndRemovesTheSocket() throws {
    let fixture = try StoppedFixture()
    #expect(try fixture.idle.receiveLine() == nil)
    #expect(throws: ControlError.unreachable(fixture.address.description, .notFound)) {
      try ControlClient(fixture.address).status()
    }
  }

  @Test func addressInUseIsRefused() throws {
    let fixture = try ControlFixture()
    #expect(throws: Errno.self) { try ControlServer(fixture.site, at: fixture.address) }
    #expect(try fixture.client.status().site == "east")
  }

  @Test func servesOverTCPToo() throws {
    let site = StandInSite()
    let server = try ControlServer(site, at: .tcp(host: "127.0.0.1", port: 0))
    defer { server.stop() }
    guard case .tcp(_, let port) = server.address else {
      Issue.record("not TCP")
      return
    }
    let client = ControlClient(.tcp(host: "127.0.0.1", port: port))
    #expect(try client.status().groups.count == 2)
  }

  @Test func valuesThatAreNoNumbersTravel() throws {
    var status = SampleStatus.status
    status.groups[0].link?.rpoSeconds = .infinity
    let line = try ControlJSON.encode(status)
    let decoded = try ControlJSON.decode(SiteStatus.self, from: line)
    #expect(decoded.groups[0].link?.rpoSeconds == .infinity)
  }
}

/// Proves that the client tells what went wrong, whatever is at the other end.
@Suite(.timeLimit(.minutes(2))) struct ControlClientTests {
  /// Answers one connection with fixed bytes.
  private static func exchange(with answer: String) throws -> ControlError? {
    let listener = try Socket.listen(on: .tcp(host: "127.0.0.1", port: 0))
    let port = try listener.localPort()
    let thread = SystemIO.Thread(name: "answer") {
      guard listener.waitReadable(timeoutMilliseconds: 10_000),
        let socket = try? listener.accept(), socket.waitReadable(timeoutMilliseconds: 10_000)
      else { return }
      var request = [UInt8](repeating: 0, count: 1000)
      _ = try? unsafe request.withUnsafeMutableBytes { try unsafe socket.receive(into: $0) }
      _ = try? unsafe Array(answer.utf8).withUnsafeBytes { try unsafe socket.send($0) }
      socket.shutDown()
    }
    defer { thread.join() }
    do throws(ControlError) {
      _ = try ControlClient(.tcp(host: "127.0.0.1", port: port)).status()
      return nil
    } catch { return error }
  }

  @Test(arguments: [
    ("", "ended before the reply: closed"),
    (#"{"ok":true"#, "ended before the reply: closed"),
    ("hello\n", "cannot be understood: it is not JSON"),
    ("{\"ok\":true}\n", "the site gave no reason"),
    ("{\"ok\":false,\"error\":\"because\"}\n", "because"),
    ("{\"ok\":true,\"result\":{}}\n", #"the member "site" is missing"#),
  ])
  func strangeAnswersAreErrors(_ answer: String, _ reason: String) throws {
    let error = try #require(try Self.exchange(with: answer))
    #expect(error.description.contains(reason), "\(error)")
  }

  @Test func nobodyAtTheAddressIsUnreachable() throws {
    let address = SocketAddress.unix(path: "/nonexistent/tapline.sock")
    #expect(throws: ControlError.unreachable(address.description, .notFound)) {
      try ControlClient(address).status()
    }
  }
}

/// A server that was stopped while a client was connected.
private struct StoppedFixture {
  let address: SocketAddress
  let idle: RawClient

  init() throws {
    let fixture = try ControlFixture()
    address = fixture.address
    idle = try fixture.connect()
    let server = fixture.server
    try waitUntil { server.connectionCount == 1 }
  }
}

/// Waits until `condition` holds, for 20 seconds at most.
private func waitUntil(_ condition: () -> Bool) throws {
  let deadline = SystemClock.monotonicNanoseconds() + 20_000_000_000
  let pause = try Wakeup()
  while !condition() {
    guard SystemClock.monotonicNanoseconds() < deadline else { throw Errno.timedOut }
    pause.wait(timeoutMilliseconds: 2)
  }
}
