/// What `tapline failover` asks for.
public struct FailoverRequest: Codable, Equatable, Sendable {
  /// Nil: the newest instant that is here.
  public var at: String?
  /// `now`, `manual` or `after`; nil: `manual`.
  public var commit: String?
  /// Of `after`.
  public var commitSeconds: Double?
  public var user: String?
  public var note: String?
  /// Nothing is done.
  public var isDryRun: Bool?

  enum CodingKeys: String, CodingKey {
    case at, commit, user, note
    case commitSeconds = "commit_seconds"
    case isDryRun = "dry_run"
  }

  public init(
    at: String? = nil, commit: CommitTime = .manual, user: String? = nil, note: String? = nil,
    isDryRun: Bool? = nil
  ) {
    self.at = at
    self.user = user
    self.note = note
    self.isDryRun = isDryRun
    switch commit {
    case .manual: break
    case .now: self.commit = "now"
    case .after(let seconds): (self.commit, commitSeconds) = ("after", seconds)
    }
  }

  /// Refuses what is none: another program may have sent it.
  func commitTime() throws(SiteError) -> CommitTime {
    switch (commit, commitSeconds) {
    case (nil, nil), ("manual", nil): return .manual
    case ("now", nil): return .now
    case ("after", let seconds?) where CommitTime.seconds.contains(seconds):
      return .after(seconds: seconds)
    default:
      throw SiteError(
        "a failover is committed now, manual, or after more than nothing and less than ten years",
        .badRequest)
    }
  }
}

/// A failover, as it is or would be. Encoded as JSON with these keys.
public struct FailoverStatus: Codable, Equatable, Sendable {
  public var group: String
  /// `planned` of a dry run, `pending`, `committed`, `rolled-back`.
  public var state: String
  /// Of the ownership that begins with it.
  public var term: UInt64
  /// The group is served from there on as it was then.
  public var instant: String
  /// Nil: it has not begun.
  public var began: String?
  /// When it commits itself; nil: when somebody does.
  public var commitAt: String?
  /// The owner's site, which it takes over from.
  public var peer: String
  public var peerConnected: Bool
  /// The branch that keeps the records after the instant that had arrived here; after a rollback
  /// that which keeps what was written here meanwhile. Nil: there are none, or they are discarded.
  public var parkedName: String?
  public var parkedRecords: UInt64
  public var parkedBytes: UInt64
  /// From the instant to the last of them.
  public var parkedSeconds: Double
  /// The newest instant that was known of the owner: what it acknowledged after that is not here.
  public var newestKnown: String
  /// Tests that ended, or would, because what they are built on is parked or goes.
  public var endedTests: [String]
  /// The names under which NBD clients open the disks.
  public var exports: [String]
  /// Nil: the disks here are of an instant as they are.
  public var goesBack: GoingBack?

  /// The disks were being brought in step: the site goes back to what it had before.
  public struct GoingBack: Codable, Equatable, Sendable {
    /// In which that was parked: it is the group's own again.
    public var branch: String
    /// What had come since, and is dropped.
    public var droppedRecords: UInt64
    public var droppedBytes: UInt64
    /// What is written back to the disks.
    public var restoredBytes: UInt64
    /// How old the instant is.
    public var ageSeconds: Double

    enum CodingKeys: String, CodingKey {
      case branch
      case droppedRecords = "dropped_records"
      case droppedBytes = "dropped_bytes"
      case restoredBytes = "restored_bytes"
      case ageSeconds = "age_seconds"
    }
  }

  enum CodingKeys: String, CodingKey {
    case group, state, term, instant, began, peer, exports
    case commitAt = "commit_at"
    case peerConnected = "peer_connected"
    case parkedName = "parked_name"
    case parkedRecords = "parked_records"
    case parkedBytes = "parked_bytes"
    case parkedSeconds = "parked_seconds"
    case newestKnown = "newest_known"
    case endedTests = "ended_tests"
    case goesBack = "goes_back"
  }
}
