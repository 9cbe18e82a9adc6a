/// What the analyzer knows about a group, as `status --json` shows it.
public struct GroupAnalysisSnapshot: Codable, Equatable, Sendable {
  /// Wall clock of the run that published this, nanoseconds since 1970; 0 before the first run.
  public var analyzedAtNanoseconds: UInt64
  /// Seconds since that run when the snapshot was taken.
  public var ageSeconds: Double
  /// Requests that the queue between the loop and the analyzer holds.
  public var queueCapacityRequests: Int
  /// Requests that the queue has accepted since the start.
  public var acceptedRequests: UInt64
  /// Requests that found the queue full and are in no figure but these two.
  public var skippedRequests: UInt64
  public var skippedBytes: UInt64
  /// Requests that named no disk of the group. Other than 0 says that something is broken.
  public var unknownDiskRequests: UInt64
  /// In the order of their numbers.
  public var disks: [DiskAnalysisSnapshot]

  enum CodingKeys: String, CodingKey {
    case analyzedAtNanoseconds = "analyzed_at_nanoseconds"
    case ageSeconds = "age_seconds"
    case queueCapacityRequests = "queue_capacity_requests"
    case acceptedRequests = "accepted_requests"
    case skippedRequests = "skipped_requests"
    case skippedBytes = "skipped_bytes"
    case unknownDiskRequests = "unknown_disk_requests"
    case disks
  }
}

/// What the analyzer knows about one disk.
public struct DiskAnalysisSnapshot: Codable, Equatable, Sendable {
  public var name: String
  public var sizeBytes: UInt64
  public var total: WriteTotalsSnapshot
  /// Shortest first.
  public var windows: [WindowSnapshot]
  /// Hottest first, `DiskAnalysis.hottestRangeCount` at most.
  public var hottestRanges: [HotRangeSnapshot]

  enum CodingKeys: String, CodingKey {
    case name
    case sizeBytes = "size_bytes"
    case total
    case windows
    case hottestRanges = "hottest_ranges"
  }
}

/// Counts since the analyzer started; they only grow.
public struct WriteTotalsSnapshot: Codable, Equatable, Sendable {
  public var writes: UInt64
  public var writtenBytes: UInt64
  public var zeroRequests: UInt64
  public var zeroRequestBytes: UInt64
  public var trimRequests: UInt64
  public var trimmedBytes: UInt64
  public var sampledWrites: UInt64
  public var sampledBytes: UInt64
  /// Samples whose payload the journal had recycled before it was read.
  public var recycledSamples: UInt64

  enum CodingKeys: String, CodingKey {
    case writes
    case writtenBytes = "written_bytes"
    case zeroRequests = "zero_requests"
    case zeroRequestBytes = "zero_request_bytes"
    case trimRequests = "trim_requests"
    case trimmedBytes = "trimmed_bytes"
    case sampledWrites = "sampled_writes"
    case sampledBytes = "sampled_bytes"
    case recycledSamples = "recycled_samples"
  }

  init(_ counters: WriteCounters) {
    writes = counters.writes
    writtenBytes = counters.writtenBytes
    zeroRequests = counters.zeroRequests
    zeroRequestBytes = counters.zeroRequestBytes
    trimRequests = counters.trimRequests
    trimmedBytes = counters.trimmedBytes
    sampledWrites = counters.samples.sampledWrites
    sampledBytes = counters.samples.sampledBytes
    recycledSamples = counters.samples.recycledSamples
  }
}

/// A range of a disk that is written often.
public struct HotRangeSnapshot: Codable, Equatable, Sendable {
  public var startBytes: UInt64
  public var lengthBytes: UInt64
  /// Recent mean (half-life 60 s); what is certain, and the most that it can be.
  public var writesPerSecondAtLeast: Double
  public var writesPerSecondAtMost: Double

  enum CodingKeys: String, CodingKey {
    case startBytes = "start_bytes"
    case lengthBytes = "length_bytes"
    case writesPerSecondAtLeast = "writes_per_second_at_least"
    case writesPerSecondAtMost = "writes_per_second_at_most"
  }

  init(_ reading: HotRanges.Reading, diskBytes: UInt64) {
    startBytes = reading.startBytes
    let remaining = diskBytes > startBytes ? diskBytes - startBytes : 0
    lengthBytes = min(1 << HotRanges.rangeShift, remaining)
    writesPerSecondAtLeast = reading.certainWritesPerSecond
    writesPerSecondAtMost = reading.writesPerSecond
  }
}
