import BlockModel
import SystemIO
import Testing

@testable import Journal
@testable import Replication

/// Proves what the sending end of a link does in each of its states with whatever may happen, and
/// when it sends: at once what is waited for and the first record after a rest, else in batches.
@Suite struct SendingLinkTests {
  // MARK: States

  enum State: String, CaseIterable {
    case stopped, connecting, agreeing, comparing, checking, streaming, parting, waiting

    init?(_ phase: SendingScene.Link.Phase) {
      let name = "\(phase)".prefix { $0.isLetter }
      self.init(rawValue: String(name))
    }
  }

  enum Happening: String, CaseIterable {
    case start, connected, lost, welcomed, alive, refused, drained, early, late, grown, detached,
      awaited, worked, stop
  }

  private func scene(_ state: State) throws -> SendingScene {
    let scene = try SendingScene()
    try scene.write()
    switch state {
    case .stopped: break
    case .connecting: scene.handle(.start)
    case .agreeing:
      scene.handle(.start)
      scene.handle(.connected)
    case .comparing:
      scene.handle(.start)
      scene.handle(.connected)
      scene.arrive(.welcome, scene.welcome().encoded())
    case .checking:
      scene.handle(.start)
      scene.handle(.connected)
      _ = scene.arriveAndCompare(scene.welcome())
    case .streaming: scene.stream()
    case .parting:
      scene.handle(.start)
      scene.handle(.connected)
      _ = scene.arriveAndCompare(scene.foreignWelcome)
    case .waiting:
      scene.handle(.start)
      scene.handle(.disconnected(.network("gone")))
    }
    return scene
  }

  private func happen(_ happening: Happening, in scene: SendingScene) {
    switch happening {
    case .start: scene.handle(.start)
    case .connected: scene.handle(.connected)
    case .lost: scene.handle(.disconnected(.network("lost")))
    case .welcomed: scene.arrive(.welcome, scene.welcome().encoded())
    case .alive: scene.arrive(.alive)
    case .refused: scene.arrive(.refused, Array("no".utf8))
    case .drained: scene.drain()
    case .early: scene.handle(.time)
    case .late:
      scene.pass(milliseconds: scene.milliseconds ?? 60_000)
      scene.handle(.time)
    case .grown: scene.handle(.grown)
    case .detached: scene.handle(.detached)
    case .awaited: scene.handle(.awaited)
    case .worked: scene.finishWork()
    case .stop: scene.handle(.stop)
    }
  }

  /// What ends a state; everything else leaves it as it is.
  private static let transitions: [State: [Happening: State]] = [
    .stopped: [.start: .connecting],
    .connecting: [.connected: .agreeing, .lost: .waiting, .late: .waiting, .stop: .stopped],
    .agreeing: [
      .welcomed: .comparing, .lost: .waiting, .refused: .waiting, .late: .waiting, .stop: .stopped,
    ],
    .comparing: [
      .worked: .checking, .welcomed: .waiting, .lost: .waiting, .refused: .waiting,
      .late: .waiting, .stop: .stopped,
    ],
    .checking: [
      .worked: .streaming, .lost: .waiting, .refused: .waiting, .late: .waiting, .stop: .stopped,
    ],
    .streaming: [.lost: .waiting, .refused: .waiting, .stop: .stopped],
    .parting: [.lost: .waiting, .late: .waiting, .stop: .stopped],
    .waiting: [.late: .connecting, .awaited: .connecting, .stop: .stopped],
  ]

  @Test(arguments: State.allCases)
  func `in each state everything that may happen has its outcome`(state: State) throws {
    for happening in Happening.allCases {
      let scene = try scene(state)
      #expect(State(scene.phase) == state)
      happen(happening, in: scene)
      let expected = Self.transitions[state]?[happening] ?? state
      #expect(State(scene.phase) == expected, "\(state), \(happening)")
    }
  }

