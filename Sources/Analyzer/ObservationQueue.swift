import Synchronization

/// What a full queue turned away since it was made.
public struct SkippedObservations: Equatable, Sendable {
  /// Writes, zeroes and trims.
  public var requests: UInt64
  /// Bytes that those requests covered.
  public var bytes: UInt64

  public init(requests: UInt64, bytes: UInt64) {
    self.requests = requests
    self.bytes = bytes
  }
}

/// The bounded way from a guest's I/O loop to the analyzer: a lock-free ring for one producer
/// thread and one consumer thread.
///
/// The producer never waits: when the ring is full the observation is counted as skipped and
/// dropped. Accepted observations arrive all, once, and in order.
///
/// Threads: `offer` belongs to one thread, `drain` to one thread (the same or another); everything
/// else may be called from anywhere. Nothing here blocks, allocates or makes a system call.
@safe
public final class ObservationQueue: Sendable {
  /// Observations that a queue holds unless told otherwise: 2 MiB, a third of a second at 200,000
  /// writes per second.
  public static let defaultCapacity = 65_536
  /// Limit of `capacity`: 512 MiB of observations.
  public static let maximumCapacity = 1 << 24

  /// Observations between two publications of the consumer's progress, so that a producer at a
  /// full ring finds room while a long drain is still going on.
  private static let drainChunk = 1024

  /// Bytes kept between the two sides: two cache lines, since processors fetch them in pairs.
  private typealias Padding = InlineArray<16, UInt64>

  // Only the producer writes here, so its counters need no read-modify-write instruction. The
  // cached index spares it the consumer's cache line until the ring looks full.
  private struct ProducerSide: ~Copyable {
    let tail = Atomic<UInt64>(0)
    let cachedHead = Atomic<UInt64>(0)
    let skippedRequests = Atomic<UInt64>(0)
    let skippedBytes = Atomic<UInt64>(0)
    let padding = Padding(repeating: 0)
  }

  private struct ConsumerSide: ~Copyable {
    let head = Atomic<UInt64>(0)
    let cachedTail = Atomic<UInt64>(0)
    let padding = Padding(repeating: 0)
  }

  /// Observations that fit.
  public let capacity: Int
  private let mask: UInt64
  private nonisolated(unsafe) let slots: UnsafeMutablePointer<WriteObservation>
  private let leadingPadding = Padding(repeating: 0)
  private let producer = ProducerSide()
  private let consumer = ConsumerSide()

  /// - Precondition: `capacity` is a power of two in `2 ... maximumCapacity`.
  public init(capacity: Int = defaultCapacity) {
    precondition(capacity >= 2 && capacity <= Self.maximumCapacity)
    precondition(capacity & (capacity - 1) == 0, "capacity must be a power of two")
    self.capacity = capacity
    mask = UInt64(capacity - 1)
    // Not touched: a group that is idle needs no memory for it, and the producer's first lap pays
    // one page fault for 128 observations.
    unsafe slots = .allocate(capacity: capacity)
  }

  deinit { unsafe slots.deallocate() }

  /// Hands one observation over. Producer thread only.
  ///
  /// - Returns: false when the ring was full; the observation is then counted in `skipped`.
  @inline(__always)
  @discardableResult
  public func offer(_ observation: WriteObservation) -> Bool {
    let tail = producer.tail.load(ordering: .relaxed)
    if tail &- producer.cachedHead.load(ordering: .relaxed) > mask {
      let head = consumer.head.load(ordering: .acquiring)
      producer.cachedHead.store(head, ordering: .relaxed)
      if tail &- head > mask {
        countSkipped(observation.length)
        return false
      }
    }
    unsafe (slots + Int(truncatingIfNeeded: tail & mask)).initialize(to: observation)
    producer.tail.store(tail &+ 1, ordering: .releasing)
    return true
  }

  private func countSkipped(_ length: UInt32) {
    let requests = producer.skippedRequests.load(ordering: .relaxed)
    producer.skippedRequests.store(requests &+ 1, ordering: .relaxed)
    let bytes = producer.skippedBytes.load(ordering: .relaxed)
    producer.skippedBytes.store(bytes &+ UInt64(length), ordering: .relaxed)
  }

  /// Calls `body` with the oldest observations, at most `limit` of them. Consumer thread only.
  ///
  /// - Returns: how many there were.
  @inline(__always)
  @discardableResult
  public func drain(max limit: Int, _ body: (WriteObservation) -> Void) -> Int {
    var head = consumer.head.load(ordering: .relaxed)
    var drained = 0
    while drained < limit {
      var tail = consumer.cachedTail.load(ordering: .relaxed)
      if tail == head {
        tail = producer.tail.load(ordering: .acquiring)
        consumer.cachedTail.store(tail, ordering: .relaxed)
        if tail == head { break }
      }
      let available = Int(truncatingIfNeeded: tail &- head)
      let count = min(available, limit - drained, Self.drainChunk)
      for _ in 0..<count {
        body(unsafe slots[Int(truncatingIfNeeded: head & mask)])
        head &+= 1
      }
      consumer.head.store(head, ordering: .releasing)
      drained += count
    }
    return drained
  }

  /// Whether nothing waits. Any thread; already old when it returns.
  public var isEmpty: Bool {
    let head = consumer.head.load(ordering: .acquiring)
    return producer.tail.load(ordering: .acquiring) == head
  }

  /// Observations accepted since the queue was made. Any thread.
  public var accepted: UInt64 { producer.tail.load(ordering: .relaxed) }

  /// What was turned away since the queue was made. Any thread; the two counts may differ by the
  /// one observation that is being counted.
  public var skipped: SkippedObservations {
    SkippedObservations(
      requests: producer.skippedRequests.load(ordering: .relaxed),
      bytes: producer.skippedBytes.load(ordering: .relaxed))
  }
}
