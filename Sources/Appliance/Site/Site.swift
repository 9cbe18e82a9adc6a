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
/// Threads: one front loop (listeners, handshakes); loops for views, one a core; loops for links
/// that send, as many as there are but at most one a core; loops over which the groups and their
/// branches are spread, one a core; for each group one that opens it, and those of its
/// `GroupLanes`; one analyzer thread.
/// Public methods may be called from any thread.
public final class Site: Sendable {
  public static let version = "0.1.0"
  static let questionTimeoutMilliseconds: Int32 = 5_000

  let configuration: SiteConfiguration
  /// What is in effect: the above, with what `reload` has changed since.
  let present: Mutex<SiteConfiguration>
  /// Of those that change groups, disks or branches while the site runs.
  let turn = Turn()
  let front: FrontDesk
  /// On the front loop, too.
  let door: LinkDoor
  private let loops: [EventLoop]
  private let links: LinkLoops
  /// Of the configuration's groups.
  let hosts: [GroupHost]
  private let analysis: AnalysisThread
  let listening: [ListeningSocket]
  var trust: SiteTrust { links.security.trust }
  let tls: [ListenerIdentity: ListenerTLS]
  private let inheritance: SiteInheritance?
  /// One hand-over at a time.
  let isHandingOver = Atomic<Bool>(false)
  let log: @Sendable (String) -> Void

  // MARK: Starting

  /// Opens the site and serves it; see `open` and `serve`.
  public static func start(
    _ configuration: SiteConfiguration, indexMemory: IndexMemory = IndexMemory(),
    log: @escaping @Sendable (String) -> Void
  ) throws(SiteError) -> Site {
    var sockets = ListenerSockets()
    let site = try open(configuration, sockets: &sockets, indexMemory: indexMemory, log: log)
    try site.serve()
    return site
  }

  /// Reads everything that TLS listeners need; throws what `open` would throw for it.
  public static func checkTLS(_ configuration: SiteConfiguration) throws(SiteError) {
    for listener in configuration.listen.nbd {
      if let tls = listener.tls { _ = try prepare(tls, listener.address) }
    }
    _ = try SiteTrust(configuration)
  }

  /// Recovers the journals, opens the stores and listens. No journal and no disk is changed, and
  /// nobody is served, before `serve`. Blocks; groups are opened at the same time.
  ///
  /// A group that cannot be opened stays closed, and is tried again. When that is so of all, and
  /// nothing that could come by itself is missing, this throws.
  ///
  /// - Parameters:
  ///   - sockets: those that listen already; what the site's listeners do not take stays in it.
  ///   - inheritance: of the process whose place this one takes. It must have let go by `serve`.
  ///     Throws when a group that was open there cannot be opened here.
  public static func open(
    _ configuration: SiteConfiguration, sockets: inout ListenerSockets,
    inheritance: SiteInheritance? = nil, indexMemory: IndexMemory = IndexMemory(),
    log: @escaping @Sendable (String) -> Void
  ) throws(SiteError) -> Site {
    try OpenFiles.secure(configuration)
    // Tests are no reason not to serve their groups.
    do throws(SiteError) {
      try OpenFiles.secure(configuration, branches: configuration.branches)
    } catch { log("\(error)") }
    for group in configuration.groups { try GroupOpening.checkMode(group) }
    do throws(Errno) {
      try Directory.create(configuration.dataDirectory)
    } catch { throw SiteError("data folder \(configuration.dataDirectory): \(error)") }
    let files = inheritance?.files ?? InheritedFiles()
    try files.check(
      areAmong: configuration.lockedPaths + configuration.pathsOfLeftDisks
        + configuration.pathsOfBranchLocks)
    var tls: [ListenerIdentity: ListenerTLS] = [:]
    for listener in configuration.listen.nbd {
      tls[ListenerIdentity(.nbd, listener.address)] = try listener.tls.map {
        (tls) throws(SiteError) in ListenerTLS(try prepare(tls, listener.address))
      }
    }
    let security = try LinkSecurity(configuration)
    var loops: [EventLoop] = []
    let front: EventLoop
    let views: ViewLoops
    let links: LinkLoops
    do throws(Errno) {
      for index in 0..<SystemInfo.processorCount {
        loops.append(try EventLoop(name: "loop-\(index)"))
      }
      front = try EventLoop(name: "front")
      views = try ViewLoops()
      links = try LinkLoops(
        links: configuration.groups.flatMap(\.peers).count { $0.address != nil }, security)
    } catch { throw SiteError("cannot start: \(error)") }
    let shares = LoopShares(loops)
    let surroundings = GroupHost.Surroundings(
      site: configuration.site, dataDirectory: configuration.dataDirectory, log: log,
      indexMemory: indexMemory, links: links, loops: shares,
      known: (inheritance?.groups ?? [:]).mapValues(GroupMemory.init))
    let hosts = configuration.groups.map { group in
      GroupHost(
        group, origin: configuration.origin, loop: shares.take(), files: files, surroundings)
    }
    do throws(SiteError) {
      try openGroups(hosts, inheritance)
      try security.trust.makeKeyIfNone(log: log)
      var listening: [ListeningSocket] = []
      for listener in configuration.listen.nbd {
        listening.append(try listen(at: ListenerIdentity(.nbd, listener.address), &sockets))
      }
      if let address = configuration.listen.link {
        listening.append(try listen(at: ListenerIdentity(.link, address), &sockets))
      }
      return Site(
        configuration, loops, links, front, views, hosts, listening, tls, inheritance, log: log)
    } catch {
      for host in hosts { host.stop() }
      for host in hosts { host.join() }
      throw error
    }
  }

