import BlockModel
import Configuration
import Journal
import NBDProtocol
import Storage
import SystemIO
import TLS
import Volume

/// A client that has not chosen its export yet, on the front loop.
///
/// When the client enters the transmission phase, the socket and what it has sent already move to
/// the loop that owns the export. Confined to the front loop's thread.
final class HandshakeConnection: EventHandler, @unchecked Sendable {
  /// An export that was looked up and may be entered.
  private enum Found {
    case live(Group, GroupDisk)
    /// `isSelected`: it belongs to the selection.
    case view(OpenedView, GroupDisk, isSelected: Bool)

    var isSelected: Bool {
      if case .view(_, _, let isSelected) = self { isSelected } else { false }
    }
  }

  /// What stands behind the metadata contexts that the client selected last.
  private struct Selection {
    let exportName: String
    let sources: [String: StatusContext.Source]
    /// Nil when no context needs the history.
    let opened: OpenedChanges?
  }

  /// Replies that the client does not take; beyond it, its options are left unread.
  private static let outputLimit = 64 << 10

  private var transport: Transport
  private let front: FrontDesk
  private let tls: TLSContext?
  private var machine: NBDHandshake
  /// Set while TLS begins.
  private var beginning: TLSSession?
  private lazy var client = identify()
  private var input: [UInt8] = []
  private var output = OutputBuffer(byteCount: HandshakeConnection.outputLimit)
  private var found: Found?
  /// For the export that was found.
  private var place: ClientAdmission.Place?
  private var selection: Selection?
  private var isLookingUp = false
  private var closesWhenSent = false
  private(set) var isClosed = false
  let startNanoseconds = SystemClock.monotonicNanoseconds()

  /// - Parameter tls: nil: off.
  init(socket: Socket, tls: ListenerTLS.Terms?, front: FrontDesk) {
    transport = Transport(socket)
    self.tls = tls?.context
    machine = NBDHandshake(tls: tls.map { $0.isRequired ? .required : .optional } ?? .off)
    self.front = front
  }

  func begin() {
    do throws(Errno) {
      try front.loop.add(self, transport.socket, .readable)
    } catch { return close() }
    perform(machine.start())
  }

  override func ready(_ ready: Poller.Interest) {
    if beginning != nil { return continueTLS() }
    if ready.contains(.writable) {
      send()
      process()
    }
    if isClosed || ready.isDisjoint(with: [.readable, .closed]) { return }
    receive()
  }

  private func receive() {
    let arrived: [UInt8]?
    do throws(Errno) { arrived = try transport.receive(limit: 16 << 10) } catch {
      return close()
    }
    guard let piece = arrived else { return }
    if piece.isEmpty { return close() }
    input += piece
    process()
  }

  /// Feeds the machine until it needs more or waits for an answer.
  private func process() {
    while !isClosed, !isLookingUp, !input.isEmpty, !closesWhenSent, !isFull {
      let (consumed, actions) = unsafe input.withUnsafeBytes { unsafe machine.receive($0) }
      if consumed == 0, actions.isEmpty { break }
      input.removeFirst(consumed)
      perform(actions)
    }
    updateInterest()
    // TLS holds bytes of which the poller does not know.
    if !isClosed, !isLookingUp, !closesWhenSent, !isFull, transport.hasBufferedInput {
      front.loop.post { [self] in if !isClosed, !isLookingUp { receive() } }
    }
  }

  private var isFull: Bool { output.pendingByteCount > Self.outputLimit }

  private func perform(_ actions: [NBDHandshake.Action]) {
    for action in actions where !isClosed {
      switch action {
      case .send(let bytes): output.append(bytes)
      case .listExports: perform(machine.exportsListed(front.listings(for: client)))
      case .lookUpExport(let name, let intent): lookUp(name, intent)
      case .findContexts(let request): findContexts(request)
      case .startTLS: return beginTLS()
      case .beginTransmission(let session): return hand(over: session)
      case .close(let reason):
        if let reason { front.clientLog.note("handshake: \(reason)") }
        closesWhenSent = true
      }
    }
    send()
  }

  private func send() {
    if isClosed { return }
    do throws(Errno) {
      if try output.send(on: transport), closesWhenSent { return close() }
    } catch { return close() }
    updateInterest()
  }

