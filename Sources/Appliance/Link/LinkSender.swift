import BlockModel
import Journal
import Replication
import Storage
import Synchronization
import SystemIO
import TLS

/// Sends one group's records to one of its recovery sites: the second of the three copies. What is
/// to be done, `SendingLink` decides; this does it, with a socket, on a loop for links.
///
/// Confined to its loop's thread, but for what says otherwise.
final class LinkSender<Store: BackingStore>: EventHandler, @unchecked Sendable {
  /// What others may see of the connection, and end.
  private struct Connection {
    var socket: Socket?
    var isSuspended = false
  }

  /// What is sent and read in one turn, so that the other links of the loop have theirs.
  private static var turnByteLimit: Int { 4 << 20 }
  /// A part counts at least so much: what is short on the wire may have been much to compress.
  private static var partByteCount: Int { 512 << 10 }
  private static var receiveByteLimit: Int { 4096 }

  let monitor: LinkMonitor
  private let parts: SendingLink<Store>.Parts
  private let loop: EventLoop
  /// Reads what the link must wait for. A thread of its own: what hangs keeps only it waiting.
  private let reads: WorkerPool
  /// Does what asks for the number of a name.
  private let names: @Sendable (@escaping WorkerPool.Job) -> Void
  /// Nil: the link is in the clear.
  private let trust: SiteTrust?
  private var link: SendingLink<Store>
  private let connection = Mutex(Connection())
  private var transport: Transport?
  private var isConnecting = false
  /// Set while TLS begins.
  private var beginning: TLSSession?
  /// The endpoint's number is asked for, and whether an attempt to connect waits for it.
  private var isAsking = false
  private var wantsNumber = false
  /// Number of the attempt to connect.
  private var attempt = 0
  private var outbox = LinkOutbox()
  private var inbox = LinkInbox()
  private var interest: Poller.Interest = []
  /// The rest of what is to be sent has the next turn.
  private var isResuming = false

  init(
    _ parts: SendingLink<Store>.Parts, loop: EventLoop, trust: SiteTrust?,
    names: @escaping @Sendable (@escaping WorkerPool.Job) -> Void
  ) {
    self.parts = parts
    self.loop = loop
    self.trust = trust
    self.names = names
    reads = WorkerPool(name: "link-\(parts.hello.groupName)", threadLimit: 1)
    link = SendingLink(parts, now: SystemClock.monotonicNanoseconds())
    monitor = link.monitor
  }

  // MARK: From other threads

  /// Does not wait.
  func start() {
    // Made once, so that telling allocates nothing. It may still be on its way to the loop when
    // the link has ended, so it keeps it.
    let grown: EventLoop.Message = { [self] in run(.grown) }
    parts.reporter.follower.setOnGrowth { [loop] in loop.post(grown) }
    parts.reporter.follower.setOnDetach { [loop] in loop.post { [self] in run(.detached) } }
    monitor.setOnHurry { [loop] in loop.post { [self] in run(.awaited) } }
    monitor.setOnNews { [self] in connection.withLock { $0.socket?.shutDown() } }
    loop.post { [self] in run(.start) }
  }

  /// Waits until everything that is appended is durable at the follower, its connection is lost or
  /// the deadline, in monotonic nanoseconds, has come. Blocks.
  func drain(until deadline: UInt64) {
    let (follower, watermarks) = (monitor.follower, parts.watermarks)
    monitor.hurry()
    monitor.wait(until: deadline) { peer in
      let isLinked = peer.state == .connected || peer.state == .syncing
      return !isLinked || follower.durable >= watermarks.sequence(.appended)
    }
  }

  /// Asks the follower, which has all up to the record durably, to own the group. False: nobody was
  /// asked, as the connection is not the one that there was with so many reconnects. Waits for the
  /// loop.
  func handOver(
    through sequence: SequenceNumber, unlessReconnectedSince reconnects: UInt64
  ) -> Bool {
    let isAsked = loop.ask { done in
      // Another one is counted as soon as this one has ended.
      let isSame = self.monitor.snapshot.reconnectCount == reconnects
      if isSame { self.run(.handOver(sequence)) }
      done(isSame)
    }
    return isAsked ?? false
  }

