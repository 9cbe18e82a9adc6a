import Glibc

/// What a service manager and the process that it started say to each other: systemd's protocols,
/// as sd_listen_fds(3) and sd_notify(3) describe them.
public enum ServiceManager {
  /// The first descriptor that is passed; the others follow it.
  public static let firstPassedDescriptor: Int32 = 3

  public static var processIdentifier: Int32 { getpid() }

  /// Removes a variable, so that programs which this process starts do not take it for theirs.
  /// Before other threads exist.
  public static func forget(variable name: String) { _ = unsafe unsetenv(name) }

  /// Takes a socket that was passed. Once for each descriptor.
  public static func takeSocket(_ descriptor: Int32) throws(Errno) -> Socket {
    let socket = Socket(adopting: Descriptor(owning: descriptor))
    try socket.setCloseOnExec()
    try socket.setNonblocking()
    return socket
  }

  /// Tells the manager, if one asked to be told (`NOTIFY_SOCKET`), such as `READY=1`. Does not
  /// wait; nothing depends on it.
  public static func notify(_ state: String) {
    guard let name = unsafe getenv("NOTIFY_SOCKET") else { return }
    var path = Array(unsafe String(cString: name).utf8)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard path.first == UInt8(ascii: "/") || path.first == UInt8(ascii: "@"),
      path.count < MemoryLayout.size(ofValue: address.sun_path)
    else { return }
    // A name of the abstract namespace begins with a zero and has no end but its length.
    if path[0] == UInt8(ascii: "@") { path[0] = 0 }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path) }
    let length = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)! + path.count
    let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let raw = socket(AF_UNIX, type, 0)
    guard raw >= 0 else { return }
    let descriptor = Descriptor(owning: raw)
    let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
    unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        _ = unsafe sendto(
          descriptor.raw, state, state.utf8.count, flags, address, socklen_t(length))
      }
    }
  }
}
