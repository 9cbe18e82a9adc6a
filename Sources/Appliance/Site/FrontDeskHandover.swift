import BlockModel
import Handover
import SystemIO

// The front desk on its way to another process. On the front loop.

extension FrontDesk {
  /// Lets the connections to views come to rest, after `stopAccepting`. May be repeated.
  func pause() {
    for connection in viewConnections.members { connection.pause() }
  }

  var isAtRest: Bool { viewConnections.members.allSatisfy(\.isAtRest) }

  func resume() {
    startAccepting()
    for connection in viewConnections.members { connection.resume() }
  }

  /// The connections to views that another process can go on with. At rest.
  func handOverConnections() -> [HandedConnection] {
    viewConnections.members.compactMap { connection in
      guard let name = try? ExportName(parsing: connection.exportName),
        let (group, disk) = catalog.openDisk(named: name.disk)
      else { return nil }
      return connection.handOver(group: group.configuration.name, disk: disk.name)
    }
  }
}

/// The front loop, standing still between two turns: handshakes, greetings of peers and views do
/// nothing until it is released. So nothing there can change what was found while it stands.
final class StandingFront: Sendable {
  let connections: [HandedConnection]
  private let released: Wakeup

  private init(_ connections: [HandedConnection], _ released: Wakeup) {
    self.connections = connections
    self.released = released
  }

  /// Nil when views still read: ask again. Blocks until the loop has finished what it does.
  static func stop(_ site: Site) throws(Errno) -> StandingFront? {
    let front = site.front
    let released = try Wakeup()
    let connections: [HandedConnection]?? = site.ask(front.loop) { answer in
      front.pause()
      guard front.isAtRest else { return answer(nil) }
      answer(front.handOverConnections())
      released.wait(timeoutMilliseconds: -1)
    }
    guard let connections = connections ?? nil else {
      // Should the loop come to it later, it does not stand.
      released.signal()
      return nil
    }
    return StandingFront(connections, released)
  }

  /// Must be called in the end: the loop waits for it without a bound.
  func release() { released.signal() }
}
