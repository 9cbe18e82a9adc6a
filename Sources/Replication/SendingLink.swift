import BlockModel
import Journal
import Storage
import SystemIO

/// The sending end of a link: what it does from one connection to the next, as a machine without
/// sockets, threads or a clock. Events go in, with the time; actions come out.
///
/// It follows the journal's segment files. What the guest just wrote is in the page cache, so a
/// batch goes to the socket by `sendfile` without being copied through this process; when the link
/// falls behind, the same reads come from the disk. So its queue is the journal, with the journal's
/// bound.
///
/// One thread at a time has it. It reads the group's catalog and watermarks, and is the only writer
/// of its follower's marks; it never touches the group's loop.
public struct SendingLink<Store: BackingStore>: ~Copyable {
  public struct Parts: Sendable {
    public var endpoint: SocketAddress
    /// The disks in it are those of the moment when it is sent, its last record is the journal's.
    public var hello: LinkHello
    public var catalog: SegmentCatalog<File>
    public var watermarks: Watermarks
    public var reporter: Follower.Reporter
    public var disks: SentDisks<Store>
    /// By what the group is owned, which may be committed meanwhile.
    public var claim: @Sendable () -> Claim
    public var log: @Sendable (String) -> Void
    /// What compressing is measured with; nanoseconds.
    public var clock: @Sendable () -> UInt64

    public init(
      endpoint: SocketAddress, hello: LinkHello, catalog: SegmentCatalog<File>,
      watermarks: Watermarks, reporter: Follower.Reporter,
      disks: SentDisks<Store>, claim: (@Sendable () -> Claim)? = nil,
      clock: @escaping @Sendable () -> UInt64, log: @escaping @Sendable (String) -> Void
    ) {
      self.endpoint = endpoint
      self.hello = hello
      self.catalog = catalog
      self.watermarks = watermarks
      self.reporter = reporter
      self.disks = disks
      self.claim = claim ?? { hello.claim }
      self.clock = clock
      self.log = log
    }

    var follower: Follower { reporter.follower }

    var presentHello: LinkHello {
      var present = hello
      present.last = .newest(catalog, watermarks)
      present.disks = disks.noted
      present.nextDisk = disks.nextDisk
      present.claim = claim()
      return present
    }
  }

  public enum Event: Sendable {
    case start
    /// The connection is there.
    case connected
    /// It did not come about, or has ended.
    case disconnected(LinkError)
    /// The peer has said something.
    case arrived(LinkFrame, [UInt8])
    /// The peer has taken some of what is to be sent.
    case taken
    /// Everything that was to be sent was. `hasWaited`: the link was the bottleneck.
    case drained(byteCount: UInt64, hasWaited: Bool)
    /// The deadline has come.
    case time
    /// The journal has grown.
    case grown
    /// The follower was detached.
    case detached
    /// Somebody waits for the link: until everything is with the peer, or for a connection.
    case awaited
    /// The peer, which has all up to this record, is to own the group.
    case handOver(SequenceNumber)
    /// The work has ended.
    case worked
    case stop
  }

  public enum Action {
    /// To the endpoint.
    case connect
    case send(LinkParcel)
    /// By another thread, which may block.
    case work(LinkWork)
    /// The connection, if there is one, and forget what is to be sent.
    case close
  }

  enum Phase {
    case stopped
    case connecting
    /// A welcome must come, after the peer was asked to go back so many times.
    case agreeing(rounds: Int)
    /// What the peer has is compared with what is here.
    case comparing(WelcomeComparison, rounds: Int)
    /// The record with which the link begins is looked at.
    case checking
    case streaming
    /// The peer has been told that the sites have diverged, and will close.
    case parting(String)
    /// To connect again.
    case waiting
  }

  public let monitor: LinkMonitor
  let parts: Parts
  var phase = Phase.stopped
  /// When the phase ends, where time ends it.
  var phaseEnd: UInt64 = .max
  private var retry = Self.retryNanoseconds.lowerBound
  var stream: SendingStream<Store>
  /// What the peer has said last of what it has.
  var welcome: LinkWelcome?
  private var isSending = false
  /// Outlives a connection; there is no other one before it has ended.
  private var isWorking = false
  /// Until when everything that had come was read.
  private var read: UInt64 = 0
  /// When the last frame of the peer came, and when it last took something.
  private var lastHeard: UInt64 = 0
  private var lastTaken: UInt64 = 0
  private var actions: [Action] = []