  private func updateInterest() {
    // TLS says by itself what it waits for while it begins.
    if isClosed || beginning != nil { return }
    var wanted: Poller.Interest = isLookingUp || closesWhenSent || isFull ? [] : .readable
    if output.pendingByteCount > 0 { wanted.insert(.writable) }
    front.loop.setInterest(self, transport.socket, wanted)
  }

  // MARK: TLS and identity

  private func beginTLS() {
    // What follows in the clear could have been put there by anyone.
    guard input.isEmpty, let tls, (try? output.send(on: transport)) == true else {
      front.clientLog.note("handshake: a client sent more in the clear after STARTTLS")
      return close()
    }
    do throws(TLSError) { beginning = try TLSSession(tls, on: transport.socket) } catch {
      front.clientLog.note("handshake: \(error)")
      return close()
    }
    continueTLS()
  }

  private func continueTLS() {
    guard let session = beginning else { return }
    do throws(TLSError) {
      switch try session.handshake() {
      case .wantsToRead: front.loop.setInterest(self, transport.socket, .readable)
      case .wantsToWrite: front.loop.setInterest(self, transport.socket, .writable)
      case .complete:
        beginning = nil
        transport = Transport(transport.socket, tls: session)
        machine.tlsStarted()
        updateInterest()
        receive()
      }
    } catch {
      front.clientLog.note("handshake: \(error)")
      close()
    }
  }

  private func identify() -> ClientIdentity {
    let user = transport.socket.peerUser
    return ClientIdentity(
      tlsName: transport.tls?.clientName, user: user?.user, group: user?.group)
  }

  private func access(_ disk: GroupDisk, in group: Group) -> DiskAccess {
    group.access(to: disk, for: client)
  }

  /// Nil, once the client has been answered, when there is none for it. Who may not open a disk is
  /// told what he is told of one that is not there.
  private func permittedDisk(named name: String) -> (Group, GroupDisk)? {
    switch front.find(name) {
    case .open(let group, let disk)? where access(disk, in: group) != .none: return (group, disk)
    case .closed(let disk, let reason)? where disk.access(for: client) != .none:
      answer(.unknown(message: reason))
      return nil
    case .open?, .closed?: front.clientLog.note("\(client) may not open disk \(name)")
    case nil: break
    }
    answer(.unknown(message: "no disk \(name.quotedForMessage) at this site"))
    return nil
  }

  // MARK: Look-up

  /// The empty name means the only export that the client can see.
  private func canonical(_ name: String) -> String {
    guard name.isEmpty else { return name }
    let visible = front.listings(for: client)
    return visible.count == 1 ? visible[0].name : name
  }

  private func lookUp(_ asked: String, _ intent: NBDLookUpIntent) {
    releaseFound()
    let text = canonical(asked)
    let name: ExportName
    do throws(InstantSyntaxError) { name = try ExportName(parsing: text) } catch {
      return answer(.unknown(message: "\(error)"))
    }
    guard let (group, disk) = permittedDisk(named: name.disk) else { return }
    if intent == .serve {
      do throws(ClientAdmission.Refusal) {
        place = try front.admission.admit(to: disk.name)
      } catch {
        front.clientLog.note("a client was refused: \(error.message)")
        return refuse(.notPermitted(message: error.message))
      }
    }
    guard let instant = name.instant else { return lookUpLive(group, disk, text) }
    // What changed was found up to this view, and not up to another that is opened now.
    if let selection, selection.exportName == text, let view = selection.opened?.view {
      return viewFound(view, disk, text, instant, isSelected: true)
    }
    isLookingUp = true
    group.loop.post { [self] in
      switch intent {
      case .describe:
        group.findInstant(instant) { [self] result in
          front.loop.post { [self] in instantFound(result, disk, text, instant) }
        }
      case .serve:
        group.openView(instant) { [self] result in
          front.loop.post { [self] in viewOpened(result, disk, text, instant) }
        }
      }
    }
  }

  private func lookUpLive(_ group: Group, _ disk: GroupDisk, _ name: String) {
    if let refusal = liveRefusal(group, disk) { return answer(refusal) }
    found = .live(group, disk)
    perform(
      machine.exportFound(
        NBDExport(
          name: name, description: front.description(of: disk, in: group),
          sizeBytes: disk.store.byteCount, isReadOnly: access(disk, in: group) == .readOnly,
          canMultiConn: true,
          // A record of zeros has no payload; a plain group leaves zeroing to its base.
          canFastZero: group.journal != nil)))
  }

