import BlockModel

/// What `tapline test start` asks for.
public struct TestRequest: Codable, Equatable, Sendable {
  /// Nil: one that is free.
  public var name: String?
  /// Nil: the newest instant.
  public var at: String?
  /// It ends after that; nil: when it is stopped.
  public var seconds: Double?
  /// Nil: as much as the group's journal may take.
  public var limitBytes: UInt64?
  public var user: String?
  public var note: String?
  /// Nothing is made.
  public var isDryRun: Bool?

  enum CodingKeys: String, CodingKey {
    case name, at, seconds, user, note
    case limitBytes = "limit_bytes"
    case isDryRun = "dry_run"
  }

  public init(
    name: String? = nil, at: String? = nil, seconds: Double? = nil, limitBytes: UInt64? = nil,
    user: String? = nil, note: String? = nil, isDryRun: Bool? = nil
  ) {
    self.name = name
    self.at = at
    self.seconds = seconds
    self.limitBytes = limitBytes
    self.user = user
    self.note = note
    self.isDryRun = isDryRun
  }
}

/// A test that is open, or has ended and keeps its files. Encoded as JSON with these keys.
public struct TestStatus: Codable, Equatable, Sendable {
  public var group: String
  public var name: String
  /// `test`; `parked`: writes that a failover took out of the group's order, to be read.
  public var kind: String
  /// `open`, `opening`, `ended`; `planned` of a dry run.
  public var state: String
  /// Why it is not open.
  public var reason: String?
  public var instant: String
  public var started: String
  public var expires: String?
  public var user: String
  public var note: String
  /// The names under which NBD clients open its disks.
  public var exports: [String]
  public var connections: Int
  public var writtenBytes: UInt64
  /// What apply has saved for it.
  public var savedBytes: UInt64
  public var limitBytes: UInt64

  enum CodingKeys: String, CodingKey {
    case group, name, kind, state, reason, instant, started, expires, user, note, exports
    case connections
    case writtenBytes = "written_bytes"
    case savedBytes = "saved_bytes"
    case limitBytes = "limit_bytes"
  }
}

/// A test that is over. Encoded as JSON with these keys.
public struct TestReportStatus: Codable, Equatable, Sendable {
  public var group: String
  public var name: String
  public var instant: String
  public var started: String
  public var ended: String
  public var seconds: Double
  public var user: String
  public var note: String
  public var writtenBytes: UInt64
  /// `stopped`, or why it ended by itself.
  public var outcome: String
  public var check: TestCheck?

  enum CodingKeys: String, CodingKey {
    case group, name, instant, started, ended, seconds, user, note, outcome, check
    case writtenBytes = "written_bytes"
  }

  init(_ report: TestReport, of group: String) {
    self.group = group
    name = report.name
    instant = "\(report.instant)"
    started = "\(report.started)"
    ended = "\(report.ended)"
    seconds = Double(report.ended.nanoseconds(since: report.started)) / 1e9
    user = report.user
    note = report.note
    writtenBytes = report.writtenBytes
    outcome = report.ending.isEmpty ? "stopped" : report.ending
    check = report.check
  }
}