  /// Wait before connecting again: grows from the first to the last.
  private static var retryNanoseconds: ClosedRange<UInt64> { 50_000_000...2_000_000_000 }
  private static var connectNanoseconds: UInt64 { 10_000_000_000 }
  private static var welcomeNanoseconds: UInt64 { 30_000_000_000 }
  /// A peer that neither takes nor says anything for so long is given up; the link then connects
  /// again. One that is busy says so each second.
  private static var stallNanoseconds: UInt64 { 15_000_000_000 }

  /// - Parameter now: of the monotonic clock, as always here; nanoseconds.
  public init(_ parts: Parts, now: UInt64) {
    self.parts = parts
    monitor = LinkMonitor(parts.follower, now: now)
    stream = SendingStream(parts, hello: parts.hello, monitor: monitor)
  }

  // MARK: Outside

  /// What is to be done now. Does not wait for a disk: what it reads was just written.
  ///
  /// - Parameter read: until when everything that had come from the peer was read. A loop that was
  ///   kept waiting has not heard what came meanwhile: that is no silence of the peer.
  public mutating func handle(_ event: Event, now: UInt64, read: UInt64) -> [Action] {
    self.read = read
    do throws(LinkError) { try take(event, now) } catch { fail(error, now) }
    let result = actions
    actions = []
    return result
  }

  /// When `time` is due; `.max`: never.
  public var deadline: UInt64 {
    switch phase {
    case .stopped: .max
    case .waiting: isWorking ? .max : phaseEnd
    case .connecting, .agreeing, .parting: phaseEnd
    case .comparing, .checking: silenceEnd
    case .streaming: isBusy ? silenceEnd : min(stream.wake, silenceEnd)
    }
  }

  private var isBusy: Bool { isSending || isWorking }

  private var silenceEnd: UInt64 {
    (isSending ? max(lastHeard, lastTaken) : lastHeard) + Self.stallNanoseconds
  }

  // MARK: Events

  private mutating func take(_ event: Event, _ now: UInt64) throws(LinkError) {
    switch event {
    case .start: if case .stopped = phase { connect(now) }
    case .stop: leave(for: .stopped)
    case .connected: if case .connecting = phase { greet(now) }
    case .disconnected(let error): try lost(error)
    case .arrived(let frame, let body):
      lastHeard = now
      try take(frame, body, now)
    case .taken: lastTaken = now
    case .drained(let byteCount, let hasWaited):
      isSending = false
      monitor.update { $0.wireByteCount += byteCount }
      stream.sent(hasWaited: hasWaited, now)
      try goOn(now)
    case .time: try checkTime(now)
    case .grown:
      stream.hasGrown()
      try goOn(now)
    case .detached: try goOn(now)
    case .awaited:
      stream.hurry()
      if case .waiting = phase { connect(now) }
      try goOn(now)
    case .handOver(let sequence):
      guard case .streaming = phase else { break }
      stream.handOver(through: sequence)
      putOut(now)
    case .worked:
      isWorking = false
      try worked(now)
    }
  }

  private mutating func connect(_ now: UInt64) {
    if isWorking {
      phase = .waiting
      phaseEnd = now
      return
    }
    phase = .connecting
    phaseEnd = now + Self.connectNanoseconds
    // A refusal stands until something else is known: nobody is told otherwise for each try.
    monitor.update {
      if $0.state != .refused, $0.state != .diverged { $0.state = .connecting }
    }
    actions.append(.connect)
  }

  private mutating func greet(_ now: UInt64) {
    let hello = parts.presentHello
    stream = SendingStream(parts, hello: hello, monitor: monitor)
    lastHeard = now
    awaitWelcome(rounds: 0, now)
    monitor.greets(now)
    stream.output.put(LinkFrame(.hello), hello.encoded())
    putOut(now)
  }

  mutating func awaitWelcome(rounds: Int, _ now: UInt64) {
    phase = .agreeing(rounds: rounds)
    phaseEnd = now + Self.welcomeNanoseconds
  }

  private mutating func lost(_ error: LinkError) throws(LinkError) {
    switch phase {
    case .stopped, .waiting: return
    case .parting(let text): throw .diverged(text)
    default: throw error
    }
  }

