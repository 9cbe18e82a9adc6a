import Analyzer

// What `tapline status` shows of a group; see `SiteStatus` for what holds of all of it.

public struct GroupStatus: Codable, Sendable {
  public var name: String
  /// `protected`, `recovery` or `plain`.
  public var role: String
  /// `owning` or `following`: what it does here now; absent for a plain group.
  public var duty: String?
  /// Of the ownership that is known here; absent for a plain group.
  public var term: UInt64?
  /// One that is pending; absent when there is none.
  public var failover: FailoverStatus?
  /// Why writes are refused here: another site has taken over. Absent while they are not.
  public var fenced: String?
  /// `ok`; otherwise one sentence that says what is wrong: of the worst of `conditions`.
  public var health: String
  /// The worst first.
  public var conditions: [ConditionStatus]?
  /// Absent while the group is open.
  public var closed: OpeningStatus?
  public var epoch: UInt64
  public var watermarks: WatermarkStatus
  public var history: HistoryStatus?
  public var journal: JournalStatus?
  /// Of a group with one peer.
  public var link: LinkStatus?
  /// Of a protected group with peers, whether one or several.
  public var links: [LinkStatus]?
  public var writeLatency: LatencyStatus?
  public var disks: [DiskStatus]
  /// Disks that have left, and of which instants are left; absent when there are none.
  public var removedDisks: [RemovedDiskStatus]?
  /// Absent when there are none.
  public var tests: [OpenTestStatus]?
  public var analysis: GroupAnalysisSnapshot?

  enum CodingKeys: String, CodingKey {
    case name, role, duty, term, failover, fenced, health, conditions, closed, epoch, watermarks
    case history, journal, link, links, disks, tests, analysis
    case removedDisks = "removed_disks"
    case writeLatency = "write_latency"
  }

  init(
    name: String, role: String, duty: String? = nil, term: UInt64? = nil,
    failover: FailoverStatus? = nil, fenced: String? = nil, conditions: [ConditionStatus],
    closed: OpeningStatus? = nil, epoch: UInt64, watermarks: WatermarkStatus,
    history: HistoryStatus? = nil, journal: JournalStatus? = nil,
    link: LinkStatus? = nil, links: [LinkStatus]? = nil, writeLatency: LatencyStatus? = nil,
    disks: [DiskStatus], removedDisks: [RemovedDiskStatus]? = nil,
    tests: [OpenTestStatus]? = nil, analysis: GroupAnalysisSnapshot? = nil
  ) {
    self.name = name
    self.role = role
    self.duty = duty
    self.term = term
    self.failover = failover
    self.fenced = fenced
    self.conditions = conditions
    self.closed = closed
    health = conditions.health
    self.epoch = epoch
    self.watermarks = watermarks
    self.history = history
    self.journal = journal
    self.link = link
    self.links = links
    self.writeLatency = writeLatency
    self.disks = disks
    self.removedDisks = removedDisks
    self.tests = tests
    self.analysis = analysis
  }

  /// One more that is worse than all that it has.
  mutating func add(_ condition: ConditionStatus) {
    let all = [condition] + (conditions ?? [])
    conditions = all
    health = all.health
  }
}

/// Of a group that is not open: nothing of it is served, and the site tries to open it.
public struct OpeningStatus: Codable, Sendable {
  /// Absent while the first attempt is made.
  public var reason: String?
  /// Attempts that failed since the group was open last.
  public var failedAttempts: Int
  /// Until the next attempt; absent while one is made.
  public var retrySeconds: Double?

  enum CodingKeys: String, CodingKey {
    case reason
    case failedAttempts = "failed_attempts"
    case retrySeconds = "retry_seconds"
  }
}

/// `stamped ≥ appended ≥ durable ≥ applied`; at the peer, where there is one and not several,
/// `received ≥ durable ≥ applied`.
public struct WatermarkStatus: Codable, Sendable {
  public var stamped: UInt64
  public var appended: UInt64
  public var durable: UInt64
  public var applied: UInt64
  public var peerReceived: UInt64?
  public var peerDurable: UInt64?
  public var peerApplied: UInt64?

