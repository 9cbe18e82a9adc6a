import Glibc

/// What lies between the machines. Bytes of one connection arrive in order, each piece after a
/// delay; a connection may break at any byte.
public final class Network {
  /// How long a piece is under way between two machines; within one, it arrives at once.
  public var latencyNanoseconds: ClosedRange<UInt64> = 20_000...200_000
  /// How much may be under way in one direction of a connection.
  public var bufferBytes = 256 << 10
  /// How often a transfer takes only a part of what there is.
  public var shortTransfer = 0.05

  private struct Route: Equatable {
    let from: String
    let to: String
  }

  private var held: [Route] = []
  /// When each of them began.
  private var heldSince: [UInt64] = []
  var listeners: [SocketName: OpenSocket] = [:]
  /// Unix sockets whose files exist, with or without a listener: the inode by path.
  var socketFiles: [String: UInt64] = [:]
  var lastSocketInode: UInt64 = 1 << 32
  private var connections: [(OpenSocket, OpenSocket)] = []

  init() {}

  /// Nothing arrives in this direction until `heal`; what is sent waits.
  public func partition(from: String, to: String) {
    Simulation.running.trace("network: nothing arrives from \(from) at \(to)")
    held.append(Route(from: from, to: to))
    heldSince.append(Simulation.running.now)
  }

  /// For how long nothing has arrived in this direction, but what was under way; 0: it does.
  public func silence(from: String, to: String) -> UInt64 {
    guard let index = held.firstIndex(of: Route(from: from, to: to)) else { return 0 }
    return Simulation.running.now - heldSince[index]
  }

  public func heal() {
    guard !held.isEmpty else { return }
    Simulation.running.trace("network: whole again")
    held = []
    heldSince = []
    Simulation.running.noteChange()
  }

  /// Breaks all connections between the two machines, each at some byte of what is under way.
  public func cut(_ first: String, _ second: String) {
    for (a, b) in connections where Set([a.machine, b.machine]) == Set([first, second]) {
      guard !a.isReset else { continue }
      Simulation.running.trace("network: connection between \(first) and \(second) breaks")
      a.reset()
      b.reset()
    }
    connections.removeAll { $0.0.isReset }
  }

  var holdsAnything: Bool { !held.isEmpty }

  func isHeld(from: String, to: String) -> Bool {
    !held.isEmpty && held.contains(Route(from: from, to: to))
  }

  /// Nobody can connect.
  func isHeld(between first: String, and second: String) -> Bool {
    isHeld(from: first, to: second) || isHeld(from: second, to: first)
  }

  func add(_ a: OpenSocket, _ b: OpenSocket) {
    connections.removeAll { $0.0.isReset || $0.0.references == 0 && $0.1.references == 0 }
    connections.append((a, b))
  }
}

enum SocketName: Hashable {
  case unix(String)
  case port(UInt16)
}

/// One direction of a connection.
final class Pipe {
  private struct Piece {
    let arrival: UInt64
    var bytes: ArraySlice<UInt8>
  }

  let from: String
  let to: String
  /// Asked again and again whether something is ready, so it answers at small cost.
  private let simulation: Simulation
  private let network: Network
  private var pieces: [Piece] = []
  private(set) var byteCount = 0
  private var lastArrival: UInt64 = 0
  private var writerEnd: UInt64?
  private(set) var isReaderGone = false
  /// After what is left, reading fails.
  private(set) var isReset = false

  init(from: String, to: String) {
    self.from = from
    self.to = to
    simulation = Simulation.running
    network = simulation.network
  }

  private var isHeld: Bool { network.holdsAnything && network.isHeld(from: from, to: to) }

  private var hasArrived: Bool {
    !pieces.isEmpty && pieces[0].arrival <= simulation.now && !isHeld
  }

  private var endHasArrived: Bool {
    guard pieces.isEmpty, let end = writerEnd else { return false }
    return end <= simulation.now && !isHeld
  }

  /// A read would not wait.
  var isReady: Bool { hasArrived || endHasArrived || pieces.isEmpty && isReset || isReaderGone }

  var room: Int { max(0, network.bufferBytes - byteCount) }
  var isRefusing: Bool { isReset || isReaderGone || writerEnd != nil }

