import BlockModel
import SystemIO

/// The backing store of a disk of the product: the data path's generic argument. A switch costs
/// nothing beside the system call that follows; an existential would allocate and count.
public enum DiskStore: BackingStore {
  case file(FileStore)
  case nbd(NBDStore)
  /// Of a branch.
  case snapshot(SnapshotStore)

  /// Where a store is.
  public enum Address: Hashable, Sendable {
    /// A raw file or block device.
    case path(String)
    /// An NBD server: `nbd://`, `nbds://`, `nbd+unix://`, `nbds+unix://`, as in the NBD URI
    /// specification.
    case nbd(uri: String)
  }

  public init(_ snapshot: any StoreSnapshot) { self = .snapshot(SnapshotStore(snapshot: snapshot)) }

  /// Opens the store for reading and writing. Blocks.
  ///
  /// - Parameters:
  ///   - expectedSize: bytes; a store of another size is refused.
  ///   - createIfMissing, growsFrom, opened: see `FileStore.open`; have no meaning for NBD servers.
  public static func open(
    _ address: Address, expectedSize: UInt64?, createIfMissing: Bool = false,
    growsFrom: UInt64? = nil, opened: File? = nil
  ) throws(StorageError) -> DiskStore {
    switch address {
    case .path(let path):
      .file(
        try FileStore.open(
          path, expectedSize: expectedSize, createIfMissing: createIfMissing, growsFrom: growsFrom,
          opened: opened))
    case .nbd(let uri):
      .nbd(try NBDStore.open(uri, expectedSize: expectedSize))
    }
  }

  /// Whether a write may wait for another machine, or for a process: then no loop must make it. A
  /// file of a local file system takes writes into the page cache.
  public var mayHang: Bool {
    switch self {
    case .file(let store): store.isRemote
    case .nbd: true
    case .snapshot: false
    }
  }

  @inline(__always) public var byteCount: UInt64 {
    switch self {
    case .file(let store): store.byteCount
    case .nbd(let store): store.byteCount
    case .snapshot(let store): store.byteCount
    }
  }

  public var description: String {
    switch self {
    case .file(let store): store.description
    case .nbd(let store): store.description
    case .snapshot(let store): store.description
    }
  }

  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) {
    switch self {
    case .file(let store): try unsafe store.read(into: buffer, at: offset)
    case .nbd(let store): try unsafe store.read(into: buffer, at: offset)
    case .snapshot(let store): try unsafe store.read(into: buffer, at: offset)
    }
  }

  public func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) -> Bool {
    switch self {
    case .file(let store): try unsafe store.readIfCached(into: buffer, at: offset)
    case .nbd(let store): try unsafe store.readIfCached(into: buffer, at: offset)
    case .snapshot(let store): try unsafe store.readIfCached(into: buffer, at: offset)
    }
  }

  public func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
    switch self {
    case .file(let store): try unsafe store.write(buffer, at: offset)
    case .nbd(let store): try unsafe store.write(buffer, at: offset)
    case .snapshot(let store): try unsafe store.write(buffer, at: offset)
    }
  }

  public func write(gathering list: inout GatherList, at offset: UInt64) throws(StorageError) {
    switch self {
    case .file(let store): try store.write(gathering: &list, at: offset)
    case .nbd(let store): try store.write(gathering: &list, at: offset)
    case .snapshot(let store): try store.write(gathering: &list, at: offset)
    }
  }

  public func zero(_ range: ByteRange, mayFreeSpace: Bool) throws(StorageError) {
    switch self {
    case .file(let store): try store.zero(range, mayFreeSpace: mayFreeSpace)
    case .nbd(let store): try store.zero(range, mayFreeSpace: mayFreeSpace)
    case .snapshot(let store): try store.zero(range, mayFreeSpace: mayFreeSpace)
    }
  }

  public func sync() throws(StorageError) {
    switch self {
    case .file(let store): try store.sync()
    case .nbd(let store): try store.sync()
    case .snapshot(let store): try store.sync()
    }
  }

  public func writeOut() throws(StorageError) {
    switch self {
    case .file(let store): try store.writeOut()
    case .nbd(let store): try store.writeOut()
    case .snapshot(let store): try store.writeOut()
    }
  }

  public func forgetCached() {
    switch self {
    case .file(let store): store.forgetCached()
    case .nbd(let store): store.forgetCached()
    case .snapshot(let store): store.forgetCached()
    }
  }

  public func prefetch(_ range: ByteRange) {
    switch self {
    case .file(let store): store.prefetch(range)
    case .nbd(let store): store.prefetch(range)
    case .snapshot(let store): store.prefetch(range)
    }
  }

  /// The file whose lock keeps others out; nil where a server does that.
  public var lockedFile: File? {
    if case .file(let store) = self { store.file } else { nil }
  }

  /// As `NBDStore.hurry`; nothing ends the wait for a file.
  public func hurry(sparingFlushes: Bool) {
    if case .nbd(let store) = self { store.hurry(sparingFlushes: sparingFlushes) }
  }

  /// As `NBDStore.disconnect`; a file stays open.
  public func disconnect() {
    if case .nbd(let store) = self { store.disconnect() }
  }

  public var tellsHoles: Bool {
    switch self {
    case .file(let store): store.tellsHoles
    case .nbd(let store): store.tellsHoles
    case .snapshot(let store): store.tellsHoles
    }
  }

  public func nextDataRange(
    from offset: UInt64, limit: UInt64
  ) throws(StorageError) -> ByteRange? {
    switch self {
    case .file(let store): try store.nextDataRange(from: offset, limit: limit)
    case .nbd(let store): try store.nextDataRange(from: offset, limit: limit)
    case .snapshot(let store): try store.nextDataRange(from: offset, limit: limit)
    }
  }
}
