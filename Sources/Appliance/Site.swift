import Analyzer
import BlockModel
import Configuration
import Handover
import Journal
import Replication
import Storage
import Synchronization
import SystemIO
import TLS

/// A running site: exports, groups, links.
///
/// Threads: one front loop (listeners, handshakes, views); loops over which the groups are spread,
/// as many as there are groups but at most one a core; four workers for what blocks; for each group
/// one keeper and, if it has a peer, one link thread; one analyzer thread. Public methods may be
/// called from any thread.
public final class Site: Sendable {
  public static let version = "0.1.0"
  private static let workerCount = 4
  private static let linkDrainMilliseconds = 2_000
  private static let questionTimeoutMilliseconds: Int32 = 5_000

  let configuration: SiteConfiguration
  /// What is in effect: the above, with what `reload` has changed since.
  let present: Mutex<SiteConfiguration>
  let front: FrontDesk
  private let loops: [EventLoop]
  let groups: [Group]
  let links: [LinkSender<DiskStore>]
  private let workers: WorkerPool
  private let keepers: [WorkerPool]
  private let analysis: AnalysisThread
  private let locks: [File]
  let listening: [ListeningSocket]
  let tls: [ListenerIdentity: ListenerTLS]
  private let inheritance: SiteInheritance?
  /// One hand-over at a time.
  let isHandingOver = Atomic<Bool>(false)
  let log: @Sendable (String) -> Void

  // MARK: Starting

  /// Opens the site and serves it; see `open` and `serve`.
  public static func start(
    _ configuration: SiteConfiguration, log: @escaping @Sendable (String) -> Void
  ) throws(SiteError) -> Site {
    var sockets = ListenerSockets()
    let site = try open(configuration, sockets: &sockets, log: log)
    try site.serve()
    return site
  }

  /// Reads everything that TLS listeners need; throws what `open` would throw for it.
  public static func checkTLS(_ configuration: SiteConfiguration) throws(SiteError) {
    for listener in configuration.listen.nbd {
      if let tls = listener.tls { _ = try prepare(tls, listener.address) }
    }
  }

  /// Recovers the journals, opens the stores and listens. No journal and no disk is changed, and
  /// nobody is served, before `serve`. Blocks.
  ///
  /// - Parameters:
  ///   - sockets: those that listen already; what the site's listeners do not take stays in it.
  ///   - inheritance: of the process whose place this one takes. It must have let go by `serve`.
  public static func open(
    _ configuration: SiteConfiguration, sockets: inout ListenerSockets,
    inheritance: SiteInheritance? = nil, log: @escaping @Sendable (String) -> Void
  ) throws(SiteError) -> Site {
    try OpenFiles.secure(configuration)
    do throws(Errno) {
      try Directory.create(configuration.dataDirectory)
    } catch { throw SiteError("data folder \(configuration.dataDirectory): \(error)") }
    let files = inheritance?.files ?? InheritedFiles()
    try files.check(areAmong: configuration.lockedPaths)
    var parts: [GroupParts] = []
    for group in configuration.groups {
      parts.append(
        try GroupOpening.open(
          group, dataDirectory: configuration.dataDirectory, origin: configuration.origin,
          files: files, log: log))
    }
    var tls: [ListenerIdentity: ListenerTLS] = [:]
    var listening: [ListeningSocket] = []
    for listener in configuration.listen.nbd {
      let identity = ListenerIdentity(.nbd, listener.address)
      listening.append(try listen(at: identity, &sockets))
      tls[identity] = try listener.tls.map { (tls) throws(SiteError) in
        ListenerTLS(try prepare(tls, listener.address))
      }
    }
    if let address = configuration.listen.link {
      listening.append(try listen(at: ListenerIdentity(.link, address), &sockets))
    }
    do throws(Errno) {
      return try Site(configuration, parts, listening, tls, inheritance, log: log)
    } catch { throw SiteError("cannot start: \(error)") }
  }

  /// Reads the credentials; blocks.
  static func prepare(
    _ tls: TLSConfiguration, _ address: SocketAddress
  ) throws(SiteError) -> ListenerTLS.Terms {
    let credentials: TLSContext.Credentials =
      switch tls.credentials {
      case .certificates(let folder, let verifiesClients):
        .certificates(folder: folder, verifiesClients: verifiesClients)
      case .preSharedKeys(let file): .preSharedKeys(file: file)
      }
    do throws(TLSError) {
      return .init(isRequired: tls.isRequired, context: try TLSContext(credentials))
    } catch { throw SiteError("TLS of the listener \(address): \(error)") }
  }

