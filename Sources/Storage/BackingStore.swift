import BlockModel
import SystemIO

/// Where the bytes of a virtual disk finally lie. The data path takes it as a generic parameter.
///
/// Any thread may call, many at once; calls block unless they say otherwise. Offsets and lengths
/// are bytes, without alignment. A call either does all that was asked or throws; after an error,
/// a write's range holds old or new bytes, in any mix. Overlapping writes at one time are the
/// caller's to avoid. Written bytes are read back at once, and are durable after `sync`.
public protocol BackingStore: Sendable {
  /// Above 0. It may grow while the store is open, and never shrinks.
  var byteCount: UInt64 { get }
  /// Path or URI, for messages.
  var description: String { get }

  /// Fills `buffer` with the bytes from `offset`.
  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError)

  /// As `read`, but never blocks: false, with `buffer` undefined, when a worker must call `read`.
  func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) -> Bool

  func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError)

  /// Writes the list's pieces one after the other: together they are one range from `offset`. The
  /// list is empty when this returns or throws.
  func write(gathering list: inout GatherList, at offset: UInt64) throws(StorageError)

  /// Makes the range read as zeros, always: where the store has no faster way, zeros are written.
  ///
  /// - Parameter mayFreeSpace: the range may become a hole, so that a later write to it can find
  ///   no space.
  func zero(_ range: ByteRange, mayFreeSpace: Bool) throws(StorageError)

  /// When this returns, every write and zero that had returned before the call is durable.
  ///
  /// When it throws, whatever the error, everything written since the last successful `sync` may
  /// be lost, also what could be read back since: the caller repeats all writes and zeros that had
  /// not returned when that `sync` was called, and then syncs again. A later success alone means
  /// nothing for them. So a caller keeps what it wrote until a sync has succeeded, and one caller
  /// syncs a store.
  func sync() throws(StorageError)

  /// Starts to move what was written towards the disk, after waiting for what was started before.
  /// Makes nothing durable, and may do nothing. Blocks.
  ///
  /// When it throws, that is what `sync` would have said, and says no more: the caller does what it
  /// does after an error of `sync`.
  func writeOut() throws(StorageError)

  /// Hints, which may block and may do nothing. What is read from now on comes from where it was
  /// synced: after an error of `sync`, memory may show what is lost. The range is read soon.
  func forgetCached()
  func prefetch(_ range: ByteRange)

  /// What `nextDataRange` skips has no space of its own, and asking costs no more than a system
  /// call. False: it reads as zeros, no more is known, and asking may cost as much as reading.
  var tellsHoles: Bool { get }

  /// The first range at or after `offset` and before `limit` that may hold other bytes than zeros;
  /// nil when there is none. May report zeros as data, never data as zeros.
  ///
  /// - Parameter limit: an offset, at most `byteCount`; the result ends there at the latest.
  func nextDataRange(
    from offset: UInt64, limit: UInt64
  ) throws(StorageError) -> ByteRange?
}

extension BackingStore {
  public func writeOut() throws(StorageError) {}
  public func forgetCached() {}
  public func prefetch(_ range: ByteRange) {}
  public var tellsHoles: Bool { false }

  /// For implementations: throws `outOfBounds` when the range does not lie inside the store.
  @inline(__always)
  public func checked(
    _ operation: StorageError.Operation, _ offset: UInt64, _ count: UInt64
  ) throws(StorageError) {
    guard ByteRange(validating: offset, length: count, size: byteCount) != nil else {
      throw .outOfBounds(request(operation, offset, count), byteCount: byteCount)
    }
  }

  /// For implementations: what was asked for, for errors.
  public func request(
    _ operation: StorageError.Operation, _ offset: UInt64 = 0, _ count: UInt64 = 0
  ) -> StorageError.Request {
    StorageError.Request(description, operation, offset, count)
  }
}
