import Handover
import NBDProtocol
import Testing

/// Proves the order of a hand-over on both sides as values: the site changes hands at one message,
/// and whatever goes wrong before it, in any step, leaves it where it was.
struct HandoverStepsTests {
  typealias Action = HandoverGiver.Action
  typealias Event = HandoverGiver.Event

  private static let way: [(Event, Action, HandoverGiver.State)] = [
    (.begun, .settle, .settling), (.done, .pause, .pausing), (.done, .present, .presenting),
    (.done, .awaitConfirmation, .confirming), (.confirmed, .release, .releasing),
    (.done, .leave, .released),
  ]

  /// A giver that has come so many steps of the way.
  private func giver(after steps: Int) -> HandoverGiver {
    var giver = HandoverGiver()
    for (event, action, state) in Self.way.prefix(steps) {
      #expect(giver.handle(event) == action)
      #expect(giver.state == state)
    }
    return giver
  }

  @Test func `step follows step until the site is the other's`() {
    #expect(giver(after: Self.way.count).state == .released)
  }

  @Test(arguments: 0..<6)
  func `a failure in any step before the last keeps the site`(steps: Int) {
    var giver = giver(after: steps)
    #expect(giver.handle(.failed("why")) == .keep(reason: "why", wasStopped: steps > 0))
    #expect(giver.state == .kept)
  }

  @Test(arguments: 0..<6, [Event.begun, .done, .confirmed])
  func `what comes out of turn keeps the site`(steps: Int, event: Event) {
    if event == Self.way[steps].0 { return }
    var giver = giver(after: steps)
    guard case .keep(_, let wasStopped) = giver.handle(event) else {
      Issue.record("\(event) after \(steps) steps is taken")
      return
    }
    #expect(wasStopped == (steps > 0))
  }

  @Test(arguments: [Event.begun, .done, .confirmed, .failed("late")])
  func `who has let go only leaves`(event: Event) {
    var giver = giver(after: Self.way.count)
    #expect(giver.handle(event) == .leave)
    #expect(giver.state == .released)
  }

  @Test(arguments: [Event.begun, .done, .confirmed, .failed("again")])
  func `who has kept the site does not let go of it any more`(event: Event) {
    var giver = giver(after: 3)
    _ = giver.handle(.failed("first"))
    guard case .keep(_, wasStopped: false) = giver.handle(event) else {
      Issue.record("\(event) is taken after the site was kept")
      return
    }
  }

  // MARK: The other side

  private typealias Taker = HandoverTaker<Int, String>

  private static let connection = ConnectionState(
    group: "g", disk: "d", instant: nil,
    session: NBDSession(
      export: NBDExport(name: "d", sizeBytes: 512, isReadOnly: false, canMultiConn: true)),
    input: [1], output: [])

  /// A taker that has received one thing of each kind.
  private func filled() throws -> Taker {
    var taker = Taker()
    try taker.receive(
      .listener(HandoverListener(kind: "nbd", address: "unix:/a", isActivated: false)), .socket(3))
    try taker.receive(.file(path: "/lock"), .file("lock"))
    try taker.receive(.group(HandoverGroup(name: "g", isOpen: true, completeThrough: 7)), .none)
    try taker.receive(.connection(Self.connection), .socket(4))
    return taker
  }

  private static let counts = HandoverCounts(listeners: 1, files: 1, groups: 1, connections: 1)

  @Test func `a taker keeps what came with each message and ends as the owner`() throws {
    var taker = try filled()
    try taker.receive(.complete(Self.counts), .none)
    #expect(taker.state == .complete)
    taker.confirm()
    try taker.receive(.yours, .none)
    #expect(taker.state == .owner)
    #expect(taker.inventory.connections.map(\.socket) == [4])
    #expect(taker.inventory.connections.map(\.state) == [Self.connection])
    #expect(taker.inventory.listeners.map(\.socket) == [3])
    #expect(taker.inventory.files.map(\.file) == ["lock"])
  }

  @Test func `a taker that misses something does not go on`() throws {
    var taker = try filled()
    let more = HandoverCounts(listeners: 1, files: 1, groups: 1, connections: 2)
    #expect(throws: HandoverError.self) { try taker.receive(.complete(more), .none) }
  }

  @Test(arguments: [
    HandoverMessage.yours, .begin, .confirmed, .file(path: "/x"), .connection(connection),
  ])
  func `a taker refuses what comes out of turn or without its descriptor`(
    message: HandoverMessage
  ) throws {
    var early = try filled()
    #expect(throws: HandoverError.self) { try early.receive(message, .none) }
    var late = try filled()
    try late.receive(.complete(Self.counts), .none)
    #expect(throws: HandoverError.self) { try late.receive(message, .none) }
  }

  @Test(arguments: 0..<3) func `a taker hears a refusal at any time`(steps: Int) throws {
    var taker = try filled()
    if steps > 0 { try taker.receive(.complete(Self.counts), .none) }
    if steps > 1 { taker.confirm() }
    #expect(throws: HandoverError.refused("no")) {
      try taker.receive(.refused(reason: "no"), .none)
    }
    #expect(taker.state != .owner)
  }
}
