import Appliance
import BlockModel
import Configuration
import Foundation

/// The control protocol: one JSON object a line, in UTF-8, in both directions.
///
/// A client connects to the site's `listen.control` address and sends requests, each answered in
/// order with one line. A request has the member `command` and the arguments of that command:
///
///     {"command":"status"}
///     {"command":"timeline","group":"shop"}
///     {"command":"timeline","group":"shop","from":"-2h","to":"latest","limit":100}
///     {"command":"checkpoint","group":"shop","tag":"before-upgrade"}
///     {"command":"reload"}
///     {"command":"discard-follower","group":"shop","peer":"west"}
///     {"command":"test-start","group":"shop","test":{"at":"-1h","name":"monday"}}
///     {"command":"test-stop","name":"monday"}
///     {"command":"test-list"}
///     {"command":"failover","group":"shop","failover":{"at":"-1h","commit":"manual"}}
///     {"command":"commit","group":"shop"}
///     {"command":"rollback","group":"shop"}
///     {"command":"move","group":"shop"}
///     {"command":"pair"}
///     {"command":"pair","pairing":{"code":"…","address":"tcp:east.example:10810"}}
///     {"command":"peers"}
///     {"command":"unpair","peer":"west"}
///
/// A reply is `{"ok":true,"result":…}`, with a `SiteStatus`, a `TimelineStatus`, a
/// `TimelineStatus.Checkpoint`, a `ReloadStatus`, a `SyncStatus`, a `TestStatus`, a
/// `TestReportStatus`, a list of `TestStatus`, a `FailoverStatus`, a `PairingOfferStatus`, a
/// `PeerStatus` or a `PeersStatus`, or
/// `{"ok":false,"error":"one sentence"}`, with `"cause":"configuration"` when the site's file is at
/// fault, and with a `"refusal"` (`SiteError.Refusal`) when a group does not change
/// hands. Unknown members are ignored. After the reply to
/// `{"command":"hand-over","versions":[2]}` the connection speaks another protocol
/// (`HandoverMessage`). A line longer than `ControlLimits.requestBytes` is refused and ends the
/// connection.
public struct ControlRequest: Codable, Equatable, Sendable {
  public var command: String
  public var group: String?
  public var peer: String?
  public var tag: String?
  public var from: String?
  public var to: String?
  public var limit: Int?
  public var versions: [UInt16]?
  public var name: String?
  public var test: TestRequest?
  public var check: TestCheck?
  public var failover: FailoverRequest?
  public var rollback: RollbackRequest?
  public var parked: Bool?
  public var move: MoveRequest?
  public var pairing: PairingRequest?

  public init(
    command: String, group: String? = nil, peer: String? = nil, tag: String? = nil,
    from: String? = nil, to: String? = nil, limit: Int? = nil, versions: [UInt16]? = nil,
    name: String? = nil, test: TestRequest? = nil, check: TestCheck? = nil,
    failover: FailoverRequest? = nil, rollback: RollbackRequest? = nil, parked: Bool? = nil,
    move: MoveRequest? = nil, pairing: PairingRequest? = nil
  ) {
    self.command = command
    self.group = group
    self.peer = peer
    self.tag = tag
    self.from = from
    self.to = to
    self.limit = limit
    self.versions = versions
    self.name = name
    self.test = test
    self.check = check
    self.failover = failover
    self.rollback = rollback
    self.parked = parked
    self.move = move
    self.pairing = pairing
  }
}

/// What `tapline pair CODE ADDRESS` asks for.
public struct PairingRequest: Codable, Equatable, Sendable {
  public var code: String
  public var address: String

  public init(code: String, address: String) {
    self.code = code
    self.address = address
  }
}

/// What `tapline move` asks for.
public struct MoveRequest: Codable, Equatable, Sendable {
  /// Nil: the only site that follows.
  public var to: String?
  /// Nothing is done.
  public var isDryRun: Bool?

  enum CodingKeys: String, CodingKey {
    case to
    case isDryRun = "dry_run"
  }

  public init(to: String? = nil, isDryRun: Bool = false) {
    self.to = to
    self.isDryRun = isDryRun ? true : nil
  }
}

/// What `tapline rollback` asks for.
public struct RollbackRequest: Codable, Equatable, Sendable {
  /// Nothing is done.
  public var isDryRun: Bool?
  /// What was written since the failover is not kept.
  public var discards: Bool?

  enum CodingKeys: String, CodingKey {
    case isDryRun = "dry_run"
    case discards = "discard"
  }

  public init(isDryRun: Bool = false, discards: Bool = false) {
    self.isDryRun = isDryRun ? true : nil
    self.discards = discards ? true : nil
  }
}

/// The members of a reply; `result` is there when `ok` is true, `error` when it is false.
struct ControlReply<Result: Codable & Sendable>: Codable, Sendable {
  var ok: Bool
  var result: Result?
  var error: String?
  var cause: Cause?
  /// Of `SiteError.Refusal`.
  var refusal: String?
}

/// Why a command failed, where a program may want to know.
enum Cause: String, Codable, Sendable { case configuration }

/// A result of no type: for replies that have none.
struct NoResult: Codable, Sendable {}

/// JSON as control and the command line write it.
public enum ControlJSON {
  /// For people and scripts: keys sorted, indented, without a newline at the end.
  public static func pretty(_ value: some Encodable) throws(ControlError) -> String {
    try String(decoding: encode(value, [.sortedKeys, .prettyPrinted]), as: UTF8.self)
  }

  /// On one line: keys sorted.
  public static func line(_ value: some Encodable) throws(ControlError) -> String {
    try String(decoding: encode(value, .sortedKeys), as: UTF8.self)
  }

