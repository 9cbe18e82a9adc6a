import BlockModel
import Configuration
import Journal
import NBDProtocol
import Storage
import SystemIO
import Volume

/// A client that has not chosen its export yet, on the front loop.
///
/// When the client enters the transmission phase, the socket and what it has sent already move to
/// the loop that owns the export. Confined to the front loop's thread.
final class HandshakeConnection: EventHandler, @unchecked Sendable {
  /// An export that was looked up and may be entered.
  private enum Found {
    case live(Group, GroupDisk)
    case view(OpenedView, GroupDisk)
  }

  private let socket: Socket
  private let front: FrontDesk
  private var machine = NBDHandshake()
  private var input: [UInt8] = []
  private var output = OutputBuffer(byteCount: 64 << 10)
  private var found: Found?
  private var isLookingUp = false
  private var closesWhenSent = false
  private(set) var isClosed = false
  let startNanoseconds = SystemClock.monotonicNanoseconds()

  init(socket: Socket, front: FrontDesk) {
    self.socket = socket
    self.front = front
  }

  func begin() {
    do throws(Errno) {
      try front.loop.add(self, socket, .readable)
    } catch { return close() }
    perform(machine.start())
  }

  override func ready(_ ready: Poller.Interest) {
    if ready.contains(.writable) { send() }
    if isClosed || ready.isDisjoint(with: [.readable, .closed]) { return }
    let arrived: [UInt8]?
    do throws(Errno) { arrived = try socket.receive(limit: 16 << 10) } catch { return close() }
    guard let piece = arrived else { return }
    if piece.isEmpty { return close() }
    input += piece
    process()
  }

  /// Feeds the machine until it needs more or waits for an answer.
  private func process() {
    while !isClosed, !isLookingUp, !input.isEmpty, !closesWhenSent {
      let (consumed, actions) = unsafe input.withUnsafeBytes { unsafe machine.receive($0) }
      if consumed == 0, actions.isEmpty { break }
      input.removeFirst(consumed)
      perform(actions)
    }
    updateInterest()
  }

  private func perform(_ actions: [NBDHandshake.Action]) {
    for action in actions where !isClosed {
      switch action {
      case .send(let bytes): output.append(bytes)
      case .listExports: perform(machine.exportsListed(front.listings))
      case .lookUpExport(let name, let intent): lookUp(name, intent)
      case .beginTransmission(let export): return hand(over: export)
      case .close(let reason):
        if let reason { front.log("handshake: \(reason)") }
        closesWhenSent = true
      }
    }
    send()
  }

  private func send() {
    if isClosed { return }
    do throws(Errno) {
      if try output.send(on: socket), closesWhenSent { return close() }
    } catch { return close() }
    updateInterest()
  }

  private func updateInterest() {
    if isClosed { return }
    var wanted: Poller.Interest = isLookingUp || closesWhenSent ? [] : .readable
    if output.pendingByteCount > 0 { wanted.insert(.writable) }
    front.loop.setInterest(self, socket, wanted)
  }

  // MARK: Look-up

  private func lookUp(_ text: String, _ intent: NBDLookUpIntent) {
    releaseFound()
    let name: ExportName
    do throws(InstantSyntaxError) { name = try ExportName(parsing: text) } catch {
      return answer(.unknown(message: "\(error)"))
    }
    guard let (group, disk) = front.disk(named: name.disk) else {
      return answer(.unknown(message: "no disk \(name.disk.quotedForMessage) at this site"))
    }
    guard let instant = name.instant else { return lookUpLive(group, disk, text) }
    isLookingUp = true
    group.loop.post { [self] in
      group.openView(instant) { [self] result in
        front.loop.post { [self] in viewOpened(result, disk, text, instant) }
      }
    }
  }

  private func lookUpLive(_ group: Group, _ disk: GroupDisk, _ name: String) {
    if group.configuration.role == .recovery {
      let message =
        "\(disk.name) is a recovery copy at this site; open \(disk.name)@latest or "
        + "\(disk.name)@INSTANT"
      return answer(.notPermitted(message: message))
    }
    found = .live(group, disk)
    perform(
      machine.exportFound(
        NBDExport(
          name: name, description: front.description(of: disk, in: group),
          sizeBytes: disk.store.byteCount, isReadOnly: false, canMultiConn: true)))
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
      found = .view(opened, disk)
      // Two connections that name a moving instant see different disks.
      let isFixed: Bool
      switch instant {
      case .at, .checkpoint: isFixed = true
      case .latest, .ago: isFixed = false
      }
      perform(
        machine.exportFound(
          NBDExport(
            name: name, description: "\(disk.name) as of \(opened.view.instant)",
            sizeBytes: disk.store.byteCount, isReadOnly: true, canMultiConn: isFixed)))
    }
    process()
  }

  private func answer(_ refusal: NBDExportRefusal) {
    // Most clients do not show the reason that they are sent.
    switch refusal {
    case .unknown(let message), .notPermitted(let message):
      front.log("an export was refused: \(message)")
    case .shuttingDown: break
    }
    perform(machine.exportRefused(refusal))
    process()
  }

  private func releaseFound() {
    if case .view(let opened, _) = found { opened.release() }
    found = nil
  }

  // MARK: Handing over

  private func hand(over export: NBDExport) {
    guard let found else { preconditionFailure("transmission without an export") }
    self.found = nil
    // The last option's reply is small: it fits the socket, unless the client does not read.
    guard (try? output.send(on: socket)) == true else {
      self.found = found
      return close()
    }
    isClosed = true
    front.loop.remove(self, socket)
    front.forget(self)
    let leftover = input
    let socket = self.socket
    let front = self.front
    switch found {
    case .live(let group, let disk):
      group.loop.post {
        let reader = SiteReader(store: disk.store, catalog: group.journal?.catalog)
        NBDConnection(
          socket: socket, leftover: leftover, loop: group.loop, target: .live(group),
          disk: disk.number, reader: reader, workers: group.workers,
          limits: NBDExportLimits(export), log: front.log
        ).begin()
      }
    case .view(let opened, let disk):
      let connection = NBDConnection(
        socket: socket, leftover: leftover, loop: front.loop,
        target: .view(opened.view, release: opened.release), disk: disk.number,
        reader: opened.view.reader(disk: disk.number), workers: front.workers,
        limits: NBDExportLimits(export), log: front.log)
      opened.onExpiry { front.loop.post { connection.close() } }
      front.adopt(connection)
      connection.begin()
    }
  }

  func close() {
    if isClosed { return }
    isClosed = true
    releaseFound()
    front.loop.remove(self, socket)
    front.forget(self)
    socket.shutDown()
  }
}
