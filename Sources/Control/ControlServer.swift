import Appliance
import Configuration
import Handover
import Synchronization
import SystemIO

/// Listens at a site's control address and answers the command line; see `ControlRequest` for the
/// protocol.
///
/// It has threads of its own: one that accepts, and one for each of at most
/// `ControlLimits.connections` clients, so that a client that is slow or silent waits alone. When
/// control fails, the site's I/O does not notice.
public final class ControlServer<Subject: ControlledSite>: Sendable {
  private let shared: Shared
  private let thread: Thread

  /// The address of the listener; a TCP port 0 has become the real one.
  public let address: SocketAddress

  /// Listens and starts to serve. Fails when the address cannot be listened at.
  public convenience init(_ site: Subject, at address: SocketAddress) throws(Errno) {
    let listener = try ListeningSocket.listen(
      at: ListenerIdentity(.control, address), backlog: ControlLimits.backlog)
    try self.init(site, on: listener)
  }

  /// Starts to serve.
  ///
  /// - Parameter handedOver: called on a thread of this server when another process has the site;
  ///   it must end this process.
  public init(
    _ site: Subject, on listener: ListeningSocket, handedOver: @escaping @Sendable () -> Void = {}
  ) throws(Errno) {
    address = listener.address
    let shared = Shared(listener, ControlResponder(site: site), try Wakeup(), handedOver)
    self.shared = shared
    thread = Thread(name: "control", priority: .background) { shared.acceptUntilStopped() }
  }

  /// Ends all connections and the listener; a command under way is finished first, its reply may be
  /// lost. Blocks until the threads have ended. Call it once.
  public func stop() {
    shared.requestStop()
    thread.join()
    shared.listener.removeName()
  }

  /// Clients that are connected now.
  var connectionCount: Int { shared.connectionCount }

  private final class Shared: Sendable {
    private struct State {
      var isStopping = false
      var connections: [UInt64: Socket] = [:]
      var threads: [UInt64: Thread] = [:]
      var ended: [UInt64] = []
    }

    let listener: ListeningSocket
    private let responder: ControlResponder<Subject>
    private let wakeup: Wakeup
    private let handedOver: @Sendable () -> Void
    private let state = Mutex(State())

    init(
      _ listener: ListeningSocket, _ responder: ControlResponder<Subject>, _ wakeup: Wakeup,
      _ handedOver: @escaping @Sendable () -> Void
    ) {
      self.listener = listener
      self.responder = responder
      self.wakeup = wakeup
      self.handedOver = handedOver
    }

    var connectionCount: Int { state.withLock { $0.connections.count } }

    func requestStop() {
      state.withLock { state in
        state.isStopping = true
        for socket in state.connections.values { socket.shutDown() }
      }
      wakeup.signal()
    }

    func acceptUntilStopped() {
      if let poller = try? Poller(),
        (try? poller.add(listener.socket.rawDescriptor, token: 0, .readable)) != nil,
        (try? poller.add(wakeup.rawDescriptor, token: 1, .readable)) != nil
      {
        var nextIdentifier: UInt64 = 0
        while !state.withLock({ $0.isStopping }) {
          guard (try? poller.wait(timeoutMilliseconds: -1)) != nil else { break }
          wakeup.clear()
          joinEnded()
          acceptAll(&nextIdentifier)
        }
      }
      requestStop()
      for thread in state.withLock({ Array($0.threads.values) }) { thread.join() }
    }

    /// Waits for threads that have announced their end.
    private func joinEnded() {
      let threads = state.withLock { state in
        defer { state.ended = [] }
        return state.ended.compactMap { state.threads.removeValue(forKey: $0) }
      }
      for thread in threads { thread.join() }
    }

    /// Pause after a failed accept, which is mostly a lack of descriptors that lasts.
    private static var failurePauseMilliseconds: Int32 { 100 }

    private func acceptAll(_ nextIdentifier: inout UInt64) {
      while true {
        let accepted: Socket?
        do throws(Errno) { accepted = try listener.socket.accept() } catch {
          wakeup.wait(timeoutMilliseconds: Self.failurePauseMilliseconds)
          return
        }
        guard let socket = accepted else { return }
        nextIdentifier += 1
        start(socket, nextIdentifier)
      }
    }

    private func start(_ socket: Socket, _ identifier: UInt64) {
      let isRefused: Bool? = state.withLock { state in
        if state.isStopping { return nil }
        if state.connections.count >= ControlLimits.connections { return true }
        state.connections[identifier] = socket
        state.threads[identifier] = Thread(name: "control-client", priority: .background) {
          self.serve(socket, identifier)
        }
        return false
      }
      if isRefused == true {
        let refusal = ControlResponder<Subject>.failure(
          "too many control connections; \(ControlLimits.connections) is the limit")
        _ = try? unsafe (refusal + [UInt8(ascii: "\n")]).withUnsafeBytes {
          try unsafe socket.send($0)
        }
      }
    }

    private func serve(_ socket: Socket, _ identifier: UInt64) {
      var connection = LineConnection(socket)
      while case .line(let line)? = try? connection.receiveLine() {
        if let request = responder.handoverRequest(in: line) {
          handOver(request, socket, &connection)
          break
        }
        var reply = responder.reply(to: line)
        reply.append(UInt8(ascii: "\n"))
        guard (try? connection.send(reply)) == true else { break }
      }
      if connection.isTooLong {
        let reason = "a request has at most \(ControlLimits.requestBytes) bytes"
        _ = try? connection.send(
          ControlResponder<Subject>.failure(reason) + [UInt8(ascii: "\n")])
      }
      state.withLock { state in
        state.connections[identifier] = nil
        state.ended.append(identifier)
      }
      wakeup.signal()
    }

    /// Returns when this process keeps the site, if at all.
    private func handOver(
      _ request: ControlRequest, _ socket: Socket, _ connection: inout LineConnection
    ) {
      let (reply, isOffered) = responder.handoverReply(to: request, peerUser: socket.peerUser?.user)
      guard (try? connection.send(reply + [UInt8(ascii: "\n")])) == true, isOffered,
        let channel = try? HandoverChannel(socket)
      else { return }
      if responder.site.handOver(over: channel, control: listener) { handedOver() }
    }
  }
}
