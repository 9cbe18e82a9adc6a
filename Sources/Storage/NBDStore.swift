import BlockModel
import SystemIO

/// A disk of an upstream NBD server, through libnbd: whatever qemu-nbd, nbdkit and others serve.
///
/// A broken connection is made again, and the request that met it repeated: repeating reads,
/// writes and zeros changes nothing. But the server may have died with writes that it had
/// acknowledged and not yet made durable. So when a connection broke after writes that no `sync`
/// has covered, the next `sync` throws `unsyncedWritesLost`, once: its caller repeats those writes
/// and syncs again (`BackingStore.sync`). Until then such writes may read back as older bytes.
public final class NBDStore: BackingStore {
  /// The URI.
  public let description: String
  private let traits: NBDTraits
  let pool: UpstreamPool
  private let gate = WriteGate()

  /// Connects to the server; one try. Encryption only when the URI says `nbds`. Blocks, at most
  /// as long as the connections' handshakes may take.
  ///
  /// - Parameter expectedSize: bytes; an export of another size is refused.
  /// - Throws: `disconnected`, `sizeDisagrees`, `unsuitable` (for a read-only export, one that
  ///   cannot make writes durable, or impossible block sizes).
  public static func open(
    _ uri: String, expectedSize: UInt64?, limits: UpstreamLimits = UpstreamLimits()
  ) throws(StorageError) -> NBDStore {
    let pool: UpstreamPool
    do throws(NBDFailure) {
      pool = try UpstreamPool(uri: uri, limits: limits)
    } catch {
      throw .disconnected(StorageError.Request(uri, .open, 0, 0), message: error.message)
    }
    try verifySize(pool.traits.byteCount, of: uri, expected: expectedSize)
    if let obstacle = pool.traits.obstacle {
      throw .unsuitable(store: uri, reason: obstacle)
    }
    return NBDStore(uri, pool)
  }

  private init(_ uri: String, _ pool: UpstreamPool) {
    description = uri
    self.pool = pool
    traits = pool.traits
  }

  public var byteCount: UInt64 { pool.byteCount }

  /// Requests that the server executes at one time.
  public var connectionCount: Int { pool.connectionCount }

  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) {
    let count = UInt64(buffer.count)
    try checked(.read, offset, count)
    if count == 0 { return }
    do throws(NBDFailure) {
      try pool.perform { (connection) throws(NBDFailure) in
        try unsafe connection.read(into: buffer, at: offset, traits: traits)
      }
    } catch {
      throw StorageError(request(.read, offset, count), error)
    }
  }

  /// Always false: a server's answer must be waited for.
  public func readIfCached(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(StorageError) -> Bool {
    try checked(.read, offset, UInt64(buffer.count))
    return false
  }

  public func write(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(StorageError) {
    let range = ByteRange(start: offset, length: UInt64(buffer.count))
    try change(range, .write, isAligned: isAligned(range)) { (connection) throws(NBDFailure) in
      try unsafe connection.write(buffer, at: offset, traits: traits)
    }
  }

  public func write(gathering list: inout GatherList, at offset: UInt64) throws(StorageError) {
    defer { list.clear() }
    let range = ByteRange(start: offset, length: UInt64(list.byteCount))
    // Pieces may be sent one by one, so each must be aligned, not only the whole.
    var isAligned = isAligned(range)
    unsafe list.forEachPiece { if UInt64($0.count) % traits.blockBytes != 0 { isAligned = false } }
    try change(range, .write, isAligned: isAligned) { (connection) throws(NBDFailure) in
      try connection.write(gathering: list, at: offset, traits: traits)
    }
  }

  public func zero(_ range: ByteRange, mayFreeSpace: Bool) throws(StorageError) {
    try change(range, .zero, isAligned: isAligned(range)) { (connection) throws(NBDFailure) in
      try connection.zero(range, mayFreeSpace: mayFreeSpace, traits: traits)
    }
  }

  public func sync() throws(StorageError) {
    let isSafe: Bool
    do throws(NBDFailure) {
      isSafe = try pool.sync()
    } catch {
      throw StorageError(request(.sync), error)
    }
    if !isSafe { throw .unsyncedWritesLost(store: description) }
  }

  public func nextDataRange(
    from offset: UInt64, limit: UInt64
  ) throws(StorageError) -> ByteRange? {
    guard offset < limit else { return nil }
    try checked(.findData, offset, limit - offset)
    guard traits.hasAllocationContext else { return ByteRange(start: offset, end: limit) }
    do throws(NBDFailure) {
      return try pool.perform { (connection) throws(NBDFailure) in
        try connection.nextDataRange(from: offset, limit: limit, traits: traits)
      }
    } catch {
      throw StorageError(request(.findData, offset, limit - offset), error)
    }
  }

  /// The group that has the store ends: what the server does not answer within some seconds from
  /// now on fails, and then whatever else is asked of it fails at once. For good. Any thread.
  ///
  /// - Parameter sparingFlushes: a flush may still take as long as ever: a server that has much to
  ///   write to a slow disk answers nothing meanwhile.
  public func hurry(sparingFlushes: Bool) { pool.hurry(sparingFlushes: sparingFlushes) }

  /// Makes way for another process: some servers take one client at a time. What was written must
  /// be synced. The next request connects again.
  public func disconnect() { pool.disconnect() }

  // MARK: Changes

  private func isAligned(_ range: ByteRange) -> Bool {
    (range.start | range.length) & (traits.blockBytes - 1) == 0
  }

  /// Sends what changes `range`, apart from other changes when it covers blocks in part.
  private func change(
    _ range: ByteRange, _ operation: StorageError.Operation, isAligned: Bool,
    _ body: (UpstreamConnection) throws(NBDFailure) -> Void
  ) throws(StorageError) {
    try checked(operation, range.start, range.length)
    if range.isEmpty { return }
    let needsGate = traits.blockBytes > 1
    if needsGate { gate.enter(exclusively: !isAligned) }
    defer { if needsGate { gate.leave(exclusively: !isAligned) } }
    do throws(NBDFailure) {
      try pool.performWrite(body)
    } catch {
      throw StorageError(request(operation, range.start, range.length), error)
    }
  }
}

extension NBDFailure {
  var message: String {
    switch self {
    case .disconnected(let message), .refused(_, let message): message
    }
  }
}

extension StorageError {
  init(_ request: Request, _ failure: NBDFailure) {
    switch failure {
    case .disconnected(let message): self = .disconnected(request, message: message)
    case .refused(let errno, let message): self.init(request, errno, message: message)
    }
  }
}
