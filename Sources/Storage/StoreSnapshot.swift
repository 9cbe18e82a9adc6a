import BlockModel
import SystemIO

/// Bytes of a disk that stay as they are, on which a branch is built. Any thread may call; calls
/// block unless they say otherwise. Offsets and lengths are bytes, without alignment.
public protocol StoreSnapshot: AnyObject, Sendable {
  var byteCount: UInt64 { get }
  /// For messages.
  var description: String { get }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(StorageError)
  /// As `BackingStore.readIfCached`.
  func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) -> Bool
  /// As `BackingStore.nextDataRange`.
  func nextDataRange(from offset: UInt64, limit: UInt64) throws(StorageError) -> ByteRange?
}

/// A snapshot in the place of a store: nothing is ever written to it.
public struct SnapshotStore: BackingStore {
  let snapshot: any StoreSnapshot

  public var byteCount: UInt64 { snapshot.byteCount }
  public var description: String { snapshot.description }

  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) {
    try checked(.read, offset, UInt64(buffer.count))
    try unsafe snapshot.read(into: buffer, at: offset)
  }

  public func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) -> Bool {
    try checked(.read, offset, UInt64(buffer.count))
    return try unsafe snapshot.readIfCached(into: buffer, at: offset)
  }

  public func nextDataRange(
    from offset: UInt64, limit: UInt64
  ) throws(StorageError) -> ByteRange? {
    try snapshot.nextDataRange(from: offset, limit: limit)
  }

  public func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
    throw .readOnly(request(.write, offset, UInt64(buffer.count)))
  }

  public func write(gathering list: inout GatherList, at offset: UInt64) throws(StorageError) {
    let count = list.byteCount
    list.clear()
    throw .readOnly(request(.write, offset, UInt64(count)))
  }

  public func zero(_ range: ByteRange, mayFreeSpace: Bool) throws(StorageError) {
    throw .readOnly(request(.zero, range.start, range.length))
  }

  public func sync() throws(StorageError) {}
}