  @Test func `a state that time ends says when`() throws {
    let limits: [State: UInt64?] = [
      .stopped: nil, .connecting: 10_000, .agreeing: 30_000, .comparing: 15_000,
      .checking: 15_000, .parting: 5_000, .waiting: 50,
    ]
    for (state, limit) in limits {
      #expect(try scene(state).milliseconds == limit, "\(state)")
    }
  }

  @Test func `what is sent ends with the connection`() throws {
    let scene = try scene(.streaming)
    try scene.write()
    scene.pass(milliseconds: 50)
    #expect(scene.handle(.grown) == ["records"])
    #expect(scene.handle(.disconnected(.network("lost"))) == ["close"])
    #expect(scene.link.monitor.snapshot.detail == "lost")
  }

  @Test func `a follower that is detached loses its connection, also while it takes nothing`()
    throws
  {
    let scene = try scene(.streaming)
    try scene.write()
    scene.pass(milliseconds: 50)
    #expect(scene.handle(.grown) == ["records"])
    scene.follower.detach()
    #expect(scene.handle(.detached) == ["close"])
    #expect(scene.link.monitor.snapshot.detail.contains("further behind"))
  }

  // MARK: Connecting

  @Test func `pauses between attempts grow to two seconds, and begin anew after a session`()
    throws
  {
    let scene = try scene(.connecting)
    var pauses: [UInt64] = []
    func lose() {
      scene.handle(.disconnected(.network("no")))
      pauses.append(scene.milliseconds ?? 0)
      scene.pass(milliseconds: scene.milliseconds ?? 0)
      #expect(scene.handle(.time) == ["connect"])
    }
    for _ in 0..<7 { lose() }
    #expect(pauses == [50, 100, 200, 400, 800, 1600, 2000])
    scene.handle(.connected)
    _ = scene.drainAll()
    _ = scene.arriveAndCompare(scene.welcome())
    scene.finishWork()
    lose()
    #expect(pauses.last == 50)
  }

  /// The peer agrees, and refuses what is sent then, each time.
  @Test func `what a peer refuses again stands meanwhile, and is tried every two seconds`() throws {
    let scene = try scene(.streaming)
    var pauses: [UInt64] = []
    for _ in 0..<8 {
      scene.arrive(.refused, Array("no place".utf8))
      pauses.append(scene.milliseconds ?? 0)
      scene.pass(milliseconds: scene.milliseconds ?? 0)
      #expect(scene.handle(.time) == ["connect"])
      scene.agree()
      let snapshot = scene.link.monitor.snapshot
      #expect(snapshot.state == .refused && snapshot.detail.contains("no place"))
      #expect(snapshot.reconnectCount == 1)
    }
    #expect(pauses == [50, 100, 200, 400, 800, 1600, 2000, 2000])
    // It has nothing more; then it has.
    scene.report(0)
    #expect(scene.link.monitor.snapshot.state == .refused)
    scene.report(1)
    let snapshot = scene.link.monitor.snapshot
    #expect(snapshot.state == .connected && snapshot.detail.isEmpty)
  }

  @Test func `what a peer refused is over once it says that it is there`() throws {
    for (needsCopy, state) in [(false, LinkMonitor.State.connected), (true, .syncing)] {
      let scene = try scene(.streaming)
      scene.arrive(.refused, Array("no place".utf8))
      scene.pass(milliseconds: scene.milliseconds ?? 0)
      scene.handle(.time)
      scene.agree(needsBaseline: needsCopy)
      #expect(scene.link.monitor.snapshot.state == .refused)
      scene.arrive(.alive)
      #expect(scene.link.monitor.snapshot.state == state)
    }
  }

  @Test func `a peer that is asked twice to go back is given up`() throws {
    let scene = try scene(.agreeing)
    _ = scene.drainAll()
    var ahead = scene.welcome()
    ahead.lineage = scene.folder.journal.lineage
    ahead.last = LastRecord(SequenceNumber(9), Timestamp(rawValue: 9))
    #expect(scene.arriveAndCompare(ahead) == ["cut"])
    _ = scene.drainAll()
    #expect(scene.arriveAndCompare(ahead) == ["close"])
    #expect(scene.link.monitor.snapshot.detail.contains("did not go back"))
  }

