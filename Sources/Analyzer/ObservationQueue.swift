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
/// It takes memory for what waits: blocks that the producer links up and the consumer takes apart,
/// for the producer to use again. So once it has grown to what drains leave, it allocates nothing.
/// Only the producer takes and frees blocks: a consumer of little priority that is kept waiting
/// with the allocator's lock would keep the producer waiting.
///
/// Threads: `offer` and `giveBackIdleMemory` belong to one thread, `drain` to one thread (the same
/// or another); everything else may be called from anywhere. Nothing here blocks; one offer in
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
    /// A chain of blocks to be used again.
    let kept = unsafe Atomic<UnsafeMutableRawPointer?>(nil)
    /// `tail` when memory was to be given back last.
    let tailAtRest = Atomic<UInt64>(0)
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
      let block = unsafe Block(at: .allocate(byteCount: slots + 8, alignment: 8))
      unsafe block.next = nil
      return block
    }

    func deallocate() { unsafe address.deallocate() }

    @inline(__always)
    func slot(_ index: UInt64) -> UnsafeMutablePointer<WriteObservation> {
      unsafe address.assumingMemoryBound(to: WriteObservation.self)
        + Int(truncatingIfNeeded: index % UInt64(blockSlots))
    }

    /// The next one that holds observations, set before the first of them is published; or that is
    /// to be used again.
    var next: UnsafeMutableRawPointer? {
      get { unsafe link.load(as: UnsafeMutableRawPointer?.self) }
      nonmutating set {
        unsafe link.storeBytes(of: newValue, as: UnsafeMutableRawPointer?.self)
      }
    }

    /// It and those behind it.
    static func deallocate(chain: UnsafeMutableRawPointer?) {
      var rest = unsafe chain
      while let address = unsafe rest {
        let block = unsafe Block(at: address)
        unsafe rest = unsafe block.next
        block.deallocate()
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
  /// A chain of blocks that the consumer took apart.
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
    unsafe Block.deallocate(chain: consumer.block.load(ordering: .relaxed))
    unsafe Block.deallocate(chain: producer.kept.load(ordering: .relaxed))
    unsafe Block.deallocate(chain: spare.load(ordering: .relaxed))
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
    let fresh = takeKept() ?? .allocate()
    unsafe used.next = unsafe fresh.address
    unsafe producer.block.store(fresh.address, ordering: .relaxed)
  }

  private func takeKept() -> Block? {
    let kept = unsafe producer.kept.load(ordering: .relaxed)
    guard let first = unsafe kept ?? spare.exchange(nil, ordering: .acquiring) else { return nil }
    let block = unsafe Block(at: first)
    unsafe producer.kept.store(block.next, ordering: .relaxed)
    unsafe block.next = nil
    return block
  }

  /// From time to time: frees what only earlier observations needed, if there were none since the
  /// time before. Producer thread only.
  public func giveBackIdleMemory() {
    let tail = producer.tail.load(ordering: .relaxed)
    guard producer.tailAtRest.load(ordering: .relaxed) == tail else {
      return producer.tailAtRest.store(tail, ordering: .relaxed)
    }
    unsafe Block.deallocate(chain: producer.kept.exchange(nil, ordering: .relaxed))
    unsafe Block.deallocate(chain: spare.exchange(nil, ordering: .acquiring))
  }

  /// The consumer has read all of its block, and the next one holds an observation.
  private func takeBlockApart() {
    let used = unsafe Block(at: consumer.block.load(ordering: .relaxed))
    guard let next = unsafe used.next else { preconditionFailure("an observation has no block") }
    unsafe consumer.block.store(next, ordering: .relaxed)
    // Meanwhile the producer finds none: nobody else puts any there.
    unsafe used.next = unsafe spare.exchange(nil, ordering: .acquiring)
    unsafe spare.store(used.address, ordering: .releasing)
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