  enum CodingKeys: String, CodingKey {
    case stamped, appended, durable, applied
    case peerReceived = "peer_received"
    case peerDurable = "peer_durable"
    case peerApplied = "peer_applied"
  }
}

/// The instants that can be opened.
public struct HistoryStatus: Codable, Sendable {
  public var start: String
  public var end: String
  public var seconds: Double
  public var checkpoints: Int
  public var openViews: Int
  /// What apply has saved for them, in scratch files.
  public var viewScratchBytes: UInt64?

  enum CodingKeys: String, CodingKey {
    case start, end, seconds, checkpoints
    case openViews = "open_views"
    case viewScratchBytes = "view_scratch_bytes"
  }
}

public struct JournalStatus: Codable, Sendable {
  public var usedBytes: UInt64
  public var capacityBytes: UInt64
  public var segments: Int
  public var oldestSegment: UInt32?
  public var newestSegment: UInt32?
  /// Of closed generations and what they are merged to.
  public var indexMemoryBytes: UInt64?
  public var indexFileBytes: UInt64?

  enum CodingKeys: String, CodingKey {
    case usedBytes = "used_bytes"
    case capacityBytes = "capacity_bytes"
    case segments
    case oldestSegment = "oldest_segment"
    case newestSegment = "newest_segment"
    case indexMemoryBytes = "index_memory_bytes"
    case indexFileBytes = "index_file_bytes"
  }
}

public struct LinkStatus: Codable, Sendable {
  public var peerSite: String
  /// `connected`, `connecting`, `syncing`, `waiting`, `refused`.
  public var state: String
  /// The last failure; empty when there is none.
  public var detail: String
  /// Age of the newest record that is durable at the recovery site; 0 when nothing is missing
  /// there; absent while nothing can be recovered there yet.
  public var rpoSeconds: Double?
  /// Records that are not durable at the recovery site.
  public var lagRecords: UInt64
  public var lagBytes: UInt64
  public var sentBytes: UInt64
  /// Bytes on the wire for `sentBytes`: less when compression pays.
  public var wireBytes: UInt64
  public var reconnects: UInt64
  /// Damaged records of the journal that were sent as the disks have them.
  public var restoredRecords: UInt64
  /// Share of the initial sync that is done, 0 to 1; absent when none runs.
  public var syncProgress: Double?
  /// The marks of the peer, `received ≥ durable ≥ applied`, in `GroupStatus.links`. What is durable
  /// is 0 while nothing can be recovered there.
  public var peerReceived: UInt64?
  public var peerDurable: UInt64?
  public var peerApplied: UInt64?

  enum CodingKeys: String, CodingKey {
    case state, detail, reconnects
    case peerSite = "peer_site"
    case peerReceived = "peer_received"
    case peerDurable = "peer_durable"
    case peerApplied = "peer_applied"
    case rpoSeconds = "rpo_seconds"
    case lagRecords = "lag_records"
    case lagBytes = "lag_bytes"
    case sentBytes = "sent_bytes"
    case wireBytes = "wire_bytes"
    case restoredRecords = "restored_records"
    case syncProgress = "sync_progress"
  }
}

/// From the turn that received a write to the turn that replied to it, over the last minute.
public struct LatencyStatus: Codable, Sendable {
  public var count: UInt64
  public var p50Microseconds: Double
  public var p99Microseconds: Double
  public var maxMicroseconds: Double

  enum CodingKeys: String, CodingKey {
    case count
    case p50Microseconds = "p50_us"
    case p99Microseconds = "p99_us"
    case maxMicroseconds = "max_us"
  }
}

public struct DiskStatus: Codable, Sendable {
  public var name: String
  public var sizeBytes: UInt64
  public var backing: String
  public var connections: Int

  enum CodingKeys: String, CodingKey {
    case name, backing, connections
    case sizeBytes = "size_bytes"
  }
}

/// Its backing store must stay until no instant is left that shows it.
public struct RemovedDiskStatus: Codable, Sendable {
  public var name: String
  public var backing: String
  /// Instants before it show the disk.
  public var removed: String
}

/// `tapline test list` has more of it.
public struct OpenTestStatus: Codable, Sendable {
  public var name: String
  public var instant: String
  /// Why it has ended by itself.
  public var reason: String?
}
