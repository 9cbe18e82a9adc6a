import BlockModel
import Journal
import Storage
import Synchronization
import SystemIO

/// Sends one group's records to one of its recovery sites: the second of the three copies.
///
/// It follows the journal's segment files. What the guest just wrote is in the page cache, so a
/// batch goes to the socket by `sendfile` without being copied through this process; when the link
/// falls behind, the same reads come from the disk. So its queue is the journal, with the journal's
/// bound.
///
/// Concurrency: one thread of its own. It reads the group's catalog and watermarks, and is
/// the only writer of its follower's marks; it never touches the loop.
public final class LinkSender<Store: BackingStore>: Sendable {
  public struct Parts: Sendable {
    public var endpoint: SocketEndpoint
    /// The disks in it are those of the moment when it is sent, its last record is the journal's.
    public var hello: LinkHello
    public var catalog: SegmentCatalog<File>
    public var watermarks: Watermarks
    public var reporter: Follower.Reporter
    public var disks: SentDisks<Store>
    public var log: @Sendable (String) -> Void

    public init(
      endpoint: SocketEndpoint, hello: LinkHello, catalog: SegmentCatalog<File>,
      watermarks: Watermarks, reporter: Follower.Reporter, disks: SentDisks<Store>,
      log: @escaping @Sendable (String) -> Void
    ) {
      self.endpoint = endpoint
      self.hello = hello
      self.catalog = catalog
      self.watermarks = watermarks
      self.reporter = reporter
      self.disks = disks
      self.log = log
    }

    var follower: Follower { reporter.follower }

    var presentHello: LinkHello {
      var present = hello
      present.last = .newest(catalog, watermarks)
      present.disks = disks.noted
      present.nextDisk = disks.nextDisk
      return present
    }
  }

  public let monitor: LinkMonitor
  private let parts: Parts
  private let isStopping = Atomic<Bool>(false)
  private let channel = Mutex<LinkChannel?>(nil)
  private let thread = Mutex<Thread?>(nil)

  /// Wait before connecting again: grows from the first to the last.
  private static var retryMilliseconds: ClosedRange<Int32> { 50...2_000 }

  public init(_ parts: Parts) {
    self.parts = parts
    monitor = LinkMonitor(parts.follower)
  }

  public func start() {
    parts.follower.setOnDetach { [weak self] in self?.channel.withLock { $0?.shutDown() } }
    let thread = Thread(name: "link-\(parts.hello.groupName)") { [self] in run() }
    self.thread.withLock { $0 = thread }
  }

  /// Waits until everything that is appended is durable at the follower, its connection is lost or
  /// the deadline, in monotonic nanoseconds, has come. Blocks.
  public func drain(until deadline: UInt64) {
    while monitor.snapshot.state == .connected || monitor.snapshot.state == .syncing,
      parts.follower.durable < parts.watermarks.sequence(.appended),
      SystemClock.monotonicNanoseconds() < deadline
    {
      Thread.sleep(milliseconds: 2)
    }
  }

  /// Ends the thread and waits for that.
  public func stop() {
    suspend()
    thread.withLock { $0 }?.join()
    monitor.update { $0.state = .stopped }
  }

  /// When it returns, nothing more is sent: another process is about to send this group's records,
  /// of which this one knows nothing. Does not wait for the thread.
  public func suspend() {
    isStopping.store(true, ordering: .releasing)
    channel.withLock { $0?.shutDown() }
    parts.follower.wake()
  }

  /// After `suspend`: goes on with a new connection. Blocks until the old one has ended.
  public func resume() {
    thread.withLock { $0 }?.join()
    isStopping.store(false, ordering: .releasing)
    start()
  }

  private var stops: Bool { isStopping.load(ordering: .acquiring) }

  private func run() {
    var wait = Self.retryMilliseconds.lowerBound
    while !stops {
      do throws(LinkError) {
        // A refusal stands until something else is known: nobody is told otherwise for each try.
        monitor.update {
          if $0.state != .refused, $0.state != .diverged { $0.state = .connecting }
        }
        try session()
        wait = Self.retryMilliseconds.lowerBound
      } catch {
        if stops { break }
        let wasConnected = note(error)
        if wasConnected { wait = Self.retryMilliseconds.lowerBound }
        parts.follower.wait(timeoutMilliseconds: wait)
        wait = min(wait * 2, Self.retryMilliseconds.upperBound)
      }
    }
  }

  /// Returns whether the session had begun to stream.
  private func note(_ error: LinkError) -> Bool {
    let before = monitor.snapshot
    let wasStreaming = before.state == .connected || before.state == .syncing
    monitor.update {
      switch error {
      case .refused: $0.state = .refused
      case .diverged: $0.state = .diverged
      default: $0.state = .waiting
      }
      $0.detail = "\(error)"
      $0.syncProgress = nil
      $0.vitals.ended(now: SystemClock.monotonicNanoseconds())
      if wasStreaming { $0.reconnectCount += 1 }
    }
    // A condition of the group tells it.
    if case .diverged = error { return false }
    if before.detail != "\(error)" || wasStreaming {
      parts.log("group \(parts.hello.groupName): link to \(monitor.peerSite): \(error)")
    }
    return wasStreaming
  }

  // MARK: One connection

