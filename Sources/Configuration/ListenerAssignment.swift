import BlockModel
import SystemIO

/// One of a site's listeners: what its sockets are known by.
public struct ListenerIdentity: Hashable, Sendable, CustomStringConvertible {
  /// The name of the key below `listen`.
  public enum Kind: String, CaseIterable, Sendable { case nbd, link, control }

  public var kind: Kind
  /// As the configuration has it.
  public var address: SocketAddress

  public init(_ kind: Kind, _ address: SocketAddress) {
    self.kind = kind
    self.address = address
  }

  public var description: String { "\(kind.rawValue) \(address)" }
}

extension ListenConfiguration {
  /// In the order of the configuration.
  public var listeners: [ListenerIdentity] {
    nbd.map { ListenerIdentity(.nbd, $0.address) }
      + [link.map { ListenerIdentity(.link, $0) }, control.map { ListenerIdentity(.control, $0) }]
      .compactMap { $0 }
  }

  /// A socket that was passed, as far as it matters which listener it is.
  public struct PassedSocket: Equatable, Sendable {
    public var descriptor: Int32
    public var name: String?
    /// Where it is bound, with a numeric host; nil when that has no address here.
    public var address: SocketAddress?

    public init(descriptor: Int32, name: String?, address: SocketAddress?) {
      self.descriptor = descriptor
      self.name = name
      self.address = address
    }
  }

  /// Which listener each of `sockets` serves, in their order. The first rule that fits decides:
  ///
  /// 1. It is bound to the listener's address.
  /// 2. Its name is `nbd`, `link` or `control`: it takes the place of the first listener of that
  ///    kind which has no socket yet, whatever its address.
  /// 3. It has no name: as if it were named `nbd`. So do clients pass it that start a server.
  ///
  /// - Parameter numeric: the address with a numeric host.
  public func assign(
    _ sockets: [PassedSocket], numeric: (SocketAddress) -> SocketAddress
  ) throws(SocketActivationError) -> [ListenerIdentity] {
    var free = listeners
    var chosen = [ListenerIdentity?](repeating: nil, count: sockets.count)
    func choose(_ index: Int, where fits: (ListenerIdentity) -> Bool) {
      guard chosen[index] == nil, let found = free.firstIndex(where: fits) else { return }
      chosen[index] = free.remove(at: found)
    }
    for (index, socket) in sockets.enumerated() {
      guard let address = socket.address else { continue }
      choose(index) { $0.address == address || numeric($0.address) == address }
    }
    for (index, socket) in sockets.enumerated() {
      if let name = socket.name { choose(index) { $0.kind.rawValue == name } }
    }
    for (index, socket) in sockets.enumerated() where socket.name == nil {
      choose(index) { $0.kind == .nbd }
    }
    var identities: [ListenerIdentity] = []
    for (socket, identity) in zip(sockets, chosen) {
      guard let identity else { throw SocketActivationError(refusal(of: socket)) }
      identities.append(identity)
    }
    return identities
  }

  private func refusal(of socket: PassedSocket) -> String {
    let name = socket.name.map { ", named \($0.quotedForMessage)," } ?? ""
    let address = socket.address.map { " (\($0))" } ?? ""
    let known = listeners.map { "\($0)" }.joined(separator: ", ")
    return "the socket passed as descriptor \(socket.descriptor)\(address)\(name) fits no listener "
      + "that is left: listen has \(known.isEmpty ? "none" : known); pass a socket with the "
      + "address of one, or name it nbd, link or control"
  }
}