  private static func listen(
    at identity: ListenerIdentity, _ sockets: inout ListenerSockets
  ) throws(SiteError) -> ListeningSocket {
    if let socket = sockets.take(identity) { return socket }
    do throws(Errno) { return try .listen(at: identity) } catch {
      throw SiteError("cannot listen on \(identity.address): \(error.asListenFailure)")
    }
  }

  private init(
    _ configuration: SiteConfiguration, _ parts: [GroupParts], _ listening: [ListeningSocket],
    _ tls: [ListenerIdentity: ListenerTLS], _ inheritance: SiteInheritance?,
    log: @escaping @Sendable (String) -> Void
  ) throws(Errno) {
    self.configuration = configuration
    present = Mutex(configuration)
    self.log = log
    locks = parts.compactMap(\.lock)
    self.listening = listening
    self.tls = tls
    self.inheritance = inheritance
    let workers = WorkerPool(name: "worker", threadCount: Self.workerCount)
    self.workers = workers
    var loops: [EventLoop] = []
    for index in 0..<max(1, min(parts.count, SystemInfo.processorCount)) {
      loops.append(try EventLoop(name: "loop-\(index)"))
    }
    self.loops = loops
    var keepers: [WorkerPool] = []
    var groups: [Group] = []
    var links: [LinkSender<DiskStore>] = []
    for (index, part) in parts.enumerated() {
      let keeper = WorkerPool(
        name: "keeper-\(part.configuration.name)", threadCount: 1, priority: .background)
      keepers.append(keeper)
      let group = Group(
        part, loop: loops[index % loops.count], workers: workers, keeper: keeper, log: log)
      group.siteName = configuration.site
      if let link = Self.link(part, configuration, log) {
        group.link = link.monitor
        links.append(link)
      }
      groups.append(group)
    }
    self.keepers = keepers
    self.groups = groups
    self.links = links
    analysis = AnalysisThread(groups)
    front = FrontDesk(
      loop: try EventLoop(name: "front"), workers: workers, groups: groups,
      limits: configuration.limits, log: log)
  }

  private static func link(
    _ part: GroupParts, _ configuration: SiteConfiguration,
    _ log: @escaping @Sendable (String) -> Void
  ) -> LinkSender<DiskStore>? {
    guard part.configuration.role == .protected, let peer = part.configuration.peer,
      let address = peer.address, let journal = part.journal,
      let state = part.stateKeeper?.state
    else { return nil }
    let hello = LinkHello(
      site: configuration.site, groupName: part.configuration.name, group: state.group,
      epoch: state.epoch, segmentByteCount: UInt32(journal.options.segmentByteCount),
      disks: state.disks)
    return LinkSender(
      .init(
        endpoint: SocketEndpoint(address), hello: hello, catalog: journal.catalog,
        watermarks: journal.watermarks, signal: part.signal, stores: part.disks.map(\.store),
        epochs: state.epochs, log: log),
      peerSite: peer.site)
  }

  /// Serves when it returns. Once. Throws when the site cannot be written to; nobody was served
  /// then.
  public func serve() throws(SiteError) {
    for group in groups { try group.noteUse() }
    let front = self.front
    let adoption = ConnectionAdoption(front: front)
    let connections = inheritance?.connections ?? []
    for group in groups {
      let state = inheritance?.groups[group.configuration.name]
      group.loop.post { if let state { group.restore(state) } }
    }
    adoption.openViews(connections)
    for group in groups { group.loop.post { group.begin() } }
    adoption.serveDisks(connections)
    for loop in loops { loop.start() }
    for link in links { link.start() }
    analysis.start()
    front.loop.start()
    for listener in listening { listener.logChosenAddress(log) }
    let nbd = listening.filter { $0.identity.kind == .nbd }
      .map { (socket: $0.socket, tls: tls[$0.identity]) }
    let link = listening.first { $0.identity.kind == .link }?.socket
    front.loop.post { front.open(nbd: nbd, link: link) }
  }

  /// What keeps other processes from the journals and the disks.
  var lockedFiles: [File] {
    locks + groups.flatMap { $0.disks.compactMap(\.store.lockedFile) }
  }

