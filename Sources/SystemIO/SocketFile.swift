import Glibc

/// The name of a unix socket in the file system, known by device and inode: another file may come
/// to have the same path. Calls do not wait for the disk, but for the folder.
public struct SocketFile: Sendable, Equatable {
  public let path: String
  private let device: UInt64
  private let inode: UInt64

  /// A process that is about to listen has bound its socket and looks dead for so long.
  private static let pauseMilliseconds: Int32 = 10

  /// The socket at `path`; nil when there is nothing. Throws ENOTSOCK when there is another file,
  /// or a link.
  public init?(at path: String) throws(Errno) {
    var status = stat()
    if SystemCalls.linkStatus(path, &status) != 0 {
      if Errno.current == .notFound { return nil }
      throw .current
    }
    guard status.st_mode & S_IFMT == S_IFSOCK else { throw Errno.notSocket }
    self.path = path
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }

  /// Removes the socket at `path` if nobody listens on it any more, and nothing else. Throws
  /// EADDRINUSE when somebody does, also when he does not take connections now, and ENOTSOCK when
  /// there is something else.
  static func makeWay(at path: String) throws(Errno) {
    guard let file = try SocketFile(at: path) else { return }
    guard try file.isDead() else { throw Errno.addressInUse }
    var none: [pollfd] = []
    _ = SystemCalls.poll(&none, pauseMilliseconds)
    guard try file.isDead(), try file.remove() else { throw Errno.addressInUse }
  }

  /// Only a refusal says that nobody listens: a listener whose queue is full lets one wait.
  private func isDead() throws(Errno) -> Bool {
    do throws(Errno) {
      _ = try Socket.connectAtOnce(toUnix: path)
      return false
    } catch Errno(ECONNREFUSED) {
      return true
    } catch {
      return false
    }
  }

  /// Removes the name, if it is still this socket's; false when it is not.
  ///
  /// The system removes names and not files. So the name is set aside first and looked at once
  /// more; what it turns out not to be gets it back.
  @discardableResult
  public func remove() throws(Errno) -> Bool {
    guard try isPresent(at: path) else { return false }
    let aside = "\(path).\(SystemCalls.processIdentifier()).old"
    do throws(Errno) {
      _ = try retrying { SystemCalls.renameAnew(path, aside) }
    } catch Errno.invalid {
      // A file system that cannot do it without replacing another name.
      try Directory.remove(path)
      return true
    } catch Errno.notFound {
      return false
    }
    guard try isPresent(at: aside) else {
      _ = try retrying { SystemCalls.renameAnew(aside, path) }
      return false
    }
    try Directory.remove(aside)
    return true
  }

  private func isPresent(at path: String) throws(Errno) -> Bool {
    let present: SocketFile?
    do throws(Errno) { present = try SocketFile(at: path) } catch Errno.notSocket { return false }
    return present?.device == device && present?.inode == inode
  }
}
