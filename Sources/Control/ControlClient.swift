import Appliance
import Configuration
import SystemIO

/// Sends commands to a running site. Each command has a connection of its own; every call blocks
/// until the reply is there or `ControlLimits.replySeconds` have passed without a byte.
public struct ControlClient: Sendable {
  /// Where a site listens when nothing names another address.
  public static let defaultAddress = SocketAddress.unix(path: "/run/tapline/control.sock")
  /// The environment variable that names another address.
  public static let addressVariable = "TAPLINE_CONTROL"

  public let address: SocketAddress

  public init(_ address: SocketAddress) { self.address = address }

  public func status() throws(ControlError) -> SiteStatus {
    try perform(ControlRequest(command: "status"))
  }

  /// A page of the group's checkpoints; the site checks what the arguments mean. See
  /// `TimelineQuery`.
  public func timeline(
    group: String, from: String? = nil, to: String? = nil, limit: Int? = nil
  ) throws(ControlError) -> TimelineStatus {
    try perform(
      ControlRequest(command: "timeline", group: group, from: from, to: to, limit: limit))
  }

  /// The checkpoint is durable at the site when it returns.
  public func checkpoint(
    group: String, tag: String
  ) throws(ControlError) -> TimelineStatus.Checkpoint {
    try perform(ControlRequest(command: "checkpoint", group: group, tag: tag))
  }

  /// What the site has taken into use is so when it returns.
  public func reload() throws(ControlError) -> ReloadStatus {
    try perform(ControlRequest(command: "reload"))
  }

  /// What a diverged peer has more is given up. Waits until that is done, for some seconds.
  ///
  /// - Parameter peer: the peer's site; it may be nil where the group has one.
  public func discardFollower(
    group: String, peer: String? = nil
  ) throws(ControlError) -> SyncStatus {
    try perform(ControlRequest(command: "discard-follower", group: group, peer: peer))
  }

  /// Clients can open the test's disks when it returns.
  public func startTest(
    group: String, _ request: TestRequest
  ) throws(ControlError) -> TestStatus {
    try perform(ControlRequest(command: "test-start", group: group, test: request))
  }

  /// What was written to the test is gone when it returns, and its report is on the timeline.
  ///
  /// - Parameter parked: it may be what is parked.
  public func stopTest(
    _ name: String, check: TestCheck? = nil, parked: Bool = false
  ) throws(ControlError) -> TestReportStatus {
    try perform(
      ControlRequest(
        command: "test-stop", name: name, check: check, parked: parked ? true : nil))
  }

  public func tests() throws(ControlError) -> [TestStatus] {
    try perform(ControlRequest(command: "test-list"))
  }

  /// Clients can open the group's disks at the site when it returns, unless it was a dry run.
  public func failover(
    group: String, _ request: FailoverRequest
  ) throws(ControlError) -> FailoverStatus {
    try perform(ControlRequest(command: "failover", group: group, failover: request))
  }

  /// There is no way back when it returns.
  public func commit(group: String) throws(ControlError) -> FailoverStatus {
    try perform(ControlRequest(command: "commit", group: group))
  }

  /// To a follower that is in step.
  public func move(group: String, _ request: MoveRequest) throws -> MoveStatus {
    try perform(ControlRequest(command: "move", group: group, move: request))
  }

  /// The site follows again when it returns, unless it was a dry run.
  public func rollback(
    group: String, _ request: RollbackRequest
  ) throws(ControlError) -> FailoverStatus {
    try perform(ControlRequest(command: "rollback", group: group, rollback: request))
  }

  /// The site waits for another one to introduce itself when it returns.
  public func offerPairing() throws(ControlError) -> PairingOfferStatus {
    try perform(ControlRequest(command: "pair"))
  }

  /// The two sites know each other when it returns.
  public func pair(code: String, address: String) throws(ControlError) -> PeerStatus {
    try perform(
      ControlRequest(
        command: "pair", pairing: PairingRequest(code: code, address: address)))
  }

  public func peers() throws(ControlError) -> PeersStatus {
    try perform(ControlRequest(command: "peers"))
  }

  /// The peers that are left.
  public func unpair(_ peer: String) throws(ControlError) -> PeersStatus {
    try perform(ControlRequest(command: "unpair", peer: peer))
  }

  private func perform<Result: Codable & Sendable>(
    _ request: ControlRequest
  ) throws(ControlError) -> Result {
    try perform(request, over: try connect())
  }

  func perform<Result: Codable & Sendable>(
    _ request: ControlRequest, over socket: Socket
  ) throws(ControlError) -> Result {
    let line = try exchange(try ControlJSON.encode(request), over: socket)
    let reply = try ControlJSON.decode(ControlReply<Result>.self, from: line)
    if let result = reply.result, reply.ok { return result }
    let reason = reply.error ?? "the site gave no reason"
    throw reply.cause == .configuration
      ? .badConfiguration(reason) : .refused(reason, code: reply.refusal)
  }

  /// Sends one line and returns the next one that comes back.
  func exchange(_ request: [UInt8]) throws(ControlError) -> [UInt8] {
    try exchange(request, over: try connect())
  }

  func connect() throws(ControlError) -> Socket {
    do throws(Errno) {
      let socket = try Socket.connect(to: address)
      socket.setTimeouts(seconds: ControlLimits.replySeconds)
      return socket
    } catch { throw .unreachable(address.description, error) }
  }

  func exchange(_ request: [UInt8], over socket: Socket) throws(ControlError) -> [UInt8] {
    do throws(Errno) {
      let sent = unsafe (request + [UInt8(ascii: "\n")]).withUnsafeBytes {
        buffer -> Result<Void, Errno> in
        do throws(Errno) { return .success(try unsafe socket.sendAll(buffer)) } catch {
          return .failure(error)
        }
      }
      try sent.get()
    } catch {
      // A site that refuses a connection says why and closes: the reason may be there all the same.
    }
    return try receiveLine(socket)
  }

  private func receiveLine(_ socket: Socket) throws(ControlError) -> [UInt8] {
    let chunk = PageBuffer(byteCount: 256 << 10)
    var line: [UInt8] = []
    while line.count <= ControlLimits.replyBytes {
      let target = unsafe UnsafeMutableRawBufferPointer(start: chunk.base, count: chunk.count)
      let received: Int?
      do throws(Errno) { received = try unsafe socket.receive(into: target) } catch {
        throw .interrupted(address.description, error)
      }
      guard let count = received else { throw .interrupted(address.description, .timedOut) }
      guard count > 0 else { throw .interrupted(address.description, nil) }
      let bytes = unsafe UnsafeRawBufferPointer(rebasing: target[..<count])
      if let newline = unsafe bytes.firstIndex(of: UInt8(ascii: "\n")) {
        unsafe line.append(contentsOf: bytes[..<newline])
        return line
      }
      unsafe line.append(contentsOf: bytes)
    }
    throw .badReply("it exceeds \(ControlLimits.replyBytes) bytes")
  }
}