  private static func openGroups(
    _ hosts: [GroupHost], _ inheritance: SiteInheritance?
  ) throws(SiteError) {
    for host in hosts { host.start() }
    var refusals: [(host: GroupHost, error: SiteError)] = []
    for host in hosts {
      if let error = host.firstRefusal() { refusals.append((host, error)) }
    }
    let isServed = { (name: String) in inheritance?.groups[name]?.isOpen == true }
    if let lost = refusals.first(where: { isServed($0.host.name) }) { throw lost.error }
    if let twice = refusals.first(where: { uses($0.host, aFileOf: hosts) }) { throw twice.error }
    if !refusals.isEmpty, refusals.count == hosts.count,
      !refusals.contains(where: \.error.isPassing)
    {
      throw SiteError(refusals.map(\.error.description).joined(separator: "; "))
    }
    for (host, error) in refusals { host.logRefusal(error) }
    for branch in hosts.flatMap(\.branches) {
      guard let error = branch.firstRefusal() else { continue }
      if isServed(branch.name) { throw error }
      branch.logRefusal(error)
    }
  }

  /// One file under two names would be the disk of whichever group opens it first.
  private static func uses(_ host: GroupHost, aFileOf hosts: [GroupHost]) -> Bool {
    let files = hosts.compactMap(\.prepared).flatMap(\.lockedFiles)
    return host.configuration.disks.contains { disk in
      guard case .file(let path) = disk.backing else { return false }
      return files.contains { $0.isFile(at: path) }
    }
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
    _ configuration: SiteConfiguration, _ loops: [EventLoop], _ links: LinkLoops,
    _ frontLoop: EventLoop, _ views: ViewLoops, _ hosts: [GroupHost],
    _ listening: [ListeningSocket],
    _ tls: [ListenerIdentity: ListenerTLS], _ inheritance: SiteInheritance?,
    log: @escaping @Sendable (String) -> Void
  ) {
    self.configuration = configuration
    present = Mutex(configuration)
    self.log = log
    self.listening = listening
    self.tls = tls
    self.inheritance = inheritance
    self.loops = loops
    self.links = links
    self.hosts = hosts
    analysis = AnalysisThread(hosts)
    let limits = configuration.limits
    front = FrontDesk(
      loop: frontLoop, views: views, catalog: ExportCatalog(hosts), limits: limits, log: log)
    door = LinkDoor(
      site: configuration.site, loop: frontLoop,
      trust: configuration.listen.link.flatMap(links.security.trust(for:)),
      greetingNanoseconds: limits.handshakeNanoseconds, log: log, find: hosts.findForPeer)
  }

  /// Serves when it returns. Once. Throws when no group can be written to; nobody was served then.
  public func serve() throws(SiteError) {
    try noteUse()
    if inheritance != nil {
      do throws(SiteError) { try trust.readFiles() } catch { log("\(error)") }
    }
    let front = self.front
    let adoption = ConnectionAdoption(front: front)
    let connections = inheritance?.connections ?? []
    for host in allHosts {
      host.serves()
      guard let group = host.group, let state = inheritance?.groups[host.name] else { continue }
      host.loop.post { group.restore(state) }
    }
    adoption.openViews(connections)
    for group in groups { group.loop.post { group.begin() } }
    adoption.serveDisks(connections)
    for loop in loops { loop.start() }
    links.start()
    for link in hosts.flatMap(\.links) { link.start() }
    for host in allHosts { host.release() }
    analysis.start()
    front.views.start()
    front.loop.start()
    for listener in listening { listener.logChosenAddress(log) }
    let nbd = listening.filter { $0.identity.kind == .nbd }
      .map { (socket: $0.socket, tls: tls[$0.identity]) }
    let link = listening.first { $0.identity.kind == .link }?.socket
    front.loop.post { [door] in
      front.open(nbd)
      if let link { door.open(link) }
    }
  }

  private func noteUse() throws(SiteError) {
    var refusals: [SiteError] = []
    for host in hosts {
      do throws(SiteError) { try host.noteUse() } catch { refusals.append(error) }
    }
    // What a branch cannot write is its own concern: it is tried again.
    for branch in hosts.flatMap(\.branches) { try? branch.noteUse() }
    guard !refusals.isEmpty, hosts.allSatisfy({ $0.prepared == nil }) else { return }
    for host in hosts { host.stop() }
    for host in hosts { host.join() }
    throw SiteError(refusals.map(\.description).joined(separator: "; "))
  }

