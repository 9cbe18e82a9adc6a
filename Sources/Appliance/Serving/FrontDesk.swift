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

/// Where clients arrive: the listeners, the handshakes and the connections to views.
/// Confined to the front loop's thread, but for what is immutable.
final class FrontDesk: @unchecked Sendable {
  let loop: EventLoop
  private let hosts: [GroupHost]
  let log: @Sendable (String) -> Void
  let limits: ClientLimits
  let admission: ClientAdmission
  private(set) var handshakes = Roster<HandshakeConnection>()
  private(set) var viewConnections = Roster<NBDConnection>()
  private var listeners: [Listener] = []
  /// What clients may cause as often as they like.
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
    for connection in viewConnections.members { connection.giveBackIdleMemory() }
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

  func adopt(_ connection: NBDConnection) {
    viewConnections.add(connection)
  }

  func forget(_ connection: NBDConnection) {
    viewConnections.remove(connection)
  }

  /// Accepts nobody until `startAccepting`: who comes now waits to be accepted by whoever has the
  /// listeners then. On the loop.
  func stopAccepting() {
    for listener in listeners { listener.stop() }
  }

  func startAccepting() {
    for listener in listeners { listener.start() }
  }

  /// Ends everything here. On the loop.
  func close() {
    stopAccepting()
    listeners.removeAll()
    for handshake in handshakes.members { handshake.close() }
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
