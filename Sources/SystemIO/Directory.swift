import Glibc

/// Names in the file system. Every call may block on the disk.
public enum Directory {
  /// Creates `path` and its missing parents, private to the user. The names are durable when this
  /// returns, also when a process that ended too soon had made them; unless the folder above may
  /// not be read.
  public static func create(_ path: String) throws(Errno) {
    let parent = path.lastIndex(of: "/").map { path[..<$0] }.flatMap { $0.isEmpty ? nil : $0 }
    do {
      _ = try retrying { SystemCalls.makeFolder(path) }
    } catch Errno.notFound {
      guard let parent else { throw Errno.notFound }
      try create(String(parent))
      _ = try retrying { SystemCalls.makeFolder(path) }
    } catch Errno.exists {}
    do {
      try sync(parent.map(String.init) ?? (path.hasPrefix("/") ? "/" : "."))
    } catch Errno.accessDenied {}
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

  /// Of an empty one.
  public static func removeFolder(_ path: String) throws(Errno) {
    _ = try retrying { SystemCalls.removeFolder(path) }
  }

  public static func rename(_ from: String, to: String) throws(Errno) {
    _ = try retrying { SystemCalls.rename(from, to) }
  }

  public static func exists(_ path: String) -> Bool { SystemCalls.exists(path) }
}
