import Handover
import SystemIO
import TestSupport
import Testing

/// Proves that the site is never lost between two processes: a new process that dies, falls silent
/// or talks nonsense in any step leaves the old one at work, and one that dies once the site is its
/// own leaves what a crash leaves.
@Suite(.scratch) struct BrokenTakerTests {
  private static let sectors = 16384

  /// How far a process comes before it ends.
  enum Step: Int, CaseIterable, CustomTestStringConvertible {
    case offered, begun, firstMessage, complete, refusing, nonsense, spokeTwice
    var testDescription: String { "\(self)" }
  }

  private static func load(_ site: Site, _ history: WriteHistory) -> WriteLoad {
    WriteLoad(site.uri("disk"), history: history)
  }

  private static func site() throws -> Site {
    let site = try Site("east", in: try ScratchDirectory())
    try site.addDisk("disk", size: sectors * 512, role: .protected)
    try site.start()
    return site
  }

  @Test func `a new process that ends in any step before the last leaves the old one at work`()
    throws
  {
    let site = try Self.site()
    let history = WriteHistory(sectors: Self.sectors)
    let load = Self.load(site, history)
    for step in Step.allCases {
      try load.makeProgress(50)
      try Taker(site).go(to: step)
      try load.makeProgress(50)
      #expect(site.isRunning, "\(step)")
    }
    #expect(load.failure == nil)
    #expect(try site.counter("connections") == 1)
    // It stood still for some of these as if it had stopped, but did not.
    try site.crash()
    try load.stop()
    try site.start()
    #expect(history.violations(in: try site.image("disk")) == [])
    #expect(try site.counter("epoch") == 2)
  }

  @Test func `a new process that falls silent is given up in time`() throws {
    let site = try Self.site()
    let history = WriteHistory(sectors: Self.sectors)
    let load = Self.load(site, history)
    try load.makeProgress(50)
    let taker = try Taker(site)
    try taker.go(to: .complete)
    // The writes are answered when the old process has had enough.
    let limit = Duration.milliseconds(HandoverLimits.openMilliseconds) + .seconds(20)
    try load.makeProgress(50, within: limit)
    let (message, _) = try taker.receive()
    guard case .refused = message else { throw RigError("it said \(message)") }
    try load.stop()
    #expect(load.failure == nil)
    #expect(history.violations(in: try site.image("disk")) == [])
  }

  @Test func `a new process that dies as the owner leaves what a crash leaves`() throws {
    let site = try Self.site()
    let history = WriteHistory(sectors: Self.sectors)
    let load = Self.load(site, history)
    try load.makeProgress(300)
    do {
      let taker = try Taker(site)
      try taker.go(to: .complete)
      try taker.send(.confirmed)
      #expect(try taker.receive().0 == .yours)
      try eventually("the old process has ended") { !site.isRunning }
      // It keeps the journals' locks and the connections for as long as it lives.
      #expect(load.failure == nil)
      let refused = try site.failToTakeOver()
      #expect(refused.status == 1)
    }
    try load.stop()
    #expect(load.failure != nil)
    try site.start()
    #expect(history.violations(in: try site.image("disk")) == [])
  }

  @Test func `two new processes at one time do not both get the site`() throws {
    let site = try Self.site()
    let first = try Taker(site)
    let second = try Taker(site)
    try first.go(to: .complete)
    try second.send(.begin)
    guard case .refused = try second.receive().0 else { throw RigError("it was not refused") }
    try first.send(.confirmed)
    #expect(try first.receive().0 == .yours)
  }

  @Test func `a process of another version is refused before anything is stopped`() throws {
    let site = try Self.site()
    let refusal = #expect(throws: RigError.self) { try Taker(site, versions: [0, 1, 99]) }
    #expect(refusal?.description.contains("hands over in version 2") ?? false)
    #expect(site.isRunning)
  }
}

/// A process that wants to take a site's place, as far as the messages go. Everything that it has
/// received is let go of with it.
private final class Taker {
  private let channel: HandoverChannel
  private var taker = HandoverChannel.Taker()

  /// - Throws: `RigError` with the site's words when it does not offer itself.
  init(_ site: Site, versions: [Int] = [2]) throws {
    let path = String(site.configuration.control.dropFirst("unix:".count))
    let socket = try Socket.connect(to: .unix(path: path))
    let request = #"{"command":"hand-over","versions":\#(versions)}"# + "\n"
    try unsafe Array(request.utf8).withUnsafeBytes { try unsafe socket.sendAll($0) }
    var line: [UInt8] = []
    while line.last != UInt8(ascii: "\n") {
      guard let piece = try socket.receive(limit: 1), !piece.isEmpty else { break }
      line += piece
    }
    let reply = String(decoding: line, as: UTF8.self)
    guard reply.contains(#""ok":true"#) else { throw RigError(reply) }
    channel = try HandoverChannel(socket)
  }

  private var deadline: UInt64 { HandoverChannel.deadline(milliseconds: 20_000) }

  func send(_ message: HandoverMessage) throws { try channel.send(message, deadline: deadline) }

  @discardableResult
  func receive() throws -> (HandoverMessage, HandoverChannel.Taker.Attachment) {
    try channel.receive(deadline: deadline)
  }

  func go(to step: BrokenTakerTests.Step) throws {
    if step == .offered { return }
    try send(.begin)
    if step == .begun { return }
    if step == .spokeTwice { try send(.begin) }
    while taker.state == .receiving {
      let (message, attachment) = try receive()
      if case .refused = message, step == .spokeTwice { return }
      try taker.receive(message, attachment)
      if step == .firstMessage { return }
    }
    switch step {
    case .refusing: try send(.refused(reason: "not today"))
    case .nonsense: try send(.yours)
    default: break
    }
  }
}
