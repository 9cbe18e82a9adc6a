import Foundation
import Synchronization

/// A TCP proxy on loopback whose cable can be cut, at any byte, and joined again.
public final class CutProxy: Sendable {
  /// `tcp:127.0.0.1:PORT`, where clients connect.
  public let address: String

  private struct State {
    var isCut = false
    var isStopped = false
    var remaining: Int?
    var forwarded = 0
    var recorded: [UInt8]?
    var open: Set<Int32> = []
  }

  /// Of one connection: changes bytes that come from the target.
  public typealias Change = @Sendable (inout ArraySlice<UInt8>) -> Void

  private let target: UInt16
  private let change: (@Sendable () -> Change)?
  private let listener: Int32
  private let shared = Mutex(State())

  /// Starts to listen. The target need not listen yet: until it does, connections are closed.
  ///
  /// - Parameter change: makes what changes the bytes from the target, for each connection.
  public init(to target: UInt16, changingAnswers change: (@Sendable () -> Change)? = nil) throws {
    self.target = target
    self.change = change
    listener = try loopbackListener(port: 0)
    address = "tcp:127.0.0.1:\(try localPort(of: listener))"
    Thread { [self] in acceptLoop() }.start()
  }

  /// Ends the proxy: its threads keep it alive until then.
  public func stop() {
    // In one go: whoever sees the flag may close the listener, and its number be used again.
    shared.withLock {
      $0.isStopped = true
      shutdown(listener, Int32(SHUT_RDWR))
    }
    breakAll()
  }

  /// Bytes passed on towards the target so far.
  public var forwardedBytes: Int { shared.withLock { $0.forwarded } }
  public var isCut: Bool { shared.withLock { $0.isCut } }

  /// From now on, all that passes in both directions is kept.
  public func record() { shared.withLock { $0.recorded = [] } }
  public var recorded: [UInt8] { shared.withLock { $0.recorded ?? [] } }

  /// Breaks every connection; new ones are closed at once until `join`.
  public func cut() {
    shared.withLock { $0.isCut = true }
    breakAll()
  }

  /// Cuts after `count` more bytes have gone towards the target, wherever in a message that is.
  public func cut(afterBytes count: Int) {
    shared.withLock { $0.remaining = count }
  }

  public func join() { join(for: nil) }

  /// Joins it, and cuts it again when so many bytes have gone towards the target; nil: never.
  public func join(for count: Int?) {
    shared.withLock {
      $0.isCut = false
      $0.remaining = count
    }
  }

  private func breakAll() {
    // Descriptors in the set are open: they leave it, under the lock, before they are closed.
    shared.withLock { for descriptor in $0.open { shutdown(descriptor, Int32(SHUT_RDWR)) } }
  }

  private func acceptLoop() {
    while true {
      let client = accept(listener, nil, nil)
      let (stopped, refused) = shared.withLock { ($0.isStopped, $0.isCut) }
      if stopped {
        if client >= 0 { close(client) }
        close(listener)
        return
      }
      guard client >= 0 else { continue }
      guard !refused, let server = try? connectLoopback(port: target) else {
        close(client)
        continue
      }
      join(client, server)
    }
  }

  private func join(_ client: Int32, _ server: Int32) {
    for descriptor in [client, server] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    shared.withLock { $0.open.formUnion([client, server]) }
    let pumps = DispatchGroup()
    for (from, to, counts) in [(client, server, true), (server, client, false)] {
      pumps.enter()
      Thread { [self] in
        pump(from: from, to: to, counts: counts)
        shutdown(from, Int32(SHUT_RDWR))
        shutdown(to, Int32(SHUT_RDWR))
        pumps.leave()
      }.start()
    }
    Thread { [self] in
      pumps.wait()
      shared.withLock { $0.open.subtract([client, server]) }
      close(client)
      close(server)
    }.start()
  }

  private func pump(from: Int32, to: Int32, counts: Bool) {
    var buffer = [UInt8](repeating: 0, count: 65536)
    let change = counts ? nil : self.change?()
    while true {
      let received = unsafe recv(from, &buffer, buffer.count, 0)
      guard received > 0 else { return }
      change?(&buffer[..<received])
      shared.withLock { $0.recorded?.append(contentsOf: buffer[..<received]) }
      let allowed = shared.withLock { state -> Int in
        guard !state.isCut else { return 0 }
        guard counts else { return received }
        let allowed = min(received, state.remaining ?? received)
        if let remaining = state.remaining { state.remaining = remaining - allowed }
        if state.remaining == 0 { state.isCut = true }
        state.forwarded += allowed
        return allowed
      }
      var sent = 0
      while sent < allowed {
        let count = unsafe buffer.withUnsafeBytes {
          unsafe send(to, $0.baseAddress! + sent, allowed - sent, Int32(MSG_NOSIGNAL))
        }
        guard count > 0 else { return }
        sent += count
      }
      if allowed < received { return breakAll() }
    }
  }
}
