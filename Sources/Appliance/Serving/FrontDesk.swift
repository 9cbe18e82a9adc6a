import BlockModel
import Configuration
import NBDProtocol
import Replication
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

/// Where clients and peers arrive: the listeners, the handshakes and the connections to views.
/// Confined to the front loop's thread, but for what is immutable.
final class FrontDesk: @unchecked Sendable {
  /// Peers that have not said yet which group they send.
  private static let greeterLimit = 64

  let loop: EventLoop
  private let hosts: [GroupHost]
  let log: @Sendable (String) -> Void
  let limits: ClientLimits
  let admission: ClientAdmission
  private(set) var handshakes = Roster<HandshakeConnection>()
  private var greeters = Roster<LinkGreeter>()
  private(set) var viewConnections = Roster<NBDConnection>()
  private(set) var listeners: [Listener] = []
  /// What clients and peers may cause as often as they like.
  let clientLog: ClientLog

  init(
    loop: EventLoop, hosts: [GroupHost], limits: ClientLimits,
    log: @escaping @Sendable (String) -> Void
  ) {
    self.loop = loop
    self.hosts = hosts
    self.limits = limits
    admission = ClientAdmission(limits)
    self.log = log
    clientLog = ClientLog(log)
  }

  /// On the loop.
  func open(nbd: [(socket: Socket, tls: ListenerTLS?)], link: Socket?) {
    for (socket, tls) in nbd {
      listen(socket) { [unowned self] client in
        if handshakes.count >= limits.connections { giveUpOldestHandshake() }
        let handshake = HandshakeConnection(socket: client, tls: tls?.terms, front: self)
        handshakes.add(handshake)
        handshake.begin()
      }
    }
    if let link {
      listen(link) { [unowned self] peer in
        if greeters.count >= Self.greeterLimit {
          greeters.members.min { $0.startNanoseconds < $1.startNanoseconds }?.close()
        }
        let greeter = LinkGreeter(socket: peer, front: self)
        greeters.add(greeter)
        greeter.begin()
      }
    }
    loop.every(milliseconds: 1000, for: self) { [unowned self] in expire() }
  }

  private func listen(_ socket: Socket, _ accepted: @escaping (Socket) -> Void) {
    let listener = Listener(socket: socket, accepted: accepted) { [unowned self] listener, error in
      // Until `expire`: what the system lacks now, it would lack again at once.
      loop.setInterest(listener, socket, [])
      clientLog.note("cannot take a connection: \(error)")
    }
    listeners.append(listener)
    do throws(Errno) { try loop.add(listener, socket, .readable) } catch {
      log("cannot watch a listener: \(error)")
    }
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
    for greeter in greeters.members where now - greeter.startNanoseconds > limit {
      greeter.close()
    }
    for connection in viewConnections.members { connection.giveBackIdleMemory() }
    for listener in listeners { loop.setInterest(listener, listener.socket, .readable) }
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

  func forget(_ greeter: LinkGreeter) { greeters.remove(greeter) }

  func adopt(_ connection: NBDConnection) {
    viewConnections.add(connection)
  }

  func forget(_ connection: NBDConnection) {
    viewConnections.remove(connection)
  }

  /// Ends everything here. On the loop.
  func close() {
    for listener in listeners { loop.remove(listener, listener.socket) }
    listeners.removeAll()
    for handshake in handshakes.members { handshake.close() }
    for greeter in greeters.members { greeter.close() }
    for connection in viewConnections.members { connection.close() }
    viewConnections.removeAll()
  }

  // MARK: Exports

  /// A disk of the site, by its export's name.
  enum FoundDisk {
    case open(Group, GroupDisk)
    /// Its group is closed, for this reason.
    case closed(DiskConfiguration, reason: String)
  }

  func find(_ name: String) -> FoundDisk? {
    for host in hosts {
      if let group = host.group {
        if let disk = group.disks.first(where: { $0.name == name }) { return .open(group, disk) }
      } else if let disk = host.configuration.disks.first(where: { $0.name == name }) {
        return .closed(disk, reason: "group \(host.name) is not open: \(host.closedReason)")
      }
    }
    return nil
  }

  /// Nil also when its group is closed.
  func disk(named name: String) -> (Group, GroupDisk)? {
    if case .open(let group, let disk)? = find(name) { (group, disk) } else { nil }
  }

  /// Throws in words for a peer when there is none that is open.
  func group(named name: String) throws(LinkError) -> Group {
    guard let host = hosts.first(where: { $0.name == name }) else {
      throw .refused("this site has no group \(name.debugDescription)")
    }
    guard let group = host.group else {
      throw .refused("group \(name) is not open there: \(host.closedReason)")
    }
    return group
  }

  /// What LIST shows: names that the client can open as they stand.
  func listings(for client: ClientIdentity) -> [NBDExportListing] {
    hosts.compactMap(\.group).flatMap { group in
      group.disks.filter { group.access(to: $0, for: client) != .none }.map { disk in
        NBDExportListing(
          name: group.configuration.role == .recovery ? "\(disk.name)@latest" : disk.name,
          description: description(of: disk, in: group))
      }
    }
  }

  func description(of disk: GroupDisk, in group: Group) -> String {
    let role = group.configuration.role.rawValue
    let instants =
      group.journal == nil
      ? "" : "; \(disk.name)@INSTANT opens it as it was (RFC 3339, -90s, latest, checkpoint:TAG)"
    return "\(role) disk of group \(group.configuration.name)\(instants)"
  }
}

/// A listening socket. Confined to its loop's thread.
final class Listener: EventHandler, @unchecked Sendable {
  /// Connections taken in one turn, so that a storm of them does not hold up the others.
  private static let burst = 64

