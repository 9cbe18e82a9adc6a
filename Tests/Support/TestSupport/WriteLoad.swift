import Foundation
import Synchronization

/// A client on a thread of its own that keeps many random writes in flight until it is stopped or
/// its connection breaks, and notes them in a history.
public final class WriteLoad: Sendable {
  public struct Shape: Sendable {
    public var depth = 32
    /// The longest write, in sectors; lengths are spread evenly from one on.
    public var maximumSectors = 64
    /// Every so many writes, one has FUA and the next is followed by a flush; 0 for never.
    public var flushEvery = 50
    /// Where on the disk sector 0 of the history is, in bytes.
    public var offset = 0
    public var seed: UInt64 = 1

    public init() {}
  }

  private struct State {
    var isStopping = false
    var failure: String?
    var hasEnded = false
  }

  private let uri: String
  private let shape: Shape
  private let history: WriteHistory
  private let state = Mutex(State())

  /// Starts at once.
  public init(_ uri: String, history: WriteHistory, shape: Shape = Shape()) {
    self.uri = uri
    self.history = history
    self.shape = shape
    Thread { [self] in
      do { try work() } catch { state.withLock { $0.failure = "\(error)" } }
      state.withLock { $0.hasEnded = true }
    }.start()
  }

  /// Waits until `count` more writes have been acknowledged.
  /// - Throws: `RigError` when the load ends before that, or after `limit`.
  public func makeProgress(_ count: Int, within limit: Duration = hangLimit) throws {
    let start = history.acknowledgedCount
    try eventually("\(count) more writes acknowledged", within: limit) {
      if let failure { throw RigError("the load ended: \(failure)") }
      return history.acknowledgedCount >= start + count
    }
  }

  /// Why the load ended before it was stopped; nil while it runs, or when it was stopped.
  public var failure: String? { state.withLock { $0.failure } }

  /// Stops after the writes in flight, or waits for the end if the connection broke.
  public func stop(within limit: Duration = hangLimit) throws {
    state.withLock { $0.isStopping = true }
    try eventually("the load ends", within: limit) { state.withLock { $0.hasEnded } }
  }

  private func work() throws {
    let client = try NBDClient(uri)
    var generator = SeededGenerator(seed: shape.seed)
    var inFlight: [NBDClient.Request: Range<Int>] = [:]
    var tags: [NBDClient.Request: (tag: UInt64, isDurable: Bool)] = [:]
    var flushes: [NBDClient.Request: WriteHistory.Flush] = [:]
    var submitted = 0
    while true {
      let stopping = state.withLock { $0.isStopping }
      while !stopping, inFlight.count < shape.depth {
        guard let range = freeRange(beside: inFlight.values, using: &generator) else { break }
        let tag = history.begin(first: range.lowerBound, count: range.count)
        let bytes = TaggedSectors.make(tag: tag, first: range.lowerBound, count: range.count)
        submitted += 1
        let turn = shape.flushEvery > 0 ? submitted % shape.flushEvery : 2
        let request = try client.submitWrite(
          bytes, at: UInt64(shape.offset + range.lowerBound * TaggedSectors.size), fua: turn == 0)
        inFlight[request] = range
        tags[request] = (tag, isDurable: turn == 0)
        if turn == 1 {
          let flush = history.beginFlush()
          let request = try client.submitFlush()
          inFlight[request] = 0..<0
          flushes[request] = flush
        }
      }
      if inFlight.isEmpty { return }
      for (request, failure) in try client.completions(of: inFlight.keys, within: hangLimit) {
        if let failure { throw failure }
        inFlight[request] = nil
        if let (tag, isDurable) = tags.removeValue(forKey: request) {
          history.acknowledge(tag, isDurable: isDurable)
        }
        if let flush = flushes.removeValue(forKey: request) { history.finish(flush) }
      }
    }
  }

  private func freeRange(
    beside busy: some Collection<Range<Int>>, using generator: inout SeededGenerator
  ) -> Range<Int>? {
    for _ in 0..<20 {
      let count = Int.random(in: 1...shape.maximumSectors, using: &generator)
      let first = Int.random(in: 0...history.sectors - count, using: &generator)
      let range = first..<first + count
      if !busy.contains(where: { $0.overlaps(range) }) { return range }
    }
    return nil
  }
}
