import Glibc

/// Names in the file system. Every call may block on the disk.
public enum Directory {
  /// Creates `path` and its missing parents, private to the user.
  public static func create(_ path: String) throws(Errno) {
    do {
      _ = try retrying { unsafe mkdir(path, 0o700) }
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
    guard let stream = unsafe opendir(path) else { throw Errno.current }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Creations and removals of names in the folder are durable when this returns.
  public static func sync(_ path: String) throws(Errno) {
    let descriptor = Descriptor(
      owning: try retrying { unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) })
    _ = try retrying { fsync(descriptor.raw) }
  }

  public static func remove(_ path: String) throws(Errno) {
    _ = try retrying { unsafe unlink(path) }
  }

  public static func rename(_ from: String, to: String) throws(Errno) {
    _ = try retrying { unsafe Glibc.rename(from, to) }
  }

  public static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }
}