  /// Why the disk itself cannot be opened; nil when it can.
  private func liveRefusal(_ group: Group, _ disk: GroupDisk) -> NBDExportRefusal? {
    guard group.configuration.role == .recovery else { return nil }
    let message =
      "\(disk.name) is a recovery copy at this site; open \(disk.name)@latest or "
      + "\(disk.name)@INSTANT"
    return .notPermitted(message: message)
  }

  private func viewOpened(
    _ result: Result<OpenedView, ExportRefusal>, _ disk: GroupDisk, _ name: String,
    _ instant: InstantExpression
  ) {
    isLookingUp = false
    switch result {
    case .failure(let refusal):
      if isClosed { return }
      answer(.unknown(message: refusal.message))
    case .success(let opened):
      if isClosed { return opened.release() }
      viewFound(opened, disk, name, instant, isSelected: false)
    }
    process()
  }

  private func viewFound(
    _ opened: OpenedView, _ disk: GroupDisk, _ name: String, _ instant: InstantExpression,
    isSelected: Bool
  ) {
    found = .view(opened, disk, isSelected: isSelected)
    describe(disk, name, instant, is: opened.view.instant)
  }

  /// The client asked, and does not open the export: nothing is made for it.
  private func instantFound(
    _ result: Result<Timestamp, ExportRefusal>, _ disk: GroupDisk, _ name: String,
    _ instant: InstantExpression
  ) {
    isLookingUp = false
    if isClosed { return }
    switch result {
    case .failure(let refusal): answer(.unknown(message: refusal.message))
    case .success(let found): describe(disk, name, instant, is: found)
    }
    process()
  }

  private func describe(
    _ disk: GroupDisk, _ name: String, _ instant: InstantExpression, is found: Timestamp
  ) {
    // Two connections that name a moving instant see different disks.
    let isFixed: Bool
    switch instant {
    case .at, .checkpoint: isFixed = true
    case .latest, .ago: isFixed = false
    }
    perform(
      machine.exportFound(
        NBDExport(
          name: name, description: "\(disk.name) as of \(found)",
          sizeBytes: disk.store.byteCount, isReadOnly: true, canMultiConn: isFixed)))
  }

  private func answer(_ refusal: NBDExportRefusal) {
    // Most clients do not show the reason that they are sent.
    switch refusal {
    case .unknown(let message), .notPermitted(let message):
      front.clientLog.note("an export was refused: \(message)")
    case .shuttingDown: break
    }
    refuse(refusal)
  }

  private func refuse(_ refusal: NBDExportRefusal) {
    place = nil
    perform(machine.exportRefused(refusal))
    process()
  }

  private func releaseFound() {
    if case .view(let opened, _, isSelected: false) = found { opened.release() }
    found = nil
    place = nil
  }

  // MARK: Metadata contexts

  private func findContexts(_ asked: NBDContextRequest) {
    let request = NBDContextRequest(
      exportName: canonical(asked.exportName), queries: asked.queries, intent: asked.intent)
    if request.intent == .select { releaseSelection() }
    let name: ExportName
    do throws(InstantSyntaxError) { name = try ExportName(parsing: request.exportName) } catch {
      return answer(.unknown(message: "\(error)"))
    }
    guard let (group, disk) = permittedDisk(named: name.disk) else { return }
    if name.instant == nil, let refusal = liveRefusal(group, disk) { return answer(refusal) }
    switch request.intent {
    case .list: list(request, group)
    case .select: select(request, group, upTo: name.instant)
    }
  }

  private func list(_ request: NBDContextRequest, _ group: Group) {
    let all = request.queries.isEmpty ? ["base:", "tapline:"] : request.queries
    let queries = all.map { ($0, ContextQuery(parsing: $0)) }
    isLookingUp = true
    group.loop.post { [self] in
      group.findInstants(queries.compactMap(\.1.instant)) { [self] instants in
        front.loop.post { [self] in listed(queries, instants, group) }
      }
    }
  }

