import BlockModel
import Configuration
import NBDProtocol
import SystemIO
import TLS

/// A client that has not chosen its export yet, on the front loop: what it says and is told.
/// What it may choose from, the catalog knows.
///
/// When the client enters the transmission phase, the socket and what it has sent already move to
/// the loop that owns the export. Confined to the front loop's thread.
final class HandshakeConnection: EventHandler, @unchecked Sendable {
  /// An export that was looked up and may be entered.
  private enum Found {
    case live(Export)
    /// `isSelected`: it belongs to the selection.
    case view(OpenedView, Export, isSelected: Bool)

    var isSelected: Bool {
      if case .view(_, _, let isSelected) = self { isSelected } else { false }
    }
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
  /// The metadata contexts that the client selected last.
  private var selection: SelectedContexts?
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
      case .listExports: listExports()
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
      if let awaited = try session.handshake() {
        return front.loop.setInterest(self, transport.socket, awaited)
      }
      beginning = nil
      transport = Transport(transport.socket, tls: session)
      machine.tlsStarted()
      updateInterest()
      receive()
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

  // MARK: Look-up

  private func listExports() {
    let listings = front.catalog.listings(for: client).map {
      NBDExportListing(name: $0.name, description: $0.description)
    }
    perform(machine.exportsListed(listings))
  }

  /// Nil, once the client has been answered, when there is none for it.
  private func export(named name: String) -> Export? {
    do throws(ExportRefusal) { return try front.catalog.find(name, for: client) } catch {
      answer(error)
      return nil
    }
  }

  private func lookUp(_ name: String, _ intent: NBDLookUpIntent) {
    releaseFound()
    guard let export = export(named: name) else { return }
    if intent == .serve {
      do throws(ClientAdmission.Refusal) {
        place = try front.admission.admit(to: export.disk.name)
      } catch {
        front.clientLog.note("a client was refused: \(error.message)")
        return refuse(.notPermitted(message: error.message))
      }
    }
    guard export.instant != nil else {
      found = .live(export)
      return perform(machine.exportFound(NBDExport(export, export.description)))
    }
    // What changed was found up to this view, and not up to another that is opened now.
    if let selection, selection.exportName == export.name, let view = selection.opened?.view {
      return viewFound(view, export, isSelected: true)
    }
    isLookingUp = true
    switch intent {
    case .describe:
      // The client asked, and does not open the export: nothing is made for it.
      export.findInstant(answeringOn: front.loop) { [self] in instantFound($0, export) }
    case .serve:
      export.openView(answeringOn: front.loop) { [self] in viewOpened($0, export) }
    }
  }

  private func viewOpened(_ result: Result<OpenedView, ExportRefusal>, _ export: Export) {
    isLookingUp = false
    switch result {
    case .failure(let refusal):
      if isClosed { return }
      answer(refusal)
    case .success(let opened):
      if isClosed { return opened.release() }
      viewFound(opened, export, isSelected: false)
    }
    process()
  }

  private func viewFound(_ opened: OpenedView, _ export: Export, isSelected: Bool) {
    found = .view(opened, export, isSelected: isSelected)
    guard let disk = opened.disk(named: export.disk.name) else {
      preconditionFailure("a view was opened for a disk that it does not show")
    }
    describe(export, disk, at: opened.view.instant)
  }

  private func instantFound(
    _ result: Result<(Timestamp, GroupDisk), ExportRefusal>, _ export: Export
  ) {
    isLookingUp = false
    if isClosed { return }
    switch result {
    case .failure(let refusal): answer(refusal)
    case .success(let (instant, disk)): describe(export, disk, at: instant)
    }
    process()
  }

  private func describe(_ export: Export, _ disk: GroupDisk, at instant: Timestamp) {
    perform(machine.exportFound(NBDExport(export, export.description(at: instant, of: disk))))
  }

  private func answer(_ refusal: ExportRefusal) {
    if let remark = refusal.remark { front.clientLog.note(remark) }
    // Most clients do not show the reason that they are sent.
    front.clientLog.note("an export was refused: \(refusal.message)")
    refuse(NBDExportRefusal(refusal))
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

  private func findContexts(_ request: NBDContextRequest) {
    if request.intent == .select { releaseSelection() }
    guard let export = export(named: request.exportName) else { return }
    switch request.intent {
    case .list:
      isLookingUp = true
      export.listContexts(request.queries, answeringOn: front.loop) { [self] in listed($0) }
    case .select: select(ContextQueries(request.queries), of: export)
    }
  }

  private func listed(_ names: [String]) {
    isLookingUp = false
    if isClosed { return }
    perform(machine.contextsFound(names))
    process()
  }

  private func select(_ queries: ContextQueries, of export: Export) {
    if queries.count > NBDLimits.maximumContexts {
      return perform(machine.contextsFound(queries.names))
    }
    isLookingUp = true
    export.selectContexts(queries, answeringOn: front.loop) { [self] in selected($0) }
  }

  private func selected(_ result: Result<SelectedContexts, ExportRefusal>) {
    isLookingUp = false
    switch result {
    case .failure(let refusal):
      if isClosed { return }
      return answer(refusal)
    case .success(let contexts):
      if isClosed { return contexts.release() }
      selection = contexts
      perform(machine.contextsFound(contexts.sources.map(\.name)))
    }
    process()
  }

  private func releaseSelection() {
    selection?.release()
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
      selection?[context.name].map {
        StatusContext(identifier: context.identifier, source: $0)
      }
    }
    // A selection for an export that was not opened after all.
    if session.contexts.isEmpty, !found.isSelected { releaseSelection() }
    let client = EnteringClient(
      transport: transport, place: place, session: session, contexts: contexts, leftover: input)
    switch found {
    case .live(let export):
      export.group.loop.post { [front, opened = selection?.opened] in
        client.serve(export.disk, of: export.group, changes: opened, front)
      }
    case .view(let view, let export, _): front.serve(client, named: export.disk.name, of: view)
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

extension NBDExport {
  fileprivate init(_ export: Export, _ description: Export.Description) {
    self.init(
      name: export.name, description: description.text, sizeBytes: description.sizeBytes,
      isReadOnly: description.isReadOnly, canMultiConn: description.isShared,
      canFastZero: description.zeroesFast)
  }
}

extension NBDExportRefusal {
  fileprivate init(_ refusal: ExportRefusal) {
    switch refusal {
    case .notPermitted(let text): self = .notPermitted(message: text)
    case .unknown, .outside, .unavailable, .hidden: self = .unknown(message: refusal.message)
    }
  }
}
