import BlockModel
import Configuration
import NBDProtocol
import Synchronization
import SystemIO
import TLS

/// What a listener for NBD clients does about TLS with those that connect from now on. Any thread.
final class ListenerTLS: Sendable {
  struct Terms: Sendable {
    let isRequired: Bool
    let context: TLSContext
  }

  private let present: Mutex<Terms>

  init(_ terms: Terms) { present = Mutex(terms) }

  var terms: Terms { present.withLock { $0 } }

  func change(to terms: Terms) { present.withLock { $0 = terms } }
}

/// Where clients arrive: the listeners and the handshakes, and from there the loops for views.
/// Confined to the front loop's thread, but for what is immutable.
final class FrontDesk: @unchecked Sendable {
  let loop: EventLoop
  let views: ViewLoops
  let catalog: ExportCatalog
  let log: @Sendable (String) -> Void
  let limits: ClientLimits
  let admission: ClientAdmission
  private(set) var handshakes = Roster<HandshakeConnection>()
  private var listeners: [Listener] = []
  /// What clients may cause as often as they like.
  let clientLog: ClientLog

  init(
    loop: EventLoop, views: ViewLoops, catalog: ExportCatalog, limits: ClientLimits,
    log: @escaping @Sendable (String) -> Void
  ) {
    self.loop = loop
    self.views = views
    self.catalog = catalog
    self.limits = limits
    admission = ClientAdmission(limits)
    self.log = log
    clientLog = ClientLog(log)
  }

  /// On the loop.
  func open(_ sockets: [(socket: Socket, tls: ListenerTLS?)]) {
    for (socket, tls) in sockets {
      let listener = Listener(socket, loop: loop, log: clientLog.note) { [unowned self] client in
        if handshakes.count >= limits.connections { giveUpOldestHandshake() }
        let handshake = HandshakeConnection(socket: client, tls: tls?.terms, front: self)
        handshakes.add(handshake)
        handshake.begin()
      }
      listeners.append(listener)
      listener.start()
    }
    loop.every(milliseconds: 1000, for: self) { [unowned self] in expire() }
  }

  /// Every second.
  private func expire() {
    let now = SystemClock.monotonicNanoseconds()
    let limit = limits.handshakeNanoseconds
    for handshake in handshakes.members where now - handshake.startNanoseconds > limit {
      clientLog.note(
        "a client has opened no export within \(TimeSpan.format(limit)) and is cut off")
      handshake.close()
    }
    for listener in listeners { listener.tryAgain() }
    clientLog.endPeriods()
  }

  /// Nobody keeps others out by staying silent.
  private func giveUpOldestHandshake() {
    clientLog.note("\(limits.connections) clients have opened no export yet; the oldest is cut off")
    handshakes.members.min { $0.startNanoseconds < $1.startNanoseconds }?.close()
  }

  func forget(_ handshake: HandshakeConnection) {
    handshakes.remove(handshake)
  }

  /// Serves a disk of a view. Any thread.
  func serve(_ client: EnteringClient, named name: String, of opened: OpenedView) {
    views.serve(client, named: name, of: opened, limits, clientLog)
  }

  /// Accepts nobody until `startAccepting`: who comes now waits to be accepted by whoever has the
  /// listeners then. On the loop.
  func stopAccepting() {
    for listener in listeners { listener.stop() }
  }

  func startAccepting() {
    for listener in listeners { listener.start() }
  }

  /// Ends the listeners and the handshakes. On the loop; `ViewLoop.close` ends what came from here.
  func close() {
    stopAccepting()
    listeners.removeAll()
    for handshake in handshakes.members { handshake.close() }
  }
}
