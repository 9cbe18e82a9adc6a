public import BlockModel
import Synchronization

/// The third copy of the tap: analyses the writes of one group's disks.
///
/// It owns no thread, clock or file. One analyzer thread calls `run` every so often with the time
/// and a reader of payloads; any thread takes snapshots. A group's loop is never waited for and
/// never waits: what its queue cannot hold is counted as skipped.
public final class GroupAnalyzer: Sendable {
  fileprivate struct State: ~Copyable {
    var clock = AnalysisClock()
    /// By number.
    var disks: [DiskAnalysis]
    /// Nil: the group does not have the disk.
    var names: [String?]
    var sampler = PayloadSampler()
    var meter = PayloadMeter()
    var payload = [UInt8](repeating: 0, count: PayloadMeter.maximumSampleBytes)
    var unknownDiskRequests: UInt64 = 0
  }

  /// How many there are.
  public var diskCount: Int { state.withLock { $0.names.count { $0 != nil } } }
  private let queue: ObservationQueue
  // Held for a whole run, and by who tells that a disk has grown.
  private let state: Mutex<State>
  private let published: Mutex<GroupAnalysisSnapshot>

  /// - Parameters:
  ///   - disks: the group's disks.
  ///   - queue: the queue that the group's loop fills; this analyzer becomes its only consumer.
  public init(
    disks: [(number: DiskNumber, name: String, sizeBytes: UInt64)], queue: ObservationQueue
  ) {
    self.queue = queue
    var state = State(disks: [], names: [])
    for disk in disks { state.add(disk.number, disk.name, disk.sizeBytes) }
    let empty = Self.makeSnapshot(
      names: state.names, disks: state.disks, unknownDiskRequests: 0, queue: queue, at: .zero)
    self.state = Mutex(state)
    published = Mutex(empty)
  }

  /// Takes what has arrived (one queue's capacity at most), counts it, reads a sample of the
  /// payloads, and publishes a snapshot. Analyzer thread; blocks only where the reader does.
  ///
  /// - Parameters:
  ///   - now: the wall clock.
  ///   - budgetBytes: payload bytes to read at most. Every write is sampled when that suffices,
  ///     else an equal share of them; 0 reads none.
  ///   - writtenBytesLimit: memory that may tell of a disk's overwrites, in bytes.
  /// - Returns: requests taken from the queue; `queue.capacity` says that more may wait.
  @discardableResult
  public func run<Reader: PayloadReader & ~Copyable>(
    once now: Timestamp, reader: inout Reader, budgetBytes: Int, writtenBytesLimit: Int = .max
  ) -> Int {
    let (snapshot, taken) = state.withLock { state in
      let limit = writtenBytesLimit / WrittenBlockMemory.placeBytes
      for disk in state.disks.indices { state.disks[disk].limitWrittenBlocks(to: limit) }
      state.clock.advance(to: now)
      state.sampler.begin(budgetBytes: budgetBytes)
      let taken = queue.drain(max: queue.capacity) { state.record($0) }
      state.measureSamples(&reader)
      for disk in state.disks.indices { state.disks[disk].advance(to: state.clock.now) }
      let snapshot = Self.makeSnapshot(
        names: state.names, disks: state.disks, unknownDiskRequests: state.unknownDiskRequests,
        queue: queue, at: now)
      return (snapshot, taken)
    }
    published.withLock { $0 = snapshot }
    return taken
  }

  /// A disk has become larger. Any thread but the group's loop: waits for a run to end.
  public func grow(disk: DiskNumber, to sizeBytes: UInt64) {
    state.withLock { $0.disks[disk.index].grow(to: sizeBytes) }
  }

  /// A disk has come. As `grow`.
  public func add(disk: DiskNumber, name: String, sizeBytes: UInt64) {
    state.withLock { $0.add(disk, name, sizeBytes) }
  }

  /// A disk has left. As `grow`.
  public func remove(disk: DiskNumber) {
    state.withLock { if disk.index < $0.names.count { $0.names[disk.index] = nil } }
  }

  /// The state after the latest run. Any thread; never waits for a run.
  ///
  /// - Parameter now: the wall clock; the snapshot's age is counted to it.
  public func snapshot(at now: Timestamp) -> GroupAnalysisSnapshot {
    var snapshot = published.withLock { $0 }
    let analyzedAt = Timestamp(nanoseconds: snapshot.analyzedAtNanoseconds)
    snapshot.ageSeconds = Double(now.nanoseconds(since: analyzedAt)) / 1e9
    return snapshot
  }

  private static func makeSnapshot(
    names: [String?], disks: [DiskAnalysis], unknownDiskRequests: UInt64, queue: ObservationQueue,
    at now: Timestamp
  ) -> GroupAnalysisSnapshot {
    let skipped = queue.skipped
    return GroupAnalysisSnapshot(
      analyzedAtNanoseconds: now.nanoseconds, ageSeconds: 0,
      queueCapacityRequests: queue.capacity, acceptedRequests: queue.accepted,
      skippedRequests: skipped.requests, skippedBytes: skipped.bytes,
      unknownDiskRequests: unknownDiskRequests,
      disks: zip(names, disks).compactMap { name, disk in name.map(disk.snapshot) })
  }
}

extension GroupAnalyzer.State {
  fileprivate mutating func add(_ disk: DiskNumber, _ name: String, _ sizeBytes: UInt64) {
    while disks.count <= disk.index {
      disks.append(DiskAnalysis(sizeBytes: 1))
      names.append(nil)
    }
    disks[disk.index] = DiskAnalysis(sizeBytes: sizeBytes)
    names[disk.index] = name
  }

  @inline(__always)
  fileprivate mutating func record(_ observation: WriteObservation) {
    let disk = observation.disk.index
    guard disk < disks.count else {
      unknownDiskRequests &+= 1
      return
    }
    var placed = observation
    placed.timestamp = clock.place(observation.timestamp)
    disks[disk].record(placed)
    sampler.consider(placed)
  }

  /// Reads what the sampler chose, in the order of the journal.
  fileprivate mutating func measureSamples<Reader: PayloadReader & ~Copyable>(
    _ reader: inout Reader
  ) {
    for sample in sampler.samples {
      let observation = sample.observation
      let disk = observation.disk.index
      let isRead = unsafe payload.withUnsafeMutableBytes { buffer in
        if observation.source.isZeros {
          unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
          return true
        }
        return unsafe reader.read(observation.source, length: sample.bytes, into: buffer)
      }
      guard isRead else {
        disks[disk].recordRecycledSample()
        continue
      }
      unsafe payload.withUnsafeBytes { buffer in
        unsafe disks[disk].recordSample(
          bytes: UnsafeRawBufferPointer(rebasing: buffer[..<sample.bytes]),
          writeBytes: observation.length, oneIn: sampler.oneIn, meter: &meter)
      }
    }
  }
}
