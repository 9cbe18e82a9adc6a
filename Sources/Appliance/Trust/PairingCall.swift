import BlockModel
import Replication
import SystemIO
import TLS

/// Introduces a site to another one, of which an operator has brought a code. It has a connection
/// to the other's link listener for this alone. Blocks, for `seconds` at most.
struct PairingCall {
  static let seconds: UInt64 = 15

  private let trust: SiteTrust
  private let code: PairingCode
  private let address: SocketAddress
  private let end = SystemClock.monotonicNanoseconds() + seconds * 1_000_000_000

  /// The name of the other site; it is durable there and here that they are paired.
  static func pair(
    _ trust: SiteTrust, with code: PairingCode, at address: SocketAddress
  ) throws(SiteError) -> PeerTable.Peer {
    let call = PairingCall(trust: trust, code: code, address: address)
    let other = try call.introduce()
    guard let peer = trust.peers.first(where: { $0.site == other }) else {
      throw SiteError("\(other) was unpaired meanwhile")
    }
    return peer
  }

  private init(trust: SiteTrust, code: PairingCode, address: SocketAddress) {
    (self.trust, self.code, self.address) = (trust, code, address)
  }

  private func introduce() throws(SiteError) -> String {
    let socket = try connect()
    let session = try trust.session(with: socket, of: code)
    defer { session.sayGoodbye() }
    try shakeHands(session, socket)
    guard let key = session.peerKey else { preconditionFailure("who answers has proved a key") }
    do {
      let introduction = PairingIntroduction(site: trust.site, secret: code.secret)
      try send(introduction.encoded, on: session, socket)
      let (frame, body) = try answer(on: session, socket)
      if frame.kind == .refused {
        throw SiteError("\(address): \(String(decoding: body.prefix(1024), as: UTF8.self))")
      }
      guard frame.kind == .paired else {
        throw SiteError("\(address) answers with something else: is it a link address of Tapline?")
      }
      let other = try PairingAnswer(decoding: body).site
      try trust.pair(other, key)
      return other
    } catch let error as SiteError {
      throw error
    } catch {
      throw SiteError(
        session.wasRejected
          ? "\(address) does not take new sites now: the code was used or has run out"
          : "\(address): \(text(error))")
    }
  }

  private func text(_ error: any Error) -> String {
    error as? Errno == .timedOut ? "it has not answered in \(Self.seconds) s" : "\(error)"
  }

  private func connect() throws(SiteError) -> Socket {
    do throws(Errno) {
      let socket = try Socket.beginConnecting(to: try address.lookedUp())
      try wait { socket.waitWritable(timeoutMilliseconds: $0) }
      try socket.checkConnected()
      return socket
    } catch { throw SiteError("cannot connect to \(address): \(error)") }
  }

  private func shakeHands(_ session: TLSSession, _ socket: Socket) throws(SiteError) {
    do {
      while let awaited = try session.handshake() {
        try wait {
          awaited == .readable
            ? socket.waitReadable(timeoutMilliseconds: $0)
            : socket.waitWritable(timeoutMilliseconds: $0)
        }
      }
    } catch {
      throw SiteError(
        "\(address) is not the site of which the code is, or does not use TLS: "
          + text(error))
    }
  }

  private func send(
    _ bytes: [UInt8], on session: TLSSession, _ socket: Socket
  ) throws(Errno) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let sent = unsafe rest.withUnsafeBytes { buffer in
        Result { () throws(Errno) in try unsafe session.send(buffer) }
      }
      if let count = try sent.get() {
        rest = rest.dropFirst(count)
      } else {
        try wait { socket.waitWritable(timeoutMilliseconds: $0) }
      }
    }
  }

  private func answer(
    on session: TLSSession, _ socket: Socket
  ) throws -> (LinkFrame, [UInt8]) {
    let transport = Transport(socket, tls: session)
    var inbox = LinkInbox()
    while true {
      if let message = try inbox.next() { return message }
      guard let bytes = try transport.receive(limit: 4096) else {
        try wait { socket.waitReadable(timeoutMilliseconds: $0) }
        continue
      }
      guard !bytes.isEmpty else {
        throw SiteError("\(address) has closed the connection")
      }
      inbox.append(bytes)
    }
  }

  private func wait(_ body: (Int32) -> Bool) throws(Errno) {
    let now = SystemClock.monotonicNanoseconds()
    guard now < end, body(Int32((end - now) / 1_000_000)) else { throw .timedOut }
  }
}
