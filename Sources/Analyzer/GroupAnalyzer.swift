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

  /// A disk of the group, as it is told of.
  public struct Disk: Sendable {
    public var number: DiskNumber
    public var name: String
    public var sizeBytes: UInt64

    public init(number: DiskNumber, name: String, sizeBytes: UInt64) {
      self.number = number
      self.name = name
      self.sizeBytes = sizeBytes
    }
  }

  fileprivate enum Change: Sendable {
    case added(Disk)
    case removed(DiskNumber)
    case grown(DiskNumber, to: UInt64)
    /// These, and no others.
    case replaced([Disk])
  }

  /// How many there were at the latest run. Waits for a run to end.
  public var diskCount: Int { state.withLock { $0.names.count { $0 != nil } } }
  private let queue: ObservationQueue
  // Held for a whole run, which may be long where other threads have the processor.
  private let state: Mutex<State>
  /// What the next run takes over.
  private let changes = Mutex<[Change]>([])
  private let published: Mutex<GroupAnalysisSnapshot>

  /// - Parameters:
  ///   - disks: the group's disks.
  ///   - queue: the queue that the group's loop fills; this analyzer becomes its only consumer.
  public init(disks: [Disk], queue: ObservationQueue) {
    self.queue = queue
    var state = State(disks: [], names: [])
    for disk in disks { state.add(disk) }
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
    let changes = changes.withLock { changes in
      defer { changes = [] }
      return changes
    }
    let (snapshot, taken) = state.withLock { state in
      for change in changes { state.take(change) }
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

  /// A disk has become larger. The next run knows it. Any thread; never waits for a run.
  public func grow(disk: DiskNumber, to sizeBytes: UInt64) {
    note(.grown(disk, to: sizeBytes))
  }

  /// A disk has come. As `grow`.
  public func add(_ disk: Disk) { note(.added(disk)) }

  /// A disk has left. As `grow`.
  public func remove(disk: DiskNumber) { note(.removed(disk)) }

  /// The disks have other numbers, or are others. As `grow`.
  public func replace(with disks: [Disk]) { note(.replaced(disks)) }

  private func note(_ change: Change) { changes.withLock { $0.append(change) } }

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
  fileprivate mutating func take(_ change: GroupAnalyzer.Change) {
    switch change {
    case .added(let disk): add(disk)
    case .removed(let disk): if disk.index < names.count { names[disk.index] = nil }
    case .grown(let disk, let sizeBytes):
      if has(disk) { disks[disk.index].grow(to: sizeBytes) }
    case .replaced(let present):
      for index in names.indices where !present.contains(where: { $0.number.index == index }) {
        names[index] = nil
      }
      for disk in present where !has(disk.number) || names[disk.number.index] != disk.name {
        add(disk)
      }
    }
  }

  private func has(_ disk: DiskNumber) -> Bool {
    disk.index < names.count && names[disk.index] != nil
  }

  fileprivate mutating func add(_ disk: GroupAnalyzer.Disk) {
    let index = disk.number.index
    while disks.count <= index {
      disks.append(DiskAnalysis(sizeBytes: 1))
      names.append(nil)
    }
    disks[index] = DiskAnalysis(sizeBytes: disk.sizeBytes)
    names[index] = disk.name
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
