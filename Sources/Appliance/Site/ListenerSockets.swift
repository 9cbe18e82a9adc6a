import Configuration
import Handover
import SystemIO

/// A listener with the socket on which it listens.
public struct ListeningSocket: Sendable {
  public let identity: ListenerIdentity
  public let socket: Socket
  /// A service manager opened it, and keeps it when this process ends.
  public let isActivated: Bool
  /// Its name in the file system, if it is this process's to remove.
  private let file: SocketFile?

  init(identity: ListenerIdentity, socket: Socket, isActivated: Bool) {
    self.identity = identity
    self.socket = socket
    self.isActivated = isActivated
    if !isActivated, case .unix(let path) = identity.address {
      file = try? SocketFile(at: path)
    } else {
      file = nil
    }
  }

  /// Where it listens. The configuration does not say when its port is 0, nor of a socket that was
  /// passed by name.
  public var address: SocketAddress {
    if isActivated {
      return socket.localAddress ?? identity.address
    }
    guard case .tcp(let host, port: 0) = identity.address, let port = try? socket.localPort()
    else { return identity.address }
    return .tcp(host: host, port: port)
  }

  public func logChosenAddress(_ log: (String) -> Void) {
    if address != identity.address { log("\(identity): listens at \(address)") }
  }

  /// The name of a unix socket in the file system is removed, unless it is another's to remove:
  /// of a service manager, or of whoever has put another file there.
  public func removeName() { _ = try? file?.remove() }

  public static func listen(
    at identity: ListenerIdentity, backlog: Int32 = 512
  ) throws(Errno) -> ListeningSocket {
    let socket = try Socket.listen(on: identity.address, backlog: backlog)
    return ListeningSocket(identity: identity, socket: socket, isActivated: false)
  }
}

extension Errno {
  /// Why nobody can listen, and what to do.
  public var asListenFailure: String {
    switch code {
    case Errno.notSocket.code:
      "a file that is no socket has this path, and was left as it is; name another path, or move "
        + "the file away"
    case Errno.addressInUse.code:
      "another process listens there; end it, or listen elsewhere"
    default: "\(self)"
    }
  }
}

/// Sockets that listened before this process began to: passed by whoever started it, or by the
/// process whose place it takes.
public struct ListenerSockets: Sendable {
  private var sockets: [ListenerIdentity: ListeningSocket] = [:]

  public init() {}

  public var isEmpty: Bool { sockets.isEmpty }

  /// Takes the sockets that were passed by systemd's protocol. Throws when one of them fits no
  /// listener of the configuration, or is no listening stream socket. Resolves host names. Once in
  /// a process, before it opens anything.
  public init(
    _ activation: SocketActivation, for listen: ListenConfiguration
  ) throws(SiteError) {
    var taken: [(Socket, ListenConfiguration.PassedSocket)] = []
    for entry in activation.entries {
      let socket: Socket
      do throws(Errno) { socket = try ServiceManager.takeSocket(entry.descriptor) } catch {
        throw SiteError("descriptor \(entry.descriptor) was announced and not passed: \(error)")
      }
      guard socket.isListening else {
        throw SiteError(
          "descriptor \(entry.descriptor) is no stream socket that listens; a socket unit needs "
            + "ListenStream= and Accept=no")
      }
      let passed = ListenConfiguration.PassedSocket(
        descriptor: entry.descriptor, name: entry.name, address: socket.localAddress)
      taken.append((socket, passed))
    }
    let identities: [ListenerIdentity]
    do throws(SocketActivationError) {
      identities = try listen.assign(taken.map(\.1)) { address in
        do throws(Errno) { return try address.lookedUp() } catch { return address }
      }
    } catch { throw SiteError("\(error)") }
    for (identity, (socket, _)) in zip(identities, taken) {
      sockets[identity] = ListeningSocket(identity: identity, socket: socket, isActivated: true)
    }
  }

  /// Adds what another process gave, but for listeners that have a socket already. One that this
  /// program does not know is left to itself.
  public mutating func add(_ inherited: [(listener: HandoverListener, socket: Socket)]) {
    for (listener, socket) in inherited {
      guard let kind = ListenerIdentity.Kind(rawValue: listener.kind),
        let address = try? SocketAddress(parsing: listener.address)
      else { continue }
      let identity = ListenerIdentity(kind, address)
      if sockets[identity] != nil { continue }
      sockets[identity] = ListeningSocket(
        identity: identity, socket: socket, isActivated: listener.isActivated)
    }
  }

  public mutating func take(_ identity: ListenerIdentity) -> ListeningSocket? {
    sockets.removeValue(forKey: identity)
  }

  /// Those that no listener took: nobody shall connect there any more.
  public func removeUnused() {
    for socket in sockets.values { socket.removeName() }
  }
}
