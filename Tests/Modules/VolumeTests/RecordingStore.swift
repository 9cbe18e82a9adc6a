import BlockModel
import Storage
import StorageTesting
import Synchronization
import SystemIO

/// A memory store that writes down what is asked of it.
final class RecordingStore: BackingStore {
  enum Call: Equatable, Sendable {
    case write(UInt64, count: Int)
    case zero(ByteRange, mayFreeSpace: Bool)
    case sync
  }

  let memory: MemoryStore
  private let log = Mutex<[Call]>([])
  private let isLosing = Atomic(false)

  init(byteCount: Int) { memory = MemoryStore(byteCount: byteCount) }

  var calls: [Call] { log.withLock { $0 } }
  func forgetCalls() { log.withLock { $0.removeAll() } }

  var byteCount: UInt64 { memory.byteCount }
  var description: String { memory.description }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(StorageError) {
    try unsafe memory.read(into: buffer, at: offset)
  }

  func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) -> Bool {
    try unsafe memory.readIfCached(into: buffer, at: offset)
  }

  func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
    log.withLock { $0.append(.write(offset, count: buffer.count)) }
    try unsafe memory.write(buffer, at: offset)
  }

  func write(gathering list: inout GatherList, at offset: UInt64) throws(StorageError) {
    let count = list.byteCount
    log.withLock { $0.append(.write(offset, count: count)) }
    try memory.write(gathering: &list, at: offset)
  }

  func zero(_ range: ByteRange, mayFreeSpace: Bool) throws(StorageError) {
    log.withLock { $0.append(.zero(range, mayFreeSpace: mayFreeSpace)) }
    try memory.zero(range, mayFreeSpace: mayFreeSpace)
  }

  func sync() throws(StorageError) {
    log.withLock { $0.append(.sync) }
    try memory.sync()
  }

  /// The next `writeOut` is told that something was lost, as `sync` then is not any more.
  func loseBeforeWriteOut() { isLosing.store(true, ordering: .relaxed) }

  func writeOut() throws(StorageError) {
    guard isLosing.exchange(false, ordering: .relaxed) else { return }
    memory.dropUnsynced()
    throw StorageError(request(.sync), .io)
  }

  func nextDataRange(
    from offset: UInt64, limit: UInt64
  ) throws(StorageError) -> ByteRange? {
    try memory.nextDataRange(from: offset, limit: limit)
  }
}
