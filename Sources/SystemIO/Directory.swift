import Glibc

/// Names in the file system. Every call may block on the disk.
public enum Directory {
  /// Creates `path` and its missing parents, private to the user.
  public static func create(_ path: String) throws(Errno) {
    do {
      _ = try retrying { SystemCalls.makeFolder(path) }
    } catch Errno.exists {
      return
    } catch Errno.notFound {
      guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
        throw Errno.notFound
      }
      try create(String(path[..<slash]))
      try create(path)
    }
  }

  /// Names in the folder, without `.` and `..`, sorted.
  public static func names(in path: String) throws(Errno) -> [String] {
    guard let names = SystemCalls.names(path) else { throw Errno.current }
    return names.filter { $0 != "." && $0 != ".." }.sorted()
  }

  /// Creations and removals of names in the folder are durable when this returns.
  public static func sync(_ path: String) throws(Errno) {
    let descriptor = Descriptor(
      owning: try retrying { SystemCalls.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) })
    _ = try retrying { SystemCalls.syncAll(descriptor.raw) }
  }

  public static func remove(_ path: String) throws(Errno) {
    _ = try retrying { SystemCalls.remove(path) }
  }

  public static func rename(_ from: String, to: String) throws(Errno) {
    _ = try retrying { SystemCalls.rename(from, to) }
  }

  public static func exists(_ path: String) -> Bool { SystemCalls.exists(path) }
}
