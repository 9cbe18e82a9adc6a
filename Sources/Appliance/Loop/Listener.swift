import SystemIO

/// A listening socket. Confined to its loop's thread.
final class Listener: EventHandler, @unchecked Sendable {
  /// Connections taken in one turn, so that a storm of them does not hold up the others.
  private static let burst = 64

  private let socket: Socket
  private let loop: EventLoop
  private let accepted: (Socket) -> Void
  private let log: (String) -> Void

  /// - Parameters:
  ///   - log: for what may be said as often as somebody tries to connect.
  ///   - accepted: called for each connection, on the loop.
  init(
    _ socket: Socket, loop: EventLoop, log: @escaping (String) -> Void,
    accepted: @escaping (Socket) -> Void
  ) {
    self.socket = socket
    self.loop = loop
    self.log = log
    self.accepted = accepted
  }

  /// Accepts from here on; does nothing when it does already.
  func start() {
    guard token == nil else { return }
    do throws(Errno) { try loop.add(self, socket, .readable) } catch {
      log("cannot watch a listener: \(error)")
    }
  }

  /// Accepts nobody until `start`: who comes now waits to be accepted.
  func stop() { loop.remove(self, socket) }

  /// Each second or so: what the system lacked then may be there now.
  func tryAgain() { loop.setInterest(self, socket, .readable) }

  override func ready(_ interest: Poller.Interest) {
    do throws(Errno) {
      for _ in 0..<Self.burst {
        guard let client = try socket.accept() else { return }
        accepted(client)
      }
    } catch {
      // Until `tryAgain`: what the system lacks now, it would lack again at once.
      loop.setInterest(self, socket, [])
      log("cannot take a connection: \(error)")
    }
  }
}
