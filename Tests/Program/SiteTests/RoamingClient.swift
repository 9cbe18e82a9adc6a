import Foundation
import Synchronization
import TestSupport

/// A client on a thread of its own that writes one request after the other, all the time. Where it
/// is cut off or refused it goes on at the next site that lets it, as a machine does whose disk has
/// an address that moves.
final class RoamingClient: Sendable {
  private struct State {
    var isStopping = false
    var hasEnded = false
    var refusals = 0
  }

  private let uris: [String]
  private let history: WriteHistory
  private let state = Mutex(State())

  /// Starts at once.
  init(_ uris: [String], history: WriteHistory, seed: UInt64) {
    self.uris = uris
    self.history = history
    Thread { [self] in
      work(SeededGenerator(seed: seed))
      state.withLock { $0.hasEnded = true }
    }.start()
  }

  /// Waits until `count` more writes have been acknowledged.
  func makeProgress(_ count: Int) throws {
    let start = history.acknowledgedCount
    try eventually("\(count) more writes acknowledged") {
      history.acknowledgedCount >= start + count
    }
  }

  /// How often it was cut off or turned away.
  var refusals: Int { state.withLock { $0.refusals } }

  func stop() throws {
    state.withLock { $0.isStopping = true }
    try eventually("the client ends") { state.withLock { $0.hasEnded } }
  }

  private func work(_ generator: SeededGenerator) {
    var generator = generator
    var place = 0
    var client: NBDClient?
    while !state.withLock({ $0.isStopping }) {
      do {
        if client == nil { client = try NBDClient(uris[place]) }
        let count = Int.random(in: 1...32, using: &generator)
        let first = Int.random(in: 0...history.sectors - count, using: &generator)
        let tag = history.begin(first: first, count: count)
        try client?.write(
          TaggedSectors.make(tag: tag, first: first, count: count),
          at: UInt64(first * TaggedSectors.size))
        history.acknowledge(tag)
      } catch {
        client = nil
        place = (place + 1) % uris.count
        state.withLock { $0.refusals += 1 }
        Thread.sleep(forTimeInterval: 0.005)
      }
    }
  }
}