  @Test func `another site under the peer's address is refused`() throws {
    let scene = try scene(.agreeing)
    #expect(scene.arrive(.welcome, scene.welcome(site: "south").encoded()) == ["close"])
    #expect(scene.link.monitor.snapshot.state == .refused)
  }

  /// What it takes from the disks then would count as sent.
  @Test func `work that outlives its connection ends before there is another`() throws {
    let scene = try scene(.agreeing)
    _ = scene.drainAll()
    scene.arrive(.welcome, scene.welcome(needsBaseline: true).encoded())
    #expect(scene.drain() == ["work"])
    scene.handle(.disconnected(.network("lost")))
    #expect(scene.milliseconds == nil)
    scene.pass(milliseconds: 5000)
    #expect(scene.handle(.time) == [] && scene.handle(.awaited) == [])
    #expect(scene.finishWork() == ["connect"])
  }

  // MARK: Copying

  /// Where apply is as fast as that, another segment would be looked at each time.
  @Test func `records follow a copy from the segment that was looked at`() throws {
    let scene = try scene(.agreeing)
    _ = scene.drainAll()
    var done = scene.arrive(.welcome, scene.welcome(needsBaseline: true).encoded())
    while !done.contains("baselineConfirm") {
      done = scene.pending.isEmpty ? scene.finishWork() : scene.drain()
    }
    scene.drain()
    #expect(scene.arrive(.baselineStored, argument: .max) == ["work"])
    // Meanwhile apply reaches the next segment.
    let journal = scene.folder.journal
    while journal.segmentCount < 2 { try scene.write(16_000) }
    journal.applyCompleted(through: journal.appended)
    try scene.write()
    #expect(scene.finishWork() == ["baselineBegin"])
    #expect(scene.follower.durable == .none)
  }

  // MARK: Silence

  @Test func `a peer that says nothing is given up after 15 s`() throws {
    let scene = try scene(.streaming)
    for _ in 0..<3 {
      scene.pass(milliseconds: 14_000)
      scene.arrive(.alive)
    }
    scene.pass(milliseconds: 14_999)
    scene.handle(.time)
    #expect(State(scene.phase) == .streaming)
    _ = scene.drainAll()
    scene.pass(milliseconds: 1)
    scene.handle(.time)
    #expect(scene.link.monitor.snapshot.detail == "the peer said nothing for 15 s")
  }