  private func arrival() -> UInt64 {
    if from == to { return simulation.now }
    let range = network.latencyNanoseconds
    let delay =
      range.lowerBound
      + UInt64(simulation.random.below(Int(range.upperBound - range.lowerBound) + 1))
    lastArrival = max(lastArrival, simulation.now + delay)
    simulation.noteChange(at: lastArrival)
    return lastArrival
  }

  func send(_ bytes: [UInt8]) {
    pieces.append(Piece(arrival: arrival(), bytes: bytes[...]))
    byteCount += bytes.count
    simulation.noteChange()
  }

  enum Received {
    case bytes(ArraySlice<UInt8>)
    case end
    case reset
    case nothing
  }

  func receive(_ limit: Int) -> Received {
    if isReaderGone { return .end }
    if hasArrived {
      let count = min(limit, pieces[0].bytes.count)
      let taken = pieces[0].bytes.prefix(count)
      pieces[0].bytes = pieces[0].bytes.dropFirst(count)
      if pieces[0].bytes.isEmpty { pieces.removeFirst() }
      byteCount -= count
      simulation.noteChange()
      return .bytes(taken)
    }
    if pieces.isEmpty, isReset { return .reset }
    return endHasArrived ? .end : .nothing
  }

  func endWriting() {
    if writerEnd == nil { writerEnd = arrival() }
    simulation.noteChange()
  }

  func endReading() {
    isReaderGone = true
    pieces = []
    byteCount = 0
    simulation.noteChange()
  }

  /// What is under way is lost from some byte on.
  func reset() {
    isReset = true
    var kept = simulation.random.below(byteCount + 1)
    var left: [Piece] = []
    for piece in pieces where kept > 0 {
      let bytes = piece.bytes.prefix(kept)
      kept -= bytes.count
      left.append(Piece(arrival: piece.arrival, bytes: bytes))
    }
    pieces = left
    byteCount = left.reduce(0) { $0 + $1.bytes.count }
    simulation.noteChange()
  }
}

/// A stream socket.
final class OpenSocket: OpenObject {
  let machine: String
  var name: SocketName?
  var isListening = false
  /// Connected, and not accepted yet.
  var backlog: [OpenSocket] = []
  var incoming: Pipe?
  var outgoing: Pipe?
  /// Nonblocking, and still on the way to this listener.
  var target: OpenSocket?
  /// SO_RCVTIMEO and SO_SNDTIMEO.
  var timeoutNanoseconds: UInt64?

  init(machine: String) { self.machine = machine }

  var isReset: Bool { incoming?.isReset ?? false }

  override var isReadable: Bool { isListening ? !backlog.isEmpty : incoming?.isReady ?? false }

  override var isWritable: Bool {
    if let target {
      return !Simulation.running.network.isHeld(between: machine, and: target.machine)
    }
    guard let outgoing else { return false }
    return outgoing.room > 0 || outgoing.isRefusing
  }

  override var isBroken: Bool {
    guard let incoming, let outgoing else { return target == nil && name == nil }
    return incoming.isReset || incoming.isReaderGone || outgoing.isReaderGone
  }

  func reset() {
    incoming?.reset()
  }

  /// How connecting has ended, as SO_ERROR says it.
  func finishConnecting() -> Int32 {
    guard let target else { return outgoing == nil ? ECONNRESET : 0 }
    guard isWritable else { return 0 }
    self.target = nil
    // It may have been closed meanwhile.
    guard target.references > 0 else { return ECONNREFUSED }
    OpenSocket.connect(self, to: target)
    return 0
  }

  func shutDown() {
    target = nil
    outgoing?.endWriting()
    incoming?.endReading()
  }

  override func lastClose() {
    if isListening, let name {
      Simulation.running.network.listeners[name] = nil
      for waiting in backlog { waiting.shutDown() }
    }
    shutDown()
  }

  static func connect(_ client: OpenSocket, to listener: OpenSocket) {
    let server = OpenSocket(machine: listener.machine)
    let there = Pipe(from: client.machine, to: server.machine)
    let back = Pipe(from: server.machine, to: client.machine)
    client.outgoing = there
    client.incoming = back
    server.incoming = there
    server.outgoing = back
    listener.backlog.append(server)
    let simulation = Simulation.running
    simulation.network.add(client, server)
    simulation.noteChange()
  }
}
