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

/// The bounded way from a guest's I/O loop to the analyzer: a lock-free queue for one producer
/// thread and one consumer thread.
///
/// The producer never waits: when the queue is full the observation is counted as skipped and
/// dropped. Accepted observations arrive all, once, and in order.
///
/// It takes memory for what waits: blocks that the producer links up and the consumer takes apart.
/// The block last taken apart is the producer's next, so a queue that is drained in time allocates
/// nothing.
///
/// Threads: `offer` belongs to one thread, `drain` to one thread (the same or another); everything
/// else may be called from anywhere. Nothing here blocks or makes a system call; one offer in
/// `blockSlots` may allocate.
@safe
public final class ObservationQueue: Sendable {
  /// Observations that a queue holds unless told otherwise: 2 MiB, a third of a second at 200,000
  /// writes per second.
  public static let defaultCapacity = 65_536
  /// Limit of `capacity`: 512 MiB of observations.
  public static let maximumCapacity = 1 << 24

  /// Observations in a block, 16 KiB; also those between two publications of the consumer's
  /// progress, so that a producer at a full queue finds room while a long drain is still going on.
  private static let blockSlots = 512

  /// Bytes kept between the two sides: two cache lines, since processors fetch them in pairs.
  private typealias Padding = InlineArray<16, UInt64>

  // Only the producer writes here, so its counters need no read-modify-write instruction. The
  // cached index spares it the consumer's cache line until the queue looks full.
  @safe
  private struct ProducerSide: ~Copyable, @unchecked Sendable {
    let tail = Atomic<UInt64>(0)
    let cachedHead = Atomic<UInt64>(0)
    let block: Atomic<UnsafeMutableRawPointer>
    let skippedRequests = Atomic<UInt64>(0)
    let skippedBytes = Atomic<UInt64>(0)
    let padding = Padding(repeating: 0)

    init(_ block: Block) { unsafe self.block = Atomic(block.address) }
  }

  @safe
  private struct ConsumerSide: ~Copyable, @unchecked Sendable {
    let head = Atomic<UInt64>(0)
    let cachedTail = Atomic<UInt64>(0)
    let block: Atomic<UnsafeMutableRawPointer>
    let padding = Padding(repeating: 0)

    init(_ block: Block) { unsafe self.block = Atomic(block.address) }
  }

  /// Observations, and the address of the block behind them.
  @safe
  private struct Block {
    let address: UnsafeMutableRawPointer

    init(at address: UnsafeMutableRawPointer) { unsafe self.address = address }

    static func allocate() -> Block {
      let slots = blockSlots * MemoryLayout<WriteObservation>.stride
      return unsafe Block(at: .allocate(byteCount: slots + 8, alignment: 8))
    }

    func deallocate() { unsafe address.deallocate() }

    @inline(__always)
    func slot(_ index: UInt64) -> UnsafeMutablePointer<WriteObservation> {
      unsafe address.assumingMemoryBound(to: WriteObservation.self)
        + Int(truncatingIfNeeded: index % UInt64(blockSlots))
    }

    /// Set before the first observation of the next block is published.
    var next: Block {
      get { unsafe Block(at: link.load(as: UnsafeMutableRawPointer.self)) }
      nonmutating set {
        unsafe link.storeBytes(of: newValue.address, as: UnsafeMutableRawPointer.self)
      }
    }

    private var link: UnsafeMutableRawPointer {
      unsafe address + blockSlots * MemoryLayout<WriteObservation>.stride
    }
  }

  /// Observations that fit.
  public let capacity: Int
  private let leadingPadding = Padding(repeating: 0)
  private let producer: ProducerSide
  private let consumer: ConsumerSide
  /// The block that the consumer took apart last.
  private nonisolated(unsafe) let spare = unsafe Atomic<UnsafeMutableRawPointer?>(nil)

  /// - Precondition: `capacity` is in `2 ... maximumCapacity`.
  public init(capacity: Int = defaultCapacity) {
    precondition(capacity >= 2 && capacity <= Self.maximumCapacity)
    self.capacity = capacity
    let block = Block.allocate()
    producer = ProducerSide(block)
    consumer = ConsumerSide(block)
  }

  deinit {
    var block = unsafe Block(at: consumer.block.load(ordering: .relaxed))
    while unsafe block.address != producer.block.load(ordering: .relaxed) {
      let next = block.next
      block.deallocate()
      block = next
    }
    block.deallocate()
    if let spare = unsafe spare.load(ordering: .relaxed) { unsafe Block(at: spare).deallocate() }
  }

  /// Hands one observation over. Producer thread only.
  ///
  /// - Returns: false when the queue was full; the observation is then counted in `skipped`.
  @inline(__always)
  @discardableResult
  public func offer(_ observation: WriteObservation) -> Bool {
    let tail = producer.tail.load(ordering: .relaxed)
    if tail &- producer.cachedHead.load(ordering: .relaxed) >= UInt64(capacity) {
      let head = consumer.head.load(ordering: .acquiring)
      producer.cachedHead.store(head, ordering: .relaxed)
      if tail &- head >= UInt64(capacity) {
        countSkipped(observation.length)
        return false
      }
    }
    if tail % UInt64(Self.blockSlots) == 0 && tail > 0 { linkBlock() }
    let block = unsafe Block(at: producer.block.load(ordering: .relaxed))
    unsafe block.slot(tail).initialize(to: observation)
    producer.tail.store(tail &+ 1, ordering: .releasing)
    return true
  }

  private func linkBlock() {
    let used = unsafe Block(at: producer.block.load(ordering: .relaxed))
    let spare = unsafe self.spare.exchange(nil, ordering: .acquiring)
    let fresh = unsafe spare.map { unsafe Block(at: $0) } ?? .allocate()
    used.next = fresh
    unsafe producer.block.store(fresh.address, ordering: .relaxed)
  }

  /// The consumer has read all of its block, and the next one holds an observation.
  private func takeBlockApart() {
    let used = unsafe Block(at: consumer.block.load(ordering: .relaxed))
    unsafe consumer.block.store(used.next.address, ordering: .relaxed)
    let older = unsafe spare.exchange(used.address, ordering: .acquiringAndReleasing)
    if let older = unsafe older { unsafe Block(at: older).deallocate() }
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
      let place = Int(truncatingIfNeeded: head % UInt64(Self.blockSlots))
      if place == 0 && head > 0 { takeBlockApart() }
      let block = unsafe Block(at: consumer.block.load(ordering: .relaxed))
      let available = Int(truncatingIfNeeded: tail &- head)
      let count = min(available, limit - drained, Self.blockSlots - place)
      for _ in 0..<count {
        body(unsafe block.slot(head).pointee)
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