  /// Groups that are not open now, for a service manager; nil when all are.
  public var closedSummary: String? {
    let closed = hosts.filter { $0.group == nil }
    if closed.isEmpty { return nil }
    return "\(hosts.count - closed.count) of \(hosts.count) groups serve; not open: "
      + closed.map(\.name).joined(separator: ", ")
  }

  /// Of the groups, and behind each those of its branches.
  var allHosts: [GroupHost] { hosts.flatMap { [$0] + $0.branches } }

  /// Those that are open, also those of branches.
  var groups: [Group] { allHosts.compactMap(\.group) }

  /// What keeps other processes from the journals and the disks.
  var lockedFiles: [File] {
    groups.flatMap(\.lockedFiles)
  }

  // MARK: Stopping

  /// Ends the exports, sends what the links still have for a short while, makes everything durable
  /// and applies the protected groups' journals: their raw files are then the whole, current
  /// disks. Blocks until all of that is done.
  public func stop() {
    closeFront()
    for socket in listening { socket.removeName() }
    for host in hosts { host.stop() }
    for host in hosts { host.join() }
    analysis.stop()
    front.loop.stop()
    front.views.stop()
    links.stop()
    for loop in loops { loop.stop() }
    trust.worker.finish()
  }

  /// Ends the listeners, those who have opened nothing yet, and then the connections to views.
  func closeFront(timeoutMilliseconds: Int32 = Site.questionTimeoutMilliseconds) {
    ask(front.loop, timeoutMilliseconds: timeoutMilliseconds) { [front, door] done in
      front.close()
      door.close()
      done(())
    }
    for views in front.views.members {
      ask(views.loop, timeoutMilliseconds: timeoutMilliseconds) { done in
        views.close()
        done(())
      }
    }
  }

  // MARK: Questions

  /// Asks a loop and waits for its answer; nil when it does not come in time.
  @discardableResult
  func ask<Answer: Sendable>(
    _ loop: EventLoop, timeoutMilliseconds: Int32 = Site.questionTimeoutMilliseconds,
    _ question: @escaping @Sendable (@escaping @Sendable (Answer) -> Void) -> Void
  ) -> Answer? {
    loop.ask(timeoutMilliseconds: timeoutMilliseconds, question)
  }

  public func status() -> SiteStatus {
    let open = hosts.map(\.group)
    var statuses = Group.statuses(
      of: open.compactMap(\.self), milliseconds: UInt64(Self.questionTimeoutMilliseconds)
    )[...]
    return SiteStatus(
      site: configuration.site, version: Self.version,
      now: "\(Timestamp(nanoseconds: SystemClock.realtimeNanoseconds()))",
      listeners: listening.map(status(of:)),
      groups: zip(hosts, open).map { host, group in
        (group == nil ? nil : statuses.popFirst()) ?? host.closedStatus
      })
  }

  private func status(of listener: ListeningSocket) -> ListenerStatus {
    let identity = listener.identity
    let terms = tls[identity]?.terms
    let said = terms.map { $0.isRequired ? "required" : "optional" } ?? "off"
    return ListenerStatus(
      kind: identity.kind.rawValue, address: "\(listener.address)",
      tls: identity.kind == .nbd
        ? said
        : identity.kind == .link
          ? (configuration.links.isEncrypted(identity.address) ? "required" : "off") : nil)
  }

  /// A page of the group's checkpoints. It is made on the calling thread, over what no loop changes
  /// any more.
  public func timeline(
    group name: String, _ query: TimelineQuery = TimelineQuery()
  ) throws(SiteError) -> TimelineStatus {
    let group = try find(name)
    guard let answer = ask(group.loop, { done in done(group.answerHistory()) }) else {
      throw SiteError("group \(name) does not answer")
    }
    guard let history = answer else { throw SiteError("group \(name) keeps no history") }
    var timeline = try TimelineStatus(
      group: name, history, query,
      now: Timestamp(nanoseconds: SystemClock.realtimeNanoseconds()))
    let reports = reports(of: group)
    if !reports.isEmpty { timeline.tests = reports }
    let parked = hosts.first { $0.name == name }.map(self.parked) ?? []
    if !parked.isEmpty { timeline.parked = parked }
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

  func find(_ name: String) throws(SiteError) -> Group {
    guard let host = hosts.first(where: { $0.name == name }) else {
      let known = hosts.map(\.name).joined(separator: ", ")
      throw SiteError(
        "no group \(name.quotedForMessage) at this site; it has: \(known)", .noSuchGroup)
    }
    guard let group = host.group else {
      throw SiteError("group \(name) is not open: \(host.closedReason)", .groupClosed)
    }
    return group
  }
}

extension GroupHost: ExportedGroup {
  var branchGroups: [any ExportedGroup] { branches }
}

extension [GroupHost] {
  /// Throws in words for a peer when there is none that is open.
  @Sendable func findForPeer(named name: String) throws(LinkError) -> Group {
    guard let host = first(where: { $0.name == name }) else {
      throw .unacceptable("this site has no group \(name.debugDescription)")
    }
    guard let group = host.group else {
      throw .unacceptable("group \(name) is not open there: \(host.closedReason)")
    }
    return group
  }
}