  // MARK: Stopping

  /// Ends the exports, sends what the links still have for a short while, makes everything durable
  /// and applies the protected groups' journals: their raw files are then the whole, current
  /// disks. Blocks until all of that is done.
  public func stop() {
    let front = self.front
    ask(front.loop) { done in
      front.close()
      done(())
    }
    for group in groups {
      ask(group.loop) { done in
        group.beginStop()
        done(())
      }
    }
    for socket in listening { socket.removeName() }
    for link in links { link.stop(drainMilliseconds: Self.linkDrainMilliseconds) }
    for group in groups {
      ask(group.loop, timeoutMilliseconds: -1) { done in group.drain { done(()) } }
    }
    analysis.stop()
    // The loops first: what they hand to workers must still be taken.
    front.loop.stop()
    for loop in loops { loop.stop() }
    workers.finish()
    for keeper in keepers { keeper.finish() }
  }

  // MARK: Questions

  /// Asks a loop and waits for its answer; nil when it does not come in time.
  @discardableResult
  func ask<Answer: Sendable>(
    _ loop: EventLoop, timeoutMilliseconds: Int32 = Site.questionTimeoutMilliseconds,
    _ question: @escaping @Sendable (@escaping @Sendable (Answer) -> Void) -> Void
  ) -> Answer? {
    let reply = Reply<Answer>()
    loop.post { question { reply.give($0) } }
    return reply.wait(timeoutMilliseconds: timeoutMilliseconds)
  }

  public func status() -> SiteStatus {
    SiteStatus(
      site: configuration.site, version: Self.version,
      now: "\(Timestamp(nanoseconds: SystemClock.realtimeNanoseconds()))",
      listeners: listening.map(status(of:)),
      groups: groups.map { group in
        ask(group.loop) { done in done(group.status) } ?? group.unansweredStatus
      })
  }

  private func status(of listener: ListeningSocket) -> ListenerStatus {
    let identity = listener.identity
    let terms = tls[identity]?.terms
    let said = terms.map { $0.isRequired ? "required" : "optional" } ?? "off"
    return ListenerStatus(
      kind: identity.kind.rawValue, address: "\(listener.address)",
      tls: identity.kind == .nbd ? said : nil)
  }

  public func timeline(group name: String) throws(SiteError) -> TimelineStatus {
    let group = try find(name)
    guard let answer = ask(group.loop, { done in done(group.timeline) }) else {
      throw SiteError("group \(name) does not answer")
    }
    guard let timeline = answer else { throw SiteError("group \(name) keeps no history") }
    return timeline
  }

  /// Durable when it returns.
  public func checkpoint(
    group name: String, tag: String
  ) throws(SiteError) -> TimelineStatus.Checkpoint {
    let group = try find(name)
    guard CheckpointTag.isValid(tag) else {
      throw SiteError(
        "a tag has 1 to \(CheckpointTag.maximumBytes) bytes and no control characters")
    }
    let answer: Result<TimelineStatus.Checkpoint, SiteError>? = ask(group.loop) { done in
      group.checkpoint(tag: tag, done)
    }
    guard let answer else { throw SiteError("group \(name) does not answer") }
    return try answer.get()
  }

  private func find(_ name: String) throws(SiteError) -> Group {
    if let group = groups.first(where: { $0.configuration.name == name }) { return group }
    let known = groups.map(\.configuration.name).joined(separator: ", ")
    throw SiteError("no group \(name.quotedForMessage) at this site; it has: \(known)")
  }
}

/// One answer, handed from a loop to the thread that asked.
private final class Reply<Answer: Sendable>: Sendable {
  private let answer = Mutex<Answer?>(nil)
  private let wakeup = try? Wakeup()

  func give(_ value: Answer) {
    answer.withLock { $0 = value }
    wakeup?.signal()
  }

  func wait(timeoutMilliseconds: Int32) -> Answer? {
    guard let wakeup, wakeup.wait(timeoutMilliseconds: timeoutMilliseconds) else { return nil }
    return answer.withLock { $0 }
  }
}

extension SocketEndpoint {
  init(_ address: SocketAddress) {
    switch address {
    case .unix(let path): self = .unix(path: path)
    case .tcp(let host, let port): self = .tcp(host: host, port: port)
    }
  }
}
