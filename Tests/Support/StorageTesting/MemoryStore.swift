import BlockModel
import Storage
import Synchronization
import SystemIO

/// A backing store in memory, for tests of what stands on one: it can fail on request, and it can
/// lose what was not synced.
public final class MemoryStore: BackingStore {
  private struct State {
    var bytes: [UInt8]
    var durable: [UInt8]
    var failures: [StorageError.Operation: Errno] = [:]
  }

  public let description = "memory"
  private let state: Mutex<State>
  /// Before bytes are read.
  public let onRead = Interruption()
  /// Before bytes change, and after.
  public let onChange = Interruption()

  public init(byteCount: Int) {
    let zeros = [UInt8](repeating: 0, count: byteCount)
    state = Mutex(State(bytes: zeros, durable: zeros))
  }

  public var byteCount: UInt64 { state.withLock { UInt64($0.bytes.count) } }

  /// Makes it larger, by zeros.
  public func grow(to byteCount: Int) {
    state.withLock { state in
      let zeros = [UInt8](repeating: 0, count: byteCount - state.bytes.count)
      state.bytes += zeros
      state.durable += zeros
    }
  }

  /// The next call of this operation throws the error and changes nothing.
  public func failNext(_ operation: StorageError.Operation, with errno: Errno) {
    state.withLock { $0.failures[operation] = errno }
  }

  /// As a power failure of a device with a volatile cache that had written nothing back.
  public func dropUnsynced() { state.withLock { $0.bytes = $0.durable } }

  public var bytes: [UInt8] { state.withLock { $0.bytes } }
  public var durableBytes: [UInt8] { state.withLock { $0.durable } }

  private func access(
    _ operation: StorageError.Operation, _ offset: UInt64, _ count: UInt64,
    _ body: (inout State) -> Void
  ) throws(StorageError) {
    try checked(operation, offset, count)
    let failure = state.withLock { state -> Errno? in
      if let failure = state.failures.removeValue(forKey: operation) { return failure }
      body(&state)
      return nil
    }
    if let failure { throw StorageError(request(operation, offset, count), failure) }
  }

  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) {
    onRead.fire()
    try access(.read, offset, UInt64(buffer.count)) {
      unsafe buffer.copyBytes(from: $0.bytes[Int(offset)..<Int(offset) + buffer.count])
    }
  }

  public func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) -> Bool {
    try unsafe read(into: buffer, at: offset)
    return true
  }

  public func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
    onChange.fire()
    defer { onChange.fire() }
    try access(.write, offset, UInt64(buffer.count)) {
      unsafe $0.bytes.replaceSubrange(Int(offset)..<Int(offset) + buffer.count, with: buffer)
    }
  }

  public func write(gathering list: inout GatherList, at offset: UInt64) throws(StorageError) {
    defer { list.clear() }
    try access(.write, offset, UInt64(list.byteCount)) { state in
      var position = Int(offset)
      unsafe list.forEachPiece {
        unsafe state.bytes.replaceSubrange(position..<position + $0.count, with: $0)
        position += $0.count
      }
    }
  }

  public func zero(_ range: ByteRange, mayFreeSpace: Bool) throws(StorageError) {
    onChange.fire()
    defer { onChange.fire() }
    try access(.zero, range.start, range.length) {
      for index in Int(range.start)..<Int(range.end) { $0.bytes[index] = 0 }
    }
  }

  public func sync() throws(StorageError) { try access(.sync, 0, 0) { $0.durable = $0.bytes } }

  /// Exact, byte for byte.
  public func nextDataRange(
    from offset: UInt64, limit: UInt64
  ) throws(StorageError) -> ByteRange? {
    guard offset < limit else { return nil }
    var found: ByteRange?
    try access(.findData, offset, limit - offset) { state in
      let window = state.bytes[Int(offset)..<Int(limit)]
      guard let start = window.firstIndex(where: { $0 != 0 }) else { return }
      let end = window[start...].firstIndex(of: 0) ?? Int(limit)
      found = ByteRange(start: UInt64(start), end: UInt64(end))
    }
    return found
  }
}