  @Test func `a peer that takes nothing and says that it is busy is waited for`() throws {
    let scene = try scene(.streaming)
    try scene.write()
    scene.pass(milliseconds: 50)
    #expect(scene.handle(.grown) == ["records"])
    for _ in 0..<30 {
      scene.pass(milliseconds: 10_000)
      scene.handle(.time)
      scene.arrive(.alive)
    }
    // One that takes something says by that that it is there.
    for _ in 0..<3 {
      scene.pass(milliseconds: 10_000)
      scene.handle(.time)
      scene.handle(.taken)
    }
    #expect(State(scene.phase) == .streaming)
    #expect(scene.milliseconds == 15_000)
    scene.pass(milliseconds: 15_000)
    scene.handle(.time)
    #expect(
      scene.link.monitor.snapshot.detail == "the peer took nothing, and said nothing, for 15 s")
  }

  /// Its loop was kept by another link: what the peer said is still to be read.
  @Test func `what was not read yet is no silence`() throws {
    let scene = try scene(.streaming)
    scene.pass(milliseconds: 20_000)
    for event in [SendingScene.Link.Event.grown, .time] {
      scene.handle(event, readMillisecondsAgo: 20_000)
      #expect(State(scene.phase) == .streaming)
    }
    scene.arrive(.alive)
    _ = scene.drainAll()
    #expect(State(scene.phase) == .streaming)
    scene.pass(milliseconds: 15_000)
    scene.handle(.time)
    #expect(State(scene.phase) == .waiting)
  }

  // MARK: Batches

  @Test func `the first record after a rest is sent at once, and those that follow wait`() throws {
    let scene = try scene(.streaming)
    scene.pass(milliseconds: 50)
    scene.handle(.time)
    _ = scene.drainAll()
    try scene.write()
    #expect(scene.handle(.grown) == ["records"])
    for _ in 0..<5 {
      try scene.write()
      #expect(scene.drain() == [] && scene.handle(.grown) == [])
    }
    #expect(scene.milliseconds == 20)
    scene.pass(milliseconds: 20)
    #expect(scene.handle(.time) == ["records"])
  }

  /// The peer is waited for: in a moment the journal may grow no more.
  @Test func `what is waited for does not wait for more`() throws {
    let scene = try scene(.streaming)
    scene.pass(milliseconds: 50)
    for _ in 0..<2 { try scene.write() }
    scene.handle(.grown)
    scene.drain()
    try scene.write()
    #expect(scene.handle(.awaited) == ["records"])
    try scene.write()
    // Until the peer has what there was when it was asked for.
    #expect(scene.drain() == ["records"])
    scene.report(4)
    _ = scene.drainAll()
    try scene.write()
    #expect(scene.handle(.grown) == [] && scene.milliseconds == 20)
  }

  @Test func `large batches follow each other without a pause`() throws {
    let scene = try SendingScene()
    scene.stream()
    scene.pass(milliseconds: 50)
    // Segments are smaller than a large batch: what is left of one is not waited for.
    for _ in 0..<12 { try scene.write(20_000) }
    var sent = scene.handle(.grown)
    sent += scene.drainAll()
    #expect(sent.count { $0 == "records" } >= 4)
    #expect(scene.link.monitor.snapshot.sentByteCount > 200_000)
  }

  /// A record that is longer than what is left of a chunk is in the next, which is there already.
  @Test func `a small part that is followed by more waits for nothing`() throws {
    let scene = try SendingScene(segmentByteCount: 8 << 20)
    scene.stream()
    scene.pass(milliseconds: 50)
    try scene.write()
    #expect(scene.handle(.grown).contains("records"))
    // What follows is compressed.
    scene.drain(hasWaited: true)
    scene.pass(milliseconds: 20)
    scene.handle(.time)
    _ = scene.drainAll()
    for byteCount in [8000, 1 << 20, 1 << 20] { try scene.write(byteCount) }
    #expect(scene.handle(.grown) == ["compressedRecords"])
    for _ in 0..<2 { #expect(scene.drain() == ["compressedRecords"]) }
  }

  @Test func `heartbeats come ten times a second while there is nothing else`() throws {
    let scene = try scene(.streaming)
    var count = 0
    for _ in 0..<100 {
      scene.pass(milliseconds: 10)
      count += scene.handle(.time).count { $0 == "heartbeat" }
      scene.drain()
      if scene.now % 500_000_000 == 0 { scene.arrive(.alive) }
    }
    #expect((9...11).contains(count), "\(count)")
  }

  /// Otherwise each write would cost the guest's loop a call.
  @Test func `the journal is asked to tell of growth only when nothing is left and no pause runs`()
    throws
  {
    let scene = try scene(.streaming)
    var told = 0
    let counter = Counter()
    scene.follower.setOnGrowth { counter.add() }
    for _ in 0..<50 {
      try scene.write()
      scene.followers.signal.notify()
      if counter.take() {
        told += 1
        scene.handle(.grown)
      }
      _ = scene.drainAll()
      scene.pass(milliseconds: 1)
      if scene.milliseconds == 0 { scene.handle(.time) }
    }
    #expect(told <= 1)
  }
}

private final class Counter: Sendable {
  private let count = Monitor(0)
  func add() { count.update { $0 += 1 } }
  func take() -> Bool {
    count.update { count in
      defer { count = 0 }
      return count > 0
    }
  }
}
