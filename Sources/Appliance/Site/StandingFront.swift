import Handover
import SystemIO

/// The front loop and those of views, standing still between two turns: handshakes, greetings of
/// peers and views do nothing until they are released. So nothing there can change what was found
/// while they stand.
struct StandingFront: Sendable {
  /// Those to views that another process can go on with.
  private(set) var connections: [HandedConnection] = []
  private var loops: [StandingLoop] = []

  /// Nil when views still read: ask again. Blocks until the loops have finished what they do.
  static func stop(_ site: Site) throws(Errno) -> StandingFront? {
    var standing = StandingFront()
    do throws(Errno) {
      if try standing.stopAll(site) { return standing }
    } catch {
      standing.release()
      throw error
    }
    standing.release()
    return nil
  }

  /// The front first: it is where the connections of the others come from.
  private mutating func stopAll(_ site: Site) throws(Errno) -> Bool {
    let timeout = Site.questionTimeoutMilliseconds
    let front = site.front
    guard
      let stopped = try StandingLoop.stop(front.loop, timeoutMilliseconds: timeout, { () })
    else { return false }
    loops.append(stopped.loop)
    for views in front.views.members {
      let handed = try StandingLoop.stop(views.loop, timeoutMilliseconds: timeout) {
        views.pause()
        return views.isAtRest ? views.handOverConnections(front.catalog) : nil
      }
      guard let handed else { return false }
      loops.append(handed.loop)
      connections += handed.found
    }
    return true
  }

  /// Must be called in the end: the loops wait for it without a bound.
  func release() {
    for loop in loops { loop.release() }
  }
}