  private mutating func checkTime(_ now: UInt64) throws(LinkError) {
    switch phase {
    case .streaming: return try goOn(now)
    case .comparing, .checking: return try checkIsHeard()
    default: if now < phaseEnd { return }
    }
    switch phase {
    case .connecting:
      throw .network("cannot connect to \(parts.endpoint): \(Errno.timedOut)")
    case .agreeing: throw .network("the peer did not answer")
    case .parting(let text): throw .diverged(text)
    case .waiting: connect(now)
    case .stopped, .comparing, .checking, .streaming: break
    }
  }

  private mutating func worked(_ now: UInt64) throws(LinkError) {
    switch phase {
    case .comparing(let compared, let rounds): try decide(compared, rounds, now)
    case .checking: try begin(try stream.resumed(), now)
    case .streaming:
      try stream.worked()
      putOut(now)
      try goOn(now)
    case .waiting: if now >= phaseEnd { connect(now) }
    default: break
    }
  }

  private mutating func take(
    _ frame: LinkFrame, _ body: [UInt8], _ now: UInt64
  ) throws(LinkError) {
    switch (phase, frame.kind) {
    case (.agreeing(let rounds), .welcome):
      try agree(try LinkWelcome(decoding: body), rounds, now)
    // What it has counts once both have agreed.
    case (.agreeing, .progress), (.agreeing, .alive): phaseEnd = now + Self.welcomeNanoseconds
    case (.comparing, .progress), (.comparing, .alive): break
    case (.agreeing, .refused), (.comparing, .refused): throw .refused(String(oneLine: body))
    case (.agreeing, .outranked):
      let rival = try Rival(decoding: body)
      monitor.meets(rival)
      throw .outranked(rival)
    case (.agreeing, _), (.comparing, _): throw .protocolViolation("unexpected \(frame.kind)")
    case (.checking, _), (.streaming, _):
      try stream.take(frame, body, now)
      if now >= stream.wake { try goOn(now) }
    case (.stopped, _), (.connecting, _), (.parting, _), (.waiting, _): break
    }
  }

  mutating func goOn(_ now: UInt64) throws(LinkError) {
    guard case .streaming = phase else { return }
    try checkIsHeard()
    try stream.checkIsKept()
    if isBusy { return }
    try stream.go(now)
    putOut(now)
  }

  /// A receiver that is there says so each second, whatever it does meanwhile.
  private func checkIsHeard() throws(LinkError) {
    guard read >= silenceEnd else { return }
    let seconds = Self.stallNanoseconds / 1_000_000_000
    throw .network(
      isSending
        ? "the peer took nothing, and said nothing, for \(seconds) s"
        : "the peer said nothing for \(seconds) s")
  }

  mutating func putOut(_ now: UInt64) {
    let output = stream.output
    stream.output.removeAll()
    if !output.parcels.isEmpty {
      if !isSending { lastTaken = now }
      isSending = true
    }
    for parcel in output.parcels { actions.append(.send(parcel)) }
    if let work = output.work {
      precondition(!isWorking, "another has what the work before reads into")
      isWorking = true
      actions.append(.work(work))
    }
  }

  // MARK: Ending

  private mutating func leave(for next: Phase) {
    phase = next
    phaseEnd = .max
    isSending = false
    stream.end()
    actions.append(.close)
  }

  private mutating func fail(_ error: LinkError, _ now: UInt64) {
    if note(error, now) { retry = Self.retryNanoseconds.lowerBound }
    leave(for: .waiting)
    phaseEnd = now + retry
    retry = min(retry * 2, Self.retryNanoseconds.upperBound)
  }

  /// Returns whether the session had begun to stream.
  private func note(_ error: LinkError, _ now: UInt64) -> Bool {
    let before = monitor.snapshot
    let wasStreaming = before.state == .connected || before.state == .syncing
    monitor.update {
      switch error {
      case .refused, .outranked: $0.state = .refused
      case .diverged: $0.state = .diverged
      default: $0.state = .waiting
      }
      $0.detail = "\(error)"
      $0.syncProgress = nil
      $0.vitals.ended(now: now)
      if wasStreaming { $0.reconnectCount += 1 }
    }
    // A condition of the group tells it.
    if case .diverged = error { return false }
    if before.detail != "\(error)" || wasStreaming {
      parts.log("group \(parts.hello.groupName): link to \(monitor.peerSite): \(error)")
    }
    return wasStreaming
  }
}
