import SystemIO

extension FileStore {
  /// Opens the store and locks it for as long as it is open. A size that is no multiple of a
  /// sector is allowed. Blocks.
  ///
  /// The lock is `flock`'s: it also keeps out a second store in this process, and it is what udev
  /// and other careful users of devices respect. A device that is mounted is refused.
  ///
  /// - Parameters:
  ///   - expectedSize: bytes; a store of another size is refused.
  ///   - createIfMissing: makes a missing file, or grows an empty one, to a hole of `expectedSize`
  ///     (which must then be given); that is durable when this returns.
  ///   - growsFrom: bytes that the disk is known to have; a file of at least so many is made
  ///     larger, to `expectedSize`, durably.
  ///   - opened: the same file, opened and locked by another process that gave it to this one.
  /// - Throws: `cannotOpen`, `inUse`, `sizeDisagrees`, `unsuitable`, `noSpace`.
  public static func open(
    _ path: String, expectedSize: UInt64?, createIfMissing: Bool = false,
    growsFrom: UInt64? = nil, opened: File? = nil
  ) throws(StorageError) -> FileStore {
    let store: FileStore
    do throws(Errno) {
      // The lock of a file that was opened elsewhere is held already, and taken again at no cost.
      let newSize = createIfMissing ? expectedSize : nil
      let file =
        if let opened { opened } else { try openFile(path, mayCreate: newSize != nil) }
      let isBlockDevice = try file.isBlockDevice()
      if try !file.tryLock() { throw .busy }
      if isBlockDevice, try BlockDevice.isClaimed(path) { throw .busy }
      if let newSize, try file.size() == 0, !isBlockDevice {
        try grow(file, to: newSize)
      }
      if let growsFrom, let expectedSize, !isBlockDevice, growsFrom < expectedSize,
        try (growsFrom..<expectedSize).contains(file.size())
      {
        try grow(file, to: expectedSize)
      }
      store = FileStore(file, byteCount: try file.size(), isBlockDevice: isBlockDevice)
    } catch .busy {
      throw .inUse(store: path)
    } catch .noSpace {
      throw .noSpace(StorageError.Request(path, .open, 0, 0))
    } catch {
      throw .cannotOpen(store: path, error)
    }
    try verifySize(store.byteCount, of: path, expected: expectedSize)
    return store
  }

  private static func openFile(_ path: String, mayCreate: Bool) throws(Errno) -> File {
    do {
      return try File(opening: path, .readWrite)
    } catch .notFound where mayCreate {
      return try File(creating: path)
    }
  }

  /// Sets the length, durably. What is added reads as zeros.
  static func grow(_ file: File, to byteCount: UInt64) throws(Errno) {
    guard byteCount <= UInt64(Int64.max) else { throw .invalid }
    try file.truncate(to: byteCount)
    try file.syncAll()
    let parent = file.path.lastIndex(of: "/").map { String(file.path[...$0]) } ?? "."
    try Directory.sync(parent)
  }
}

/// Refuses a store whose size is not what the configuration says, or nothing at all.
func verifySize(
  _ byteCount: UInt64, of store: String, expected: UInt64?
) throws(StorageError) {
  if let expected, expected != byteCount {
    throw .sizeDisagrees(store: store, byteCount: byteCount, expected: expected)
  }
  if byteCount == 0 {
    throw .unsuitable(store: store, reason: "is empty: give it the size of the disk")
  }
}
