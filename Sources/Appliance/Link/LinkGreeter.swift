import BlockModel
import Configuration
import Replication
import SystemIO
import TLS

/// A peer that has not said yet which group it sends, or that introduces itself. Confined to the
/// thread of its door's loop.
final class LinkGreeter: EventHandler, @unchecked Sendable {
  private var transport: Transport
  private let door: LinkDoor
  /// Set while TLS begins.
  private var beginning: TLSSession?
  private var interest: Poller.Interest = .readable
  private var input: [UInt8] = []
  /// It has introduced itself: nothing else is taken from it.
  private var isAnswering = false
  private var isClosed = false
  let startNanoseconds = SystemClock.monotonicNanoseconds()

  init(socket: Socket, door: LinkDoor) {
    transport = Transport(socket)
    self.door = door
  }

  func begin() {
    do throws(Errno) { try door.loop.add(self, transport.socket, .readable) } catch {
      return close()
    }
    guard let trust = door.trust else { return }
    do throws(TLSError) { beginning = try trust.session(with: transport.socket) } catch {
      door.log.note("link: TLS with a peer: \(error)")
      close()
    }
  }

  override func ready(_ ready: Poller.Interest) {
    if isAnswering {
      if ready.contains(.closed) { close() }
      return
    }
    if let beginning { return shakeHands(beginning) }
    receive()
  }

  override func resumed() { if !isClosed, !isAnswering { receive() } }

  /// Who has no key that is known here learns nothing, and is told nothing but that.
  private func shakeHands(_ session: TLSSession) {
    do throws(TLSError) {
      if let awaited = try session.handshake() { return setInterest(awaited) }
      beginning = nil
      transport = Transport(transport.socket, tls: session)
      setInterest(.readable)
      receive()
    } catch {
      door.log.note("link: TLS with a peer: \(error)")
      close()
    }
  }

  private func setInterest(_ wanted: Poller.Interest) {
    guard wanted != interest else { return }
    interest = wanted
    door.loop.setInterest(self, transport.socket, wanted)
  }

  private func receive() {
    let arrived: [UInt8]?
    do throws(Errno) { arrived = try transport.receive(limit: 16 << 10) } catch { return close() }
    guard let piece = arrived else { return }
    if piece.isEmpty { return close() }
    input += piece
    parse()
    // TLS holds bytes of which the poller does not know.
    if !isClosed, !isAnswering, transport.hasBufferedInput { door.loop.resume(self) }
  }

  private func parse() {
    guard input.count >= LinkFrame.byteCount else { return }
    let parsed = unsafe input.withUnsafeBytes { buffer in
      unsafe buffer.baseAddress.flatMap { unsafe LinkFrame(parsing: $0) }
    }
    guard let frame = parsed, frame.kind == .hello || frame.kind == .pair else {
      door.log.note("link: a peer sent something that is not a hello")
      return close()
    }
    let end = LinkFrame.byteCount + frame.bodyByteCount
    guard input.count >= end else { return }
    let body = Array(input[LinkFrame.byteCount..<end])
    if frame.kind == .pair { pair(body) } else { greet(body, rest: end) }
  }

  private func greet(_ body: [UInt8], rest: Int) {
    do throws(LinkError) {
      // Who may only introduce itself is not told what a hello would be answered.
      let name = try peerName
      let hello = try LinkHello(decoding: body)
      guard ([hello.site] + hello.disks.map(\.name)).allSatisfy(EntityName.isValid) else {
        throw .protocolViolation("hello has a name that no site or disk can have")
      }
      guard name == nil || name == hello.site else {
        throw .unacceptable("the key is not that of \(hello.site.quotedForMessage)")
      }
      // Before the group hears of it: it would give up the connection that it has.
      guard hello.receiver == door.site else {
        throw .unacceptable(
          "this is site \(door.site), and \(hello.receiver.quotedForMessage) is meant: correct the "
            + "'address' of that peer at \(hello.site), or the name under which it has this site")
      }
      let group = try door.group(named: hello.groupName)
      let leftover = Array(input[rest...])
      let (transport, log) = (self.transport, door.log)
      leave()
      group.loop.post { [door] in
        // It may have been unpaired on the way here.
        if let name, let session = transport.tls, door.trust?.name(of: session) != name {
          return transport.shutDown()
        }
        LinkReceiver(transport, leftover: leftover, hello: hello, group: group, log: log).begin()
      }
    } catch { refuse("\(error)") }
  }

  /// By its key; nil where it proves none.
  private var peerName: String? {
    get throws(LinkError) {
      guard let trust = door.trust else { return nil }
      guard let session = transport.tls, let name = trust.name(of: session) else {
        throw .unacceptable("the sites are not paired")
      }
      return name
    }
  }

  private func refuse(_ reason: String) {
    door.log.note("link: \(reason)")
    let bytes = Array(reason.utf8)
    answer(LinkFrame(.refused, bodyByteCount: bytes.count).encoded + bytes)
  }

  /// The last message.
  private func answer(_ message: [UInt8]) {
    _ = unsafe message.withUnsafeBytes { try? unsafe transport.send($0) }
    close()
  }

  // MARK: Pairing

  private func pair(_ body: [UInt8]) {
    guard let trust = door.trust, let key = transport.tls?.peerKey else {
      return refuse("nobody can be paired by this connection")
    }
    let introduction: PairingIntroduction
    do throws(LinkError) { introduction = try PairingIntroduction(decoding: body) } catch {
      return refuse("\(error)")
    }
    isAnswering = true
    setInterest([])
    trust.worker.submit { [door] in
      let result = Result { () throws(SiteError) in
        try trust.accept(introduction.site, key, secret: introduction.secret)
      }
      door.loop.post { [self] in
        switch result {
        case .success:
          door.log.note("link: \(introduction.site) is paired with this site, by its key \(key)")
          if !isClosed { answer(PairingAnswer(site: door.site).encoded) }
        case .failure(let error): if !isClosed { refuse("\(error)") }
        }
      }
    }
  }

  // MARK: Ends

  /// The connection goes on without this.
  private func leave() {
    isClosed = true
    door.loop.remove(self, transport.socket)
    door.forget(self)
  }

  func close() {
    if isClosed { return }
    leave()
    transport.shutDown()
  }
}