  /// Ends the link, and waits until its loop has left it; for what it reads, `finishReads` waits.
  /// Not from that loop.
  func stop() {
    suspend()
    let follower = parts.reporter.follower
    follower.setOnGrowth(nil)
    follower.setOnDetach(nil)
    monitor.setOnHurry(nil)
    monitor.setOnNews(nil)
    loop.perform { [self] in run(.stop) }
    monitor.stopped()
  }

  /// After `stop`: blocks until what the link reads was read.
  func finishReads() { reads.finish() }

  /// When it returns, nothing more is sent: another process is about to send this group's records,
  /// of which this one knows nothing. Does not wait for the loop.
  func suspend() {
    connection.withLock { connection in
      connection.isSuspended = true
      connection.socket?.shutDown()
    }
    loop.post { [self] in run(.stop) }
  }

  /// After `suspend`: goes on with a new connection. Does not wait.
  func resume() {
    connection.withLock { $0.isSuspended = false }
    loop.post { [self] in run(.start) }
  }

  // MARK: On the loop

  private func run(_ event: SendingLink<Store>.Event) {
    loop.assertIsCurrent()
    var event: SendingLink<Store>.Event? = event
    var left = Self.turnByteLimit
    while var next = event {
      // Nobody is told of what this process ended itself.
      if case .disconnected = next, connection.withLock(\.isSuspended) { next = .stop }
      // What had come before this turn was read in it first.
      let (now, read) = (SystemClock.monotonicNanoseconds(), loop.monotonicNow)
      for action in link.handle(next, now: now, read: read) { perform(action) }
      event = send(&left)
    }
    loop.setAlarm(self, at: link.deadline)
  }

  private func perform(_ action: SendingLink<Store>.Action) {
    switch action {
    case .connect: connect()
    case .send(let parcel): outbox.append(parcel)
    case .work(let work):
      reads.submit { [self] in
        work.run()
        loop.post { [self] in run(.worked) }
      }
    case .close: close()
    }
  }

  override func alarm() { run(.time) }

  // MARK: Connecting

  private func connect() {
    attempt += 1
    let endpoint = parts.endpoint
    guard endpoint.isName else { return begin(endpoint) }
    wantsNumber = true
    // What an attempt asked that was given up is answered to the next.
    if isAsking { return }
    isAsking = true
    names { [self] in
      let found = Result { () throws(Errno) in try endpoint.lookedUp() }
      loop.post { [self] in answer(found) }
    }
  }

  private func answer(_ found: Result<SocketAddress, Errno>) {
    isAsking = false
    guard wantsNumber else { return }
    wantsNumber = false
    switch found {
    case .success(let endpoint): begin(endpoint)
    case .failure(let error): run(cannotConnect(error))
    }
  }

  /// Where to is known by its number.
  private func begin(_ endpoint: SocketAddress) {
    if let trust, !trust.knows(parts.hello.receiver) {
      return fail(
        .disconnected(
          .network("\(parts.hello.receiver) is not paired with this site: see `tapline pair`")))
    }
    do throws(Errno) {
      let socket = try Socket.beginConnecting(to: endpoint)
      let isWanted = connection.withLock { connection in
        if !connection.isSuspended { connection.socket = socket }
        return !connection.isSuspended
      }
      // Or it has been told to stop by now.
      guard isWanted else { return }
      socket.keepAlive(.sending)
      try loop.add(self, socket, .writable)
      interest = .writable
      transport = Transport(socket)
      isConnecting = true
    } catch { fail(cannotConnect(error)) }
  }

  /// Not before what began it has ended.
  private func fail(_ event: SendingLink<Store>.Event) {
    let attempt = attempt
    loop.post { [self] in if attempt == self.attempt { run(event) } }
  }

  private func cannotConnect(_ error: Errno) -> SendingLink<Store>.Event {
    .disconnected(.network("cannot connect to \(parts.endpoint): \(error)"))
  }

