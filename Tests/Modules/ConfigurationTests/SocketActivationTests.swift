import Configuration
import SystemIO
import Testing

/// Proves which sockets a process takes for its own, and which listener each of them serves.
struct SocketActivationTests {
  private func entries(_ environment: [String: String]) throws -> [SocketActivation.Entry] {
    try SocketActivation(environment: environment, process: 77, firstDescriptor: 3).entries
  }

  @Test func `sockets are taken with their names when they are for this process`() throws {
    let environment = ["LISTEN_PID": "77", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "nbd::control"]
    #expect(
      try entries(environment) == [
        .init(descriptor: 3, name: "nbd"), .init(descriptor: 4, name: nil),
        .init(descriptor: 5, name: "control"),
      ])
  }

  @Test func `names may be missing, and "unknown" is none`() throws {
    #expect(
      try entries(["LISTEN_PID": "77", "LISTEN_FDS": "1"]) == [.init(descriptor: 3, name: nil)])
    let unknown = ["LISTEN_PID": "77", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "unknown"]
    #expect(try entries(unknown) == [.init(descriptor: 3, name: nil)])
  }

  @Test(arguments: [
    [:], ["LISTEN_FDS": "1"], ["LISTEN_PID": "78", "LISTEN_FDS": "1"],
    ["LISTEN_PID": "77", "LISTEN_FDS": "0"], ["LISTEN_PID": "77"],
  ])
  func `sockets of another process, or none, are left alone`(
    environment: [String: String]
  ) throws {
    #expect(try entries(environment) == [])
  }

  @Test(arguments: [
    ["LISTEN_FDS": "-1"], ["LISTEN_FDS": "many"], ["LISTEN_FDS": "100000"],
    ["LISTEN_FDS": "2", "LISTEN_FDNAMES": "nbd"],
  ])
  func `what cannot be is refused`(environment: [String: String]) {
    #expect(throws: SocketActivationError.self) {
      try entries(environment.merging(["LISTEN_PID": "77"]) { $1 })
    }
  }

  // MARK: Assignment

  private static let a = SocketAddress.unix(path: "/run/a.sock")
  private static let b = SocketAddress.tcp(host: "localhost", port: 10809)
  private static let link = SocketAddress.tcp(host: "10.0.0.1", port: 10810)
  private static let control = SocketAddress.unix(path: "/run/control.sock")
  private static let listen = ListenConfiguration(
    nbd: [.init(address: a), .init(address: b)], link: link, control: control)

  private func assign(
    _ sockets: [(String?, SocketAddress?)], _ listen: ListenConfiguration = listen
  ) throws -> [ListenerIdentity] {
    let passed = sockets.enumerated().map { index, socket in
      ListenConfiguration.PassedSocket(
        descriptor: Int32(3 + index), name: socket.0, address: socket.1)
    }
    return try listen.assign(passed) { address in
      address == Self.b ? .tcp(host: "127.0.0.1", port: 10809) : address
    }
  }

  @Test func `a socket serves the listener with its address, whatever its name`() throws {
    #expect(
      try assign([
        ("tapline.socket", Self.control), (nil, .tcp(host: "127.0.0.1", port: 10809)),
        ("control", Self.a),
      ]) == [.init(.control, Self.control), .init(.nbd, Self.b), .init(.nbd, Self.a)])
  }

  @Test func `a name stands for the first listener of its kind that is left`() throws {
    let elsewhere = SocketAddress.unix(path: "/tmp/x")
    #expect(
      try assign([
        ("nbd", elsewhere), ("link", nil), ("nbd", Self.a), ("control", elsewhere),
      ]) == [
        .init(.nbd, Self.b), .init(.link, Self.link), .init(.nbd, Self.a),
        .init(.control, Self.control),
      ])
  }

  @Test func `a socket without a name is an NBD listener`() throws {
    #expect(try assign([(nil, .unix(path: "/tmp/libnbd/sock"))]) == [.init(.nbd, Self.a)])
  }

  @Test func `what fits no listener is refused with what there is`() throws {
    let other = SocketAddress.unix(path: "/tmp/x")
    for sockets: [(String?, SocketAddress?)] in [
      [("tapline.socket", other)], [("nbd", other), ("nbd", other), ("nbd", other)],
      [("link", nil), ("link", nil)], [(nil, Self.a), (nil, Self.b), (nil, other)],
    ] {
      let refusal = #expect(throws: SocketActivationError.self) { try assign(sockets) }
      #expect(refusal?.description.contains("control unix:/run/control.sock") ?? false)
    }
    #expect(throws: SocketActivationError.self) {
      try assign([(nil, other)], ListenConfiguration())
    }
  }
}
