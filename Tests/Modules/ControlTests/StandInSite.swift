import Appliance
import Configuration
import Foundation
import Handover
import Synchronization
import SystemIO

@testable import Control

/// A site at the boundary of `Control`: answers from fixed values, and can be made to wait.
final class StandInSite: ControlledSite {
  struct Refusal: Error, CustomStringConvertible {
    let description: String
  }

  private let taken = Mutex<[String]>([])
  /// While it is held, `timeline` does not return.
  let gate = Mutex(())

  /// `GROUP TAG` of each checkpoint that was asked for.
  var checkpoints: [String] { taken.withLock { $0 } }

  private let handovers = Mutex(0)
  var handoverCount: Int { handovers.withLock { $0 } }

  func handoverOffer(version: UInt16) -> HandoverOffer {
    HandoverOffer(version: version, program: "0.1.0", site: "east", groups: [])
  }

  /// Keeps the site in the end.
  func handOver(over channel: HandoverChannel, control: ListeningSocket?) -> Bool {
    handovers.withLock { $0 += 1 }
    let deadline = HandoverChannel.deadline(milliseconds: 5_000)
    _ = try? channel.receive(deadline: deadline)
    try? channel.send(.refused(reason: "not this one"), deadline: deadline)
    return false
  }

  func status() -> SiteStatus { SampleStatus.status }