  static func encode(
    _ value: some Encodable, _ format: JSONEncoder.OutputFormatting = .sortedKeys
  ) throws(ControlError) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = format.union(.withoutEscapingSlashes)
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    do { return Array(try encoder.encode(value)) } catch { throw .badReply("\(error)") }
  }

  static func decode<Value: Decodable>(
    _ type: Value.Type, from line: [UInt8]
  ) throws(ControlError) -> Value {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    do { return try decoder.decode(type, from: Data(line)) } catch {
      throw .badReply(Self.reason(error))
    }
  }

  private static func reason(_ error: any Error) -> String {
    switch error as? DecodingError {
    case .keyNotFound(let key, _): "the member \"\(key.stringValue)\" is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
      "the member \"\(context.codingPath.map(\.stringValue).joined(separator: "."))\" is not"
        + " of its type"
    default: "it is not JSON"
    }
  }
}

/// Answers requests; knows no sockets.
struct ControlResponder<Subject: ControlledSite>: Sendable {
  let site: Subject

  /// The reply to one line, without a newline. Blocks as the site's calls do.
  func reply(to line: [UInt8]) -> [UInt8] {
    do {
      let request: ControlRequest
      do { request = try ControlJSON.decode(ControlRequest.self, from: line) } catch {
        throw ControlError.refused("bad request: \(badPart(of: error))")
      }
      switch request.command {
      case "status":
        return try success(site.status())
      case "timeline":
        return try success(
          try site.timeline(group: try group(of: request), try timelineQuery(of: request)))
      case "checkpoint":
        let group = try group(of: request)
        guard let tag = request.tag, CheckpointTag.isValid(tag) else {
          throw ControlError.refused(
            "a checkpoint needs a tag of 1 to \(CheckpointTag.maximumBytes) bytes without control"
              + " characters")
        }
        return try success(try site.checkpoint(group: group, tag: tag))
      case "reload":
        return try success(try site.reload())
      case "discard-follower":
        return try success(
          try site.discardFollower(group: try group(of: request), peer: request.peer))
      case "test-start":
        return try success(
          try site.startTest(
            group: try group(of: request), request.test ?? TestRequest()))
      case "test-stop":
        guard let name = request.name else {
          throw ControlError.refused("bad request: test-stop needs a name")
        }
        return try success(
          try site.stopTest(name, check: request.check, parked: request.parked ?? false))
      case "test-list":
        return try success(site.tests())
      case "failover":
        return try success(
          try site.failover(
            group: try group(of: request), request.failover ?? FailoverRequest()))
      case "commit":
        return try success(try site.commit(group: try group(of: request)))
      case "rollback":
        return try success(
          try site.rollback(
            group: try group(of: request), isDryRun: request.rollback?.isDryRun == true,
            discards: request.rollback?.discards == true))
      case "move":
        return try success(
          try site.move(
            group: try group(of: request), to: request.move?.to,
            isDryRun: request.move?.isDryRun == true))
      case "pair", "peers", "unpair":
        return try changePeers(request)
      default:
        throw ControlError.refused(
          "unknown command \(request.command.quotedForMessage); the commands are status, timeline,"
            + " checkpoint, reload, discard-follower, test-start, test-stop, test-list, failover,"
            + " commit, rollback, move, pair, peers and unpair")
      }
    } catch let error as ConfigurationError {
      return Self.failure("\(error)", .configuration)
    } catch {
      return Self.failure("\(error)", refusal: (error as? SiteError)?.refusal)
    }
  }

  private func changePeers(_ request: ControlRequest) throws -> [UInt8] {
    if request.command == "unpair" {
      guard let peer = request.peer else {
        throw ControlError.refused("bad request: unpair needs a peer")
      }
      try site.unpair(peer)
    }
    guard request.command == "pair" else { return try success(site.peers()) }
    guard let pairing = request.pairing else { return try success(try site.offerPairing()) }
    return try success(try site.pair(with: pairing.code, at: pairing.address))
  }

  private func badPart(of error: ControlError) -> String {
    if case .badReply(let what) = error { what } else { "\(error)" }
  }

  private func group(of request: ControlRequest) throws(ControlError) -> String {
    guard let group = request.group else {
      throw .refused("bad request: \(request.command) needs a group")
    }
    return group
  }

  private func timelineQuery(of request: ControlRequest) throws(ControlError) -> TimelineQuery {
    func instant(_ name: String, _ text: String?) throws(ControlError) -> InstantExpression? {
      guard let text else { return nil }
      do throws(InstantSyntaxError) { return try InstantExpression(parsing: text) } catch {
        throw .refused("bad request: \(name): \(error)")
      }
    }
    return TimelineQuery(
      from: try instant("from", request.from), to: try instant("to", request.to),
      limit: request.limit ?? TimelineQuery.defaultLimit)
  }

  func success<Result: Codable & Sendable>(_ result: Result) throws -> [UInt8] {
    let line = try ControlJSON.encode(ControlReply(ok: true, result: result))
    guard line.count <= ControlLimits.replyBytes else {
      throw ControlError.refused("the reply exceeds \(ControlLimits.replyBytes) bytes")
    }
    return line
  }

  static func failure(
    _ reason: String, _ cause: Cause? = nil, refusal: SiteError.Refusal? = nil
  ) -> [UInt8] {
    let reply = ControlReply<NoResult>(
      ok: false, result: nil, error: reason, cause: cause, refusal: refusal?.rawValue)
    return (try? ControlJSON.encode(reply)) ?? Array(#"{"ok":false,"error":"failed"}"#.utf8)
  }
}