  /// - Parameter instants: those that the queries name; nil for one that is not in the history.
  private func listed(
    _ queries: [(String, ContextQuery)], _ instants: [Timestamp?], _ group: Group
  ) {
    isLookingUp = false
    if isClosed { return }
    var remaining = instants[...]
    let names = queries.flatMap { text, query -> [String] in
      switch query {
      case .allocation: [text]
      case .changedSince: remaining.removeFirst() == nil ? [] : [text]
      case .wildcard(let names): group.journal == nil ? names.filter(Self.isBase) : names
      case .unknown: []
      }
    }
    perform(machine.contextsFound(Self.distinct(names)))
    process()
  }

  private static func isBase(_ name: String) -> Bool { name == ContextQuery.allocationName }

  private static func distinct(_ names: [String]) -> [String] {
    var seen = Set<String>()
    return names.filter { seen.insert($0).inserted }
  }

  private func select(
    _ request: NBDContextRequest, _ group: Group, upTo end: InstantExpression?
  ) {
    let names = Self.distinct(request.queries)
    let queries = names.map(ContextQuery.init(parsing:))
    let instants = queries.compactMap(\.instant)
    let hasAllocation = queries.contains(.allocation)
    if instants.count + (hasAllocation ? 1 : 0) > NBDLimits.maximumContexts {
      return perform(machine.contextsFound(names))
    }
    guard !instants.isEmpty, group.journal != nil else {
      let sources = [(ContextQuery.allocationName, StatusContext.Source.allocation)]
      return selected(request.exportName, hasAllocation ? sources : [], nil)
    }
    isLookingUp = true
    group.loop.post { [self] in
      group.openChanges(since: instants, upTo: end) { [self] result in
        front.loop.post { [self] in
          changesOpened(result, Array(zip(names, queries)), request.exportName)
        }
      }
    }
  }

  private func changesOpened(
    _ result: Result<OpenedChanges, ExportRefusal>, _ queries: [(String, ContextQuery)],
    _ exportName: String
  ) {
    isLookingUp = false
    switch result {
    case .failure(let refusal):
      if isClosed { return }
      return answer(.unknown(message: refusal.message))
    case .success(let opened):
      if isClosed { return opened.release() }
      var changes = opened.changes[...]
      let sources = queries.compactMap { name, query -> (String, StatusContext.Source)? in
        switch query {
        case .allocation: (name, .allocation)
        case .changedSince:
          changes.removeFirst().map { (name, .changes($0, border: opened.border)) }
        case .wildcard, .unknown: nil
        }
      }
      let isNeeded = opened.view != nil || opened.changes.contains { $0 != nil }
      if !isNeeded { opened.release() }
      selected(exportName, sources, isNeeded ? opened : nil)
    }
    process()
  }

  private func selected(
    _ exportName: String, _ sources: [(String, StatusContext.Source)], _ opened: OpenedChanges?
  ) {
    selection = Selection(
      exportName: exportName, sources: Dictionary(uniqueKeysWithValues: sources), opened: opened)
    perform(machine.contextsFound(sources.map(\.0)))
  }

  private func releaseSelection() {
    selection?.opened?.release()
    selection = nil
  }

  // MARK: Handing over

  private func hand(over session: NBDSession) {
    guard let found, let place else {
      preconditionFailure("transmission without an export")
    }
    // The last option's reply is small: it fits the socket, unless the client does not read.
    guard (try? output.send(on: transport)) == true else { return close() }
    isClosed = true
    front.loop.remove(self, transport.socket)
    front.forget(self)
    let contexts = session.contexts.compactMap { context in
      (selection?.sources[context.name]).map {
        StatusContext(identifier: context.identifier, source: $0)
      }
    }
    // A selection for an export that was not opened after all.
    if session.contexts.isEmpty, !found.isSelected { releaseSelection() }
    let client = EnteringClient(
      transport: transport, place: place, session: session, contexts: contexts, leftover: input)
    switch found {
    case .live(let group, let disk):
      group.loop.post { [front, opened = selection?.opened] in
        client.serve(disk, of: group, changes: opened, front)
      }
    case .view(let view, let disk, _): client.serve(disk, of: view, front)
    }
    self.found = nil
    self.place = nil
    selection = nil
  }

  func close() {
    if isClosed { return }
    isClosed = true
    releaseFound()
    releaseSelection()
    front.loop.remove(self, transport.socket)
    front.forget(self)
    transport.shutDown()
  }
}