  private func session() throws(LinkError) {
    let channel = try LinkChannel(connectingTo: parts.endpoint)
    self.channel.withLock {
      $0 = channel
      // Stopped while it connected, when there was nothing to shut down.
      if stops { channel.shutDown() }
    }
    defer { self.channel.withLock { $0 = nil } }
    let hello = parts.presentHello
    try channel.send(LinkFrame(.hello), hello.encoded())
    var stream = LinkStream(parts: parts, hello: hello, monitor: monitor, channel: channel)
    defer { stream.end() }
    try agree(channel, &stream)
    monitor.agreed()
    monitor.update {
      $0.detail = ""
      $0.vitals.began(now: SystemClock.monotonicNanoseconds())
    }
    parts.log(
      "group \(parts.hello.groupName): linked to \(monitor.peerSite), "
        + "streaming from record \(parts.follower.received.rawValue + 1)")
    while !stops { try stream.step() }
  }

  /// Finds out what the receiver has, and where to begin.
  private func agree(
    _ channel: LinkChannel, _ stream: inout LinkStream<Store>
  ) throws(LinkError) {
    // Two rounds: a cut is followed by one more welcome.
    for round in 0..<2 {
      let welcome = try receiveWelcome(channel)
      // What it has counts under the name of the peer that is meant.
      guard welcome.site == monitor.peerSite else {
        throw .refused(
          "site \(welcome.site.quotedForMessage) answers there, not \(monitor.peerSite): correct "
            + "the 'address' of that peer")
      }
      monitor.update { $0.peerDisks = welcome.disks }
      if welcome.needsBaseline { return try stream.beginCopy(resuming: welcome.copy) }
      // Should one have been under way, its end was only not heard of.
      parts.follower.debt.end()
      switch decision(on: welcome) {
      case .resume where isForked(welcome):
        // It has records in the segment and keeps them: damage has cost this site its own segment
        // of that number, whose records are applied.
        if round > 0 { return try stream.beginCopy() }
        try goBack(channel, welcome, after: welcome.sequence)
      case .resume:
        if try stream.resume(welcome) { return }
        return try stream.beginCopy()
      case .baseline:
        return try stream.beginCopy()
      case .cut(let after):
        #if MUTANTS
          if Mutant.ignoreFork.isOn, try stream.resume(welcome) { return }
        #endif
        try goBack(channel, welcome, after: after)
      case .diverged(let divergence):
        #if MUTANTS
          if Mutant.eraseMore.isOn { return try stream.beginCopy() }
        #endif
        guard monitor.mayDiscard(welcome.seen) else { throw report(divergence, welcome, channel) }
        parts.log(
          "group \(parts.hello.groupName): what \(monitor.peerSite) has more is given up, as the "
            + "operator has decided: record \(welcome.sequence.rawValue) was its last")
        guard let common = divergence.common?.sequence, welcome.applied <= common else {
          return try stream.beginCopy(discarding: welcome.seen)
        }
        try goBack(channel, welcome, after: common, discarding: welcome.seen)
      }
    }
    throw .protocolViolation("the peer did not go back as asked")
  }

  private func decision(on welcome: LinkWelcome) -> ResumeDecision {
    let oldest = parts.catalog.oldest?.firstSequence
    let last = LastRecord.newest(parts.catalog, parts.watermarks)
    let match = welcome.last.match(
      in: parts.catalog, of: welcome.lineage.newest?.identifier)
    return ResumeDecision.decide(
      welcome, owner: SiteHistory(parts.hello.lineage, last: last.mark), oldest: oldest,
      match: match, isDetached: parts.follower.isDetached)
  }

  /// Both sites stop here until an operator decides.
  private func report(
    _ divergence: Divergence, _ welcome: LinkWelcome, _ channel: LinkChannel
  ) -> LinkError {
    let text = divergence.text(
      of: parts.hello.groupName, owner: parts.hello.site, follower: monitor.peerSite)
    monitor.update { $0.divergence = (welcome.seen, text) }
    do throws(LinkError) { try channel.send(LinkFrame(.diverged), Array(text.utf8)) } catch {
      return error
    }
    // It closes the connection when it has read that.
    _ = try? channel.receive(timeoutMilliseconds: 5_000)
    return .diverged(text)
  }

  /// The receiver has begun a segment, without a record yet, that was lost here with its header:
  /// another incarnation has, or will have, a segment of that number.
  private func isForked(_ welcome: LinkWelcome) -> Bool {
    let number = welcome.position.segment
    #if MUTANTS
      if Mutant.resumeStaleSegment.isOn { return false }
    #endif
    if number == 0 { return false }
    if let own = parts.catalog.segment(number) {
      return own.header.incarnation.identifier != welcome.segmentIncarnation
    }
    return parts.catalog.newest.map { number > $0.number } ?? false
  }

  private func goBack(
    _ channel: LinkChannel, _ welcome: LinkWelcome, after sequence: SequenceNumber,
    discarding seen: JournalState.OwnerMark? = nil
  ) throws(LinkError) {
    parts.log(
      "group \(parts.hello.groupName): \(monitor.peerSite) has records up to "
        + "\(welcome.sequence.rawValue) or a segment that were lost here; it goes back to "
        + "\(sequence.rawValue)")
    try channel.send(
      LinkFrame(.cut, argument: sequence.rawValue), LinkMessage.encodeDiscarded(seen))
  }

  private func receiveWelcome(_ channel: LinkChannel) throws(LinkError) -> LinkWelcome {
    while true {
      guard let (frame, body) = try channel.receive(timeoutMilliseconds: 30_000) else {
        throw .network("the peer did not answer")
      }
      switch frame.kind {
      case .welcome: return try LinkWelcome(decoding: body)
      case .refused: throw .refused(String(oneLine: body))
      case .progress, .alive: continue
      default: throw .protocolViolation("unexpected \(frame.kind)")
      }
    }
  }
}