  private func finishConnecting() {
    guard let transport else { return }
    do throws(Errno) { try transport.socket.checkConnected() } catch {
      return run(cannotConnect(error))
    }
    isConnecting = false
    setInterest(.readable)
    guard let trust else { return run(.connected) }
    do throws(TLSError) {
      let session = try trust.session(with: transport.socket, of: parts.hello.receiver)
      beginning = session
      shakeHands(session)
    } catch { run(.disconnected(.network("\(error)"))) }
  }

  private func shakeHands(_ session: TLSSession) {
    guard let transport else { return }
    do throws(TLSError) {
      if let awaited = try session.handshake() { return setInterest(awaited) }
      beginning = nil
      self.transport = Transport(transport.socket, tls: session)
      setInterest(.readable)
      run(.connected)
    } catch {
      run(
        .disconnected(
          .network(
            session.peerKey == nil && session.hasSeenPeer
              ? "who answers at \(parts.endpoint) is not \(parts.hello.receiver), or has another "
                + "key than when it was paired"
              : "TLS with \(parts.endpoint): \(error)")))
    }
  }

  private func close() {
    attempt += 1
    if let socket = transport?.socket {
      loop.remove(self, socket)
      socket.shutDown()
    }
    connection.withLock { $0.socket = nil }
    transport = nil
    beginning = nil
    (isConnecting, wantsNumber) = (false, false)
    outbox.removeAll()
    inbox.removeAll()
  }

  private func setInterest(_ wanted: Poller.Interest) {
    guard wanted != interest, let transport else { return }
    interest = wanted
    loop.setInterest(self, transport.socket, wanted)
  }

  // MARK: Transfer

  override func ready(_ ready: Poller.Interest) {
    if isConnecting { return finishConnecting() }
    if let beginning { return shakeHands(beginning) }
    if !ready.isDisjoint(with: [.readable, .closed]) { receive() }
    if ready.contains(.writable), transport != nil { run(.taken) }
  }

  private func receive() {
    // TLS holds bytes of which the poller does not know.
    repeat { receiveOnce() } while transport?.hasBufferedInput == true
  }

  private func receiveOnce() {
    guard let transport else { return }
    let bytes: [UInt8]?
    do throws(Errno) { bytes = try transport.receive(limit: Self.receiveByteLimit) } catch {
      return run(.disconnected(loss("receiving from", error, transport)))
    }
    guard let bytes else { return }
    if bytes.isEmpty { return run(.disconnected(.network("the peer closed the connection"))) }
    inbox.append(bytes)
    do throws(LinkError) {
      while let (frame, body) = try inbox.next() { run(.arrived(frame, body)) }
    } catch { run(.disconnected(error)) }
  }

  private func loss(_ doing: String, _ error: Errno, _ transport: Transport) -> LinkError {
    .network(
      transport.tls?.wasRejected == true
        ? "\(parts.hello.receiver) does not know the key of this site: pair them (`tapline pair`)"
        : "\(doing) the peer: \(error)")
  }

  override func resumed() {
    isResuming = false
    var left = Self.turnByteLimit
    if let event = send(&left) { run(event) }
  }

  /// Sends what there is, as far as that goes now, and says what came of it.
  private func send(_ left: inout Int) -> SendingLink<Store>.Event? {
    guard let transport, !outbox.isEmpty, !isResuming else { return nil }
    if left <= 0 {
      pause()
      return nil
    }
    let before = outbox.byteCount
    do throws(Errno) {
      let outcome = try outbox.send(on: transport, limit: left)
      left -= max(Int(outbox.byteCount - before), Self.partByteCount)
      switch outcome {
      case .drained:
        setInterest(.readable)
        defer { outbox.removeAll() }
        return .drained(byteCount: outbox.byteCount, hasWaited: outbox.hasWaited)
      case .blocked: setInterest([.readable, .writable])
      case .paused: pause()
      }
      return nil
    } catch { return .disconnected(loss("sending to", error, transport)) }
  }

  /// The rest has the next turn.
  private func pause() {
    isResuming = true
    loop.resume(self)
  }
}