  func offerPairing() throws -> PairingOfferStatus {
    try SampleStatus.decode(
      #"{"site":"east","code":"CODE","until":"2026-11-21T10:03:07Z","listener":"tcp:e:1"}"#)
  }

  func pair(with code: String, at address: String) throws -> PeerStatus {
    guard code == "CODE" else { throw Refusal(description: "that is no code") }
    return try SampleStatus.decode(
      #"{"site":"west","key":"00ff","since":"2026-11-21T10:03:07Z"}"#)
  }

  func peers() -> PeersStatus { SampleStatus.peers }

  func unpair(_ site: String) throws {
    guard site == "west" else { throw Refusal(description: "'\(site)' is not paired") }
  }

  func timeline(group: String, _ query: TimelineQuery) throws -> TimelineStatus {
    guard group == "shop" else { throw Refusal(description: "there is no group '\(group)'") }
    return gate.withLock { _ in SampleStatus.timeline }
  }

  func checkpoint(group: String, tag: String) throws -> TimelineStatus.Checkpoint {
    taken.withLock { $0.append("\(group) \(tag)") }
    return try SampleStatus.decode(
      #"{"instant":"2026-11-21T10:03:07.512Z","sequence":42,"tag":"\#(tag)"}"#)
  }

  /// What `reload` answers.
  let reloading = Mutex<Result<ReloadStatus, ConfigurationError>>(.success(SampleStatus.reload))

  func discardFollower(group: String, peer: String?) throws -> SyncStatus {
    guard group == "shop" else { throw Refusal(description: "group '\(group)' has not diverged") }
    return SyncStatus(group: group, peer: peer ?? "west", discardedThrough: 120, isDone: true)
  }

  /// What `startTest` was asked for.
  let requests = Mutex<[TestRequest]>([])

  func startTest(group: String, _ request: TestRequest) throws -> TestStatus {
    guard group == "shop" else { throw Refusal(description: "there is no group '\(group)'") }
    requests.withLock { $0.append(request) }
    return SampleStatus.test
  }

  func stopTest(_ name: String, check: TestCheck?, parked: Bool) throws -> TestReportStatus {
    guard name == "monday" else { throw Refusal(description: "no test '\(name)' at this site") }
    var report = SampleStatus.report
    report.check = check
    return report
  }

  func tests() -> [TestStatus] { [SampleStatus.test] }

  enum Asked: Equatable {
    case failover(FailoverRequest)
    case commit
    case move(to: String?, isDryRun: Bool)
    case rollback(isDryRun: Bool, discards: Bool)
  }

  /// What was asked for of failovers.
  let failovers = Mutex<[Asked]>([])

  func failover(group: String, _ request: FailoverRequest) throws -> FailoverStatus {
    guard group == "shop" else { throw Refusal(description: "there is no group '\(group)'") }
    failovers.withLock { $0.append(.failover(request)) }
    return SampleStatus.failover
  }

  func commit(group: String) throws -> FailoverStatus { answer(.commit, "committed") }

  func move(group: String, to site: String?, isDryRun: Bool) throws -> MoveStatus {
    failovers.withLock { $0.append(.move(to: site, isDryRun: isDryRun)) }
    return SampleStatus.move
  }

  func rollback(group: String, isDryRun: Bool, discards: Bool) throws -> FailoverStatus {
    answer(.rollback(isDryRun: isDryRun, discards: discards), "rolled-back")
  }

  private func answer(_ asked: Asked, _ state: String) -> FailoverStatus {
    failovers.withLock { $0.append(asked) }
    var status = SampleStatus.failover
    status.state = state
    return status
  }

  func reload() throws -> ReloadStatus { try reloading.withLock { $0 }.get() }
}

/// A control server over a unix socket in a folder of its own.
final class ControlFixture {
  let site = StandInSite()
  let server: ControlServer<StandInSite>
  let address: SocketAddress
  private let folder: String

  init() throws {
    folder = NSTemporaryDirectory() + "tapline-control-\(UUID().uuidString.prefix(8))"
    try SystemIO.Directory.create(folder)
    address = .unix(path: folder + "/control.sock")
    server = try ControlServer(site, at: address)
  }

  deinit {
    server.stop()
    try? FileManager.default.removeItem(atPath: folder)
  }

  var client: ControlClient { ControlClient(address) }

  func connect() throws -> RawClient { try RawClient(address) }
}

/// A client that sends what it is told to.
struct RawClient {
  let socket: Socket

  init(_ address: SocketAddress) throws {
    socket = try Socket.connect(to: address)
    socket.setTimeouts(seconds: 20)
  }

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  func send(_ bytes: [UInt8]) throws {
    try unsafe bytes.withUnsafeBytes { try unsafe socket.sendAll($0) }
  }

  /// The next line; nil when the server has closed the connection. One line at a time may be under
  /// way.
  func receiveLine() throws -> String? {
    var line: [UInt8] = []
    var byte: UInt8 = 0
    while line.count < 1 << 20 {
      let count = try unsafe withUnsafeMutableBytes(of: &byte) {
        try unsafe socket.receive(into: $0)
      }
      guard let count else { throw Errno.timedOut }
      if count == 0 { return nil }
      if byte == UInt8(ascii: "\n") { return String(decoding: line, as: UTF8.self) }
      line.append(byte)
    }
    throw Errno.invalid
  }
}

/// A status with everything in it.
enum SampleStatus {
  static var peers: PeersStatus {
    do {
      return try decode(
        #"{"site":"east","key":"11ee","peers":[{"site":"west","key":"00ff","#
          + #""since":"2026-11-21T10:03:07Z"}]}"#)
    } catch { preconditionFailure("\(error)") }
  }

  static func decode<Value: Decodable>(_ json: String) throws -> Value {
    try JSONDecoder().decode(Value.self, from: Data(json.utf8))
  }

  static let status: SiteStatus = try! decode(
    """
    {"site":"east","version":"0.1.0","now":"2026-11-21T10:03:07.512Z","listeners":[
      {"kind":"nbd","address":"tcp:0.0.0.0:10809","tls":"required"},
      {"kind":"link","address":"tcp:10.0.0.1:10810"}],"groups":[
      {"name":"shop","role":"protected","health":"ok","epoch":2,
       "watermarks":{"stamped":120,"appended":119,"durable":118,"applied":90,
         "peer_received":117,"peer_durable":116,"peer_applied":12},
       "history":{"start":"2026-11-21T10:00:00Z","end":"2026-11-21T10:03:07Z","seconds":187,
         "checkpoints":3,"open_views":1,
         "view_scratch_bytes":3145728},
       "journal":{"used_bytes":1073741824,"capacity_bytes":8589934592,"segments":16,
         "oldest_segment":3,"newest_segment":18,
         "index_memory_bytes":2097152,"index_file_bytes":104857600},
       "link":{"peer_site":"west","state":"syncing","detail":"","rpo_seconds":0.84,
         "lag_records":4,"lag_bytes":12288,"sent_bytes":2147483648,"wire_bytes":1073741824,
         "restored_records":0,"reconnects":2,"sync_progress":0.5},
       "write_latency":{"count":1234,"p50_us":45.2,"p99_us":1200,"max_us":2500000},
       "disks":[{"name":"shop-root","size_bytes":21474836480,"backing":"file:/srv/root.raw",
         "connections":2}],
       "analysis":{"analyzed_at_nanoseconds":1,"age_seconds":0.5,"queue_capacity_requests":8192,
         "accepted_requests":10,"skipped_requests":3,"skipped_bytes":12288,
         "unknown_disk_requests":0,"disks":[
          {"name":"shop-root","size_bytes":21474836480,
           "total":{"writes":10,"written_bytes":40960,"zero_requests":0,"zero_request_bytes":0,
             "trim_requests":0,"trimmed_bytes":0,"sampled_writes":5,"sampled_bytes":20480,
             "recycled_samples":0},
           "windows":[\(window(10, writesPerSecond: 99)),\(window(60, writesPerSecond: 12.5))],
           "hottest_ranges":[{"startBytes":1048576,"lengthBytes":1048576,
             "writesPerSecondAtLeast":3,"writesPerSecondAtMost":4,
             "start_bytes":1048576,"length_bytes":1048576,
             "writes_per_second_at_least":3,"writes_per_second_at_most":4}]}]}},
      {"name":"plain","role":"plain","health":"the disk is gone; attach it","epoch":1,
       "watermarks":{"stamped":0,"appended":0,"durable":0,"applied":0},
       "disks":[]}]}
    """)

  private static func window(_ seconds: Int, writesPerSecond: Double) -> String {
    """
    {"window_seconds":\(seconds),"covered_seconds":\(seconds),"writes":750,
     "written_bytes":3072000,"writes_per_second":\(writesPerSecond),
     "written_bytes_per_second":51200,"size_distribution":[],"sequential_write_share":0.25,
     "zero_requests":0,"zero_request_bytes":0,"trim_requests":0,"trimmed_bytes":0,
     "sampled_writes":5,"sampled_bytes":20480,"recycled_samples":0,
     "entropy_bits_per_byte":7.981,"lz4_ratio":1.25,"zero_byte_share":0.009}
    """
  }

  static let reload: ReloadStatus = try! decode(
    """
    {"file":"/etc/tapline/east.yaml",
     "grown":[{"group":"shop","disk":"shop-root","from_bytes":2147483648,"to_bytes":3221225472}],
     "applied":["disk shop-data: access"],"needs_restart":["group shop: history: 1h -> 2h"],
     "notes":["group shop: west is smaller"]}
    """)

  static let test: TestStatus = try! decode(
    """
    {"group":"shop","name":"monday","kind":"test","state":"open",
     "instant":"2026-11-21T10:03:07.512Z",
     "started":"2026-11-21T11:00:00Z","expires":"2026-11-21T13:00:00Z","user":"root",
     "note":"quarterly","exports":["shop-root@monday"],"connections":1,"written_bytes":1048576,
     "saved_bytes":4096,"limit_bytes":1073741824}
    """)

  static let report: TestReportStatus = try! decode(
    """
    {"group":"shop","name":"monday","instant":"2026-11-21T10:03:07.512Z",
     "started":"2026-11-21T11:00:00Z","ended":"2026-11-21T11:10:00Z","seconds":600,"user":"root",
     "note":"quarterly","written_bytes":1048576,"outcome":"stopped"}
    """)

  static let move: MoveStatus = try! decode(
    """
    {"group":"shop","state":"moved","to":"west","lag_records":42,"lag_bytes":1048576,
     "pause_seconds":0.25}
    """)

  static let failover: FailoverStatus = try! decode(
    """
    {"group":"shop","state":"pending","term":3,"instant":"2026-11-21T10:03:07.512Z",
     "began":"2026-11-21T10:10:00Z","commit_at":"2026-11-21T11:10:00Z","peer":"east",
     "peer_connected":false,"parked_name":"shop-1","parked_records":42,"parked_bytes":1048576,
     "parked_seconds":303,"newest_known":"2026-11-21T10:08:11Z","ended_tests":["drill","monday"],
     "exports":["shop-root","shop-data"]}
    """)

  static let timeline: TimelineStatus = try! decode(
    """
    {"group":"shop","start":"2026-11-21T10:00:00Z","end":"2026-11-21T10:03:07Z",
     "checkpoints":[{"instant":"2026-11-21T10:01:00Z","sequence":7,"tag":""},
       {"instant":"2026-11-21T10:02:00Z","sequence":12345,"tag":"before-upgrade"}],
     "gaps":[{"from":"2026-11-21T10:00:30Z","to":"2026-11-21T10:00:40Z"}]}
    """)
}