  let socket: Socket
  private let accepted: (Socket) -> Void
  private let failed: (Listener, Errno) -> Void

  init(
    socket: Socket, accepted: @escaping (Socket) -> Void,
    failed: @escaping (Listener, Errno) -> Void
  ) {
    self.socket = socket
    self.accepted = accepted
    self.failed = failed
  }

  override func ready(_ interest: Poller.Interest) {
    do throws(Errno) {
      for _ in 0..<Self.burst {
        guard let client = try socket.accept() else { return }
        accepted(client)
      }
    } catch { failed(self, error) }
  }
}

/// A peer that has not said yet which group it sends. Confined to the front loop's thread.
final class LinkGreeter: EventHandler, @unchecked Sendable {
  private let socket: Socket
  private let front: FrontDesk
  private var input: [UInt8] = []
  private var isClosed = false
  let startNanoseconds = SystemClock.monotonicNanoseconds()

  init(socket: Socket, front: FrontDesk) {
    self.socket = socket
    self.front = front
  }

  func begin() {
    do throws(Errno) { try front.loop.add(self, socket, .readable) } catch { close() }
  }

  override func ready(_ interest: Poller.Interest) {
    let arrived: [UInt8]?
    do throws(Errno) { arrived = try socket.receive(limit: 16 << 10) } catch { return close() }
    guard let piece = arrived else { return }
    if piece.isEmpty { return close() }
    input += piece
    guard input.count >= LinkFrame.byteCount else { return }
    let parsed = unsafe input.withUnsafeBytes { buffer in
      unsafe buffer.baseAddress.flatMap { unsafe LinkFrame(parsing: $0) }
    }
    guard let frame = parsed, frame.kind == .hello else {
      front.clientLog.note("link: a peer sent something that is not a hello")
      return close()
    }
    let end = LinkFrame.byteCount + frame.bodyByteCount
    if input.count >= end { greet(Array(input[LinkFrame.byteCount..<end]), rest: end) }
  }

  private func greet(_ body: [UInt8], rest: Int) {
    do throws(LinkError) {
      let hello = try LinkHello(decoding: body)
      guard ([hello.site] + hello.disks.map(\.name)).allSatisfy(EntityName.isValid) else {
        throw .protocolViolation("hello has a name that no site or disk can have")
      }
      let group = try front.group(named: hello.groupName)
      let leftover = Array(input[rest...])
      let (socket, log) = (self.socket, front.clientLog)
      front.loop.remove(self, socket)
      front.forget(self)
      isClosed = true
      group.loop.post {
        LinkReceiver(socket: socket, leftover: leftover, hello: hello, group: group, log: log)
          .begin()
      }
    } catch {
      front.clientLog.note("link: \(error)")
      let reason: [UInt8]
      if case .refused(let text) = error {
        reason = Array(text.utf8)
      } else {
        reason = Array("\(error)".utf8)
      }
      let frame = LinkFrame(.refused, bodyByteCount: reason.count).encoded + reason
      _ = unsafe frame.withUnsafeBytes { try? unsafe socket.send($0) }
      close()
    }
  }

  func close() {
    if isClosed { return }
    isClosed = true
    front.loop.remove(self, socket)
    front.forget(self)
    socket.shutDown()
  }
}
