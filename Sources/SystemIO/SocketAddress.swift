import CLinux
import Glibc

/// Where a socket listens or connects: `unix:PATH` or `tcp:HOST:PORT`.
public enum SocketAddress: Hashable, Sendable, CustomStringConvertible {
  case unix(path: String)
  /// `host` is a name, an IPv4 address or an IPv6 address without brackets. A listener's port 0
  /// stands for any free port.
  case tcp(host: String, port: UInt16)

  /// As a configuration has it.
  public var description: String {
    switch self {
    case .unix(let path): "unix:\(path)"
    case .tcp(let host, let port):
      host.contains(":") ? "tcp:[\(host)]:\(port)" : "tcp:\(host):\(port)"
    }
  }

  /// A name server or the like must be asked before anybody can connect.
  public var isName: Bool {
    guard case .tcp(let host, _) = self, !host.contains(":") else { return false }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count != 4 || !parts.allSatisfy { UInt8($0) != nil }
  }

  /// The same place by its number, as `Socket.localAddress` tells it. Blocks while a name is looked
  /// up; throws EHOSTUNREACH when there is none.
  public func lookedUp() throws(Errno) -> SocketAddress {
    guard case .tcp = self else { return self }
    var found: SocketAddress?
    try unsafe Socket.withAddress(self) { (address, length) in
      found = unsafe SocketAddress(address, length)
    }
    guard let found else { throw Errno(EHOSTUNREACH) }
    return found
  }
}

extension SocketAddress {
  init?(_ address: UnsafePointer<sockaddr>, _ length: socklen_t) {
    switch Int32(unsafe address.pointee.sa_family) {
    case AF_UNIX:
      let start = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
      guard Int(length) > start else { return nil }
      let bytes = unsafe UnsafeRawBufferPointer(start: address, count: Int(length))[start...]
      let path = unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      if path.isEmpty { return nil }
      self = .unix(path: path)
    case AF_INET, AF_INET6:
      var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      var service = [CChar](repeating: 0, count: 32)
      guard
        unsafe getnameinfo(
          address, length, &host, socklen_t(host.count), &service, socklen_t(service.count),
          NI_NUMERICHOST | NI_NUMERICSERV) == 0,
        let port = UInt16(Self.text(service))
      else { return nil }
      self = .tcp(host: Self.text(host), port: port)
    default: return nil
    }
  }

  private static func text(_ characters: [CChar]) -> String {
    String(decoding: characters.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
