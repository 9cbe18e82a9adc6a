import BlockModel
import Configuration
import Handover
import Synchronization
import SystemIO

/// A loop that serves connections to views, and nothing else: what a view is read from may be
/// large, and neither a handshake nor a guest waits for it. Confined to its loop's thread, but for
/// what says otherwise.
final class ViewLoop: @unchecked Sendable {
  let loop: EventLoop
  private var connections = Roster<NBDConnection>()
  /// Clients that are served here, or about to be. Any thread.
  fileprivate let clientCount = Atomic<Int>(0)

  fileprivate init(_ loop: EventLoop) { self.loop = loop }

  fileprivate func serve(
    _ client: EnteringClient, named name: String, of opened: OpenedView,
    _ limits: ClientLimits, _ log: ClientLog
  ) {
    guard let disk = opened.disk(named: name) else {
      preconditionFailure("a view was opened for a disk that it does not show")
    }
    clientCount.add(1, ordering: .relaxed)
    loop.post { [self] in
      let connection = NBDConnection(
        client, loop: loop, target: .view(opened.view, release: opened.release),
        disk: disk.number, reader: opened.view.reader(disk: disk.number),
        workers: disk.workers, limits: limits,
        onClose: { [self] in forget($0) }, log: log.note)
      opened.onExpiry { [self] in loop.post { connection.close() } }
      add(connection)
      connection.begin()
    }
  }

  private func add(_ connection: NBDConnection) {
    if connections.isEmpty {
      loop.every(milliseconds: 1000, for: self) { [unowned self] in
        for connection in connections.members { connection.giveBackIdleMemory() }
      }
    }
    connections.add(connection)
  }

  private func forget(_ connection: NBDConnection) {
    guard connections.remove(connection) else { return }
    clientCount.subtract(1, ordering: .relaxed)
    // A loop without clients sleeps.
    if connections.isEmpty { loop.cancelTimers(of: self) }
  }

  func close() {
    for connection in connections.members { connection.close() }
  }

  // MARK: On the way to another process

  /// Lets the connections come to rest. May be repeated, for those that came since.
  func pause() {
    for connection in connections.members { connection.pause() }
  }

  var isAtRest: Bool { connections.members.allSatisfy(\.isAtRest) }

  func resume() {
    for connection in connections.members { connection.resume() }
  }

  /// The connections that another process can go on with. At rest.
  func handOverConnections(_ catalog: ExportCatalog) -> [HandedConnection] {
    connections.members.compactMap { connection in
      guard let name = try? ExportName(parsing: connection.exportName),
        let (group, disk) = catalog.openDisk(named: name.member)
      else { return nil }
      return connection.handOver(group: group.configuration.name, disk: disk.name)
    }
  }
}

/// The loops for views: one a processor, so that reading several views uses all of them. Any
/// thread.
struct ViewLoops: Sendable {
  let members: [ViewLoop]

  init(count: Int = SystemInfo.processorCount) throws(Errno) {
    var members: [ViewLoop] = []
    for number in 0..<count { members.append(ViewLoop(try EventLoop(name: "views-\(number)"))) }
    self.members = members
  }

  /// Serves a disk of a view where the fewest clients are, and releases the view when the
  /// connection ends.
  func serve(
    _ client: EnteringClient, named name: String, of opened: OpenedView,
    _ limits: ClientLimits, _ log: ClientLog
  ) {
    let quietest = members.min {
      $0.clientCount.load(ordering: .relaxed) < $1.clientCount.load(ordering: .relaxed)
    }
    quietest?.serve(client, named: name, of: opened, limits, log)
  }

  func start() { for member in members { member.loop.start() } }

  /// After the loops' connections have ended.
  func stop() { for member in members { member.loop.stop() } }
}
