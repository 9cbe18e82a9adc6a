import Synchronization
import SystemIO

/// The connections of one store: a thread that has a request takes one, and makes it anew first
/// when it is broken or of an ended generation.
final class UpstreamPool: Sendable {
  private struct State: Sendable {
    var idle: [UpstreamConnection]
    var ledger: WriteLedger
  }

  /// As found when the store was opened; the size may have grown since.
  let traits: NBDTraits
  let connectionCount: Int
  private let size: Atomic<UInt64>
  private let limits: UpstreamLimits
  private let patience: NBDPatience
  private let monitor: Monitor<State>

  /// Connects, with as many connections as the server allows.
  init(uri: String, limits: UpstreamLimits) throws(NBDFailure) {
    let patience = NBDPatience(limits)
    let first = UpstreamConnection(uri: uri, limits: limits, patience: patience)
    let traits = try first.connect(generation: 0)
    var connections = [first]
    if traits.canMultiConn, traits.obstacle == nil {
      while connections.count < limits.connectionCount {
        let next = UpstreamConnection(uri: uri, limits: limits, patience: patience)
        guard (try? next.connect(generation: 0)) == traits else { break }
        connections.append(next)
      }
    }
    self.traits = traits
    size = Atomic(traits.byteCount)
    self.limits = limits
    self.patience = patience
    connectionCount = connections.count
    let ledger = WriteLedger(areWritesDurable: traits.needsFUA)
    monitor = Monitor(State(idle: connections, ledger: ledger))
  }

  var byteCount: UInt64 { size.load(ordering: .acquiring) }

  /// See `DiskStore.adopt`. Connections that do not know the size yet are made anew before use.
  func adopt(byteCount: UInt64) { size.store(byteCount, ordering: .releasing) }

  /// The size that the server tells now, which a connection that was made before does not know.
  /// Blocks.
  func askForByteCount() throws(NBDFailure) -> UInt64 {
    let connection = monitor.wait { $0.idle.popLast() }
    defer { monitor.update { $0.idle.append(connection) } }
    // One of those that are there already: some servers take no further client.
    closeInOrder(connection)
    try prepare(connection)
    guard let traits = connection.traits else { throw .disconnected("not connected") }
    return traits.byteCount
  }

  /// Runs `body` with a connection of the current generation. Blocks until one is free and
  /// connected. When the connection breaks, `body` is run again from its start on a new one: an
  /// earlier part of a write may be lost with the old one.
  func perform<Result>(
    _ body: (UpstreamConnection) throws(NBDFailure) -> Result
  ) throws(NBDFailure) -> Result {
    let connection = monitor.wait { $0.idle.popLast() }
    defer { monitor.update { $0.idle.append(connection) } }
    var retries = 0
    while true {
      try prepare(connection)
      do throws(NBDFailure) {
        return try body(connection)
      } catch .disconnected(let message) {
        monitor.withLock { $0.ledger.disconnect(in: connection.generation) }
        retries += 1
        if retries > limits.requestRetries || patience.isOver { throw .disconnected(message) }
      }
    }
  }

  /// As `perform`, for what changes the disk.
  func performWrite(_ body: (UpstreamConnection) throws(NBDFailure) -> Void) throws(NBDFailure) {
    let generation = try perform { (connection) throws(NBDFailure) in
      try body(connection)
      return connection.generation
    }
    monitor.withLock { $0.ledger.finishWrite(in: generation) }
  }

  /// False when writes may have been lost since the last success.
  func sync() throws(NBDFailure) -> Bool {
    guard let ticket = monitor.withLock({ $0.ledger.beginSync() }) else { return false }
    try perform { (connection) throws(NBDFailure) in try connection.flush() }
    return monitor.withLock { $0.ledger.finishSync(ticket) }
  }

  /// See `NBDStore.hurry`.
  func hurry(sparingFlushes: Bool) { patience.hurry(sparingFlushes: sparingFlushes) }

  /// Closes the connections that nobody uses; they are made again when they are needed.
  func disconnect() {
    monitor.withLock { state in for connection in state.idle { connection.close() } }
  }

  private func prepare(_ connection: UpstreamConnection) throws(NBDFailure) {
    try checkPatience()
    let generation = monitor.withLock { $0.ledger.generation }
    if connection.isConnected, connection.generation == generation {
      if let traits = connection.traits, traits.byteCount >= byteCount { return }
      // Made before the export grew: libnbd lets nothing pass behind the end that it knows.
      closeInOrder(connection)
    } else {
      connection.close()
    }
    var delay = limits.firstReconnectDelayMilliseconds
    for _ in 1..<max(1, limits.reconnectTries) {
      if (try? reconnect(connection)) != nil { return }
      try checkPatience()
      Thread.sleep(milliseconds: delay)
      delay = min(2 * delay, limits.lastReconnectDelayMilliseconds)
    }
    try reconnect(connection)
  }

  private func checkPatience() throws(NBDFailure) {
    if patience.isOver { throw .disconnected("the server has not answered in time") }
  }

  /// Closes a connection that is not broken. What was written over it is made durable first: a
  /// flush over another one need not cover it.
  private func closeInOrder(_ connection: UpstreamConnection) {
    if connection.isConnected, (try? connection.flush()) == nil {
      monitor.withLock { $0.ledger.disconnect(in: connection.generation) }
    }
    connection.close()
  }

  private func reconnect(_ connection: UpstreamConnection) throws(NBDFailure) {
    let generation = monitor.withLock { $0.ledger.generation }
    let found: NBDTraits
    do throws(NBDFailure) {
      found = try connection.connect(generation: generation)
    } catch .refused(_, let message) {
      throw .disconnected(message)
    }
    if !found.canReplace(traits, of: byteCount) {
      connection.close()
      throw .disconnected(
        "the server now has another export: it is smaller, or has other abilities")
    }
  }
}
