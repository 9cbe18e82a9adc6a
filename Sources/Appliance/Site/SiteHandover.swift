import Configuration
import Handover
import Synchronization
import SystemIO

extension Site {
  public func handoverOffer(version: UInt16) -> HandoverOffer {
    turn.take { present.withLock { $0 } }.handoverOffer(version: version)
  }

  /// Lets another process take this one's place, over a channel on which it was told the offer.
  /// Blocks, with bounds (`HandoverLimits`).
  ///
  /// When it returns true, the other process has the site: its journals, its listeners and its
  /// clients. This process must then end, at once and without stopping the site. When it returns
  /// false, the site goes on as if nothing had been asked.
  ///
  /// - Parameter control: the listener that is not the site's own.
  public func handOver(over channel: HandoverChannel, control: ListeningSocket?) -> Bool {
    var driver = HandoverDriver(site: self, channel: channel, control: control)
    var event = driver.awaitBegin()
    var isFirst = false
    if event == .begun {
      // Behind a command that is under way; those to come see it.
      isFirst = turn.take {
        isHandingOver.compareExchange(
          expected: false, desired: true, ordering: .acquiringAndReleasing
        ).exchanged
      }
      if !isFirst { event = .failed("another process is taking this site's place right now") }
    }
    let isGone = driver.run(event)
    if isFirst, !isGone { isHandingOver.store(false, ordering: .releasing) }
    return isGone
  }
}

/// Does what `HandoverGiver` decides: the I/O and the waiting of the side that lets go.
private struct HandoverDriver {
  let site: Site
  let channel: HandoverChannel
  let control: ListeningSocket?
  var giver = HandoverGiver()
  var front: StandingFront?
  var connections: [HandedConnection] = []
  var areLinksSuspended = false
  var pauseStart: UInt64 = 0
  /// Of the steps at hand.
  var deadline: UInt64 = 0

  mutating func awaitBegin() -> HandoverGiver.Event {
    deadline = HandoverChannel.deadline(milliseconds: HandoverLimits.askMilliseconds)
    return awaitMessage(.begin, .begun)
  }

  /// True when the site is the other process's.
  mutating func run(_ event: HandoverGiver.Event) -> Bool {
    var action = giver.handle(event)
    while true {
      switch action {
      case .settle:
        site.log("another process takes this site's place")
        deadline = HandoverChannel.deadline(milliseconds: HandoverLimits.settleMilliseconds)
        action = giver.handle(settle())
      case .pause:
        waitForHandshakes()
        pauseStart = SystemClock.monotonicNanoseconds()
        deadline = HandoverChannel.deadline(milliseconds: HandoverLimits.pauseMilliseconds)
        action = giver.handle(pause())
      case .present:
        deadline = HandoverChannel.deadline(milliseconds: HandoverLimits.openMilliseconds)
        action = giver.handle(Self.event { () throws(HandoverError) in try present() })
      case .awaitConfirmation:
        action = giver.handle(awaitMessage(.confirmed, .confirmed))
      case .release:
        deadline = HandoverChannel.deadline(milliseconds: HandoverLimits.farewellMilliseconds)
        action = giver.handle(Self.event { () throws(HandoverError) in try release() })
      case .leave:
        leave()
        return true
      case .keep(let reason, let wasStopped):
        keep(reason, wasStopped)
        return false
      }
    }
  }

  // MARK: Steps

  /// Groups that are closed stay so: the other process tries to open them when it serves.
  private func settle() -> HandoverGiver.Event {
    for host in site.allHosts {
      let now = SystemClock.monotonicNanoseconds()
      let left = deadline > now ? (deadline - now) / 1_000_000 : 0
      guard host.hold(milliseconds: left) else {
        return .failed("group \(host.name) is just being opened")
      }
    }
    return askGroups("work in the background did not end in time") { $0.settle($1) }
  }

  /// Whoever is on the way to a disk arrives there, and goes over with it.
  private func waitForHandshakes() {
    let end = HandoverChannel.deadline(milliseconds: HandoverLimits.handshakeMilliseconds)
    let (desk, door) = (site.front, site.door)
    while SystemClock.monotonicNanoseconds() < end, !channel.hasNews {
      let isQuiet = site.ask(desk.loop) { answer in
        desk.stopAccepting()
        door.stopAccepting()
        answer(desk.handshakes.isEmpty)
      }
      if isQuiet == true { return }
      Thread.sleep(milliseconds: 1)
    }
  }

  /// First the front desk, so that no connection comes to a group that has stopped.
  private mutating func pause() -> HandoverGiver.Event {
    while front == nil {
      do throws(Errno) {
        front = try StandingFront.stop(site)
      } catch { return .failed("\(error)") }
      if front != nil { break }
      if let news = news() { return news }
      guard SystemClock.monotonicNanoseconds() < deadline else {
        return .failed("reads of views did not end in time")
      }
      Thread.sleep(milliseconds: 1)
    }
    return askGroups("requests under way did not end in time") { $0.pause($1) }
  }

  private mutating func release() throws(HandoverError) {
    // A peer must not hear two processes: this one would take back what the other sends.
    areLinksSuspended = true
    for link in site.allHosts.flatMap(\.links) { link.suspend() }
    try channel.send(.yours, deadline: deadline)
  }

  private mutating func present() throws(HandoverError) {
    var counts = HandoverCounts()
    for listener in site.listening + [control].compactMap({ $0 }) {
      try channel.send(
        .listener(
          HandoverListener(
            kind: listener.identity.kind.rawValue, address: "\(listener.identity.address)",
            isActivated: listener.isActivated)),
        with: listener.socket.rawDescriptor, deadline: deadline)
      counts.listeners += 1
    }
    for file in site.lockedFiles {
      try channel.send(.file(path: file.path), with: file.rawDescriptor, deadline: deadline)
      counts.files += 1
    }
    connections = front?.connections ?? []
    for host in site.allHosts {
      try channel.send(.group(try present(host)), deadline: deadline)
      counts.groups += 1
    }
    for connection in connections {
      try channel.send(
        .connection(connection.state), with: connection.socket.rawDescriptor, deadline: deadline)
    }
    counts.connections = connections.count
    try channel.send(.complete(counts), deadline: deadline)
  }

  /// The group's connections go to the others.
  private mutating func present(_ host: GroupHost) throws(HandoverError) -> HandoverGroup {
    if let group = host.group {
      let answer = site.ask(group.loop) { done in
        done((group.handedState, group.handOverConnections()))
      }
      guard let (state, handed) = answer else { throw .timedOut }
      connections += handed
      return state
    }
    let site = self.site
    let memory = host.memoryToHand { loop, group in site.ask(loop) { $0(group.memory) } }
    guard let memory else { throw .timedOut }
    return memory.handed(host.name, isOpen: false)
  }

  /// The point of no return is behind: only what the other process did not get is touched.
  private func leave() {
    let milliseconds = (SystemClock.monotonicNanoseconds() - pauseStart) / 1_000_000
    site.log(
      "another process has the site, with \(connections.count) connections; guests waited "
        + "\(milliseconds) ms for it so far")
    for group in site.groups {
      site.ask(group.loop, timeoutMilliseconds: Self.farewellMilliseconds) { done in
        // Those that it did not get: their clients connect again.
        group.closeConnections()
        group.closeReceiver()
        done(())
      }
    }
    front?.release()
    site.closeFront(timeoutMilliseconds: Self.farewellMilliseconds)
  }

  private static let farewellMilliseconds = Int32(HandoverLimits.farewellMilliseconds)

  private mutating func keep(_ reason: String, _ wasStopped: Bool) {
    deadline = HandoverChannel.deadline(milliseconds: HandoverLimits.farewellMilliseconds)
    try? channel.send(.refused(reason: reason), deadline: deadline)
    if wasStopped {
      // A group goes on by itself when its disk is so slow that this does not wait for it.
      _ = askGroups("", heedsNews: false) { group, done in group.resume { done(nil) } }
      front?.release()
      let (desk, door) = (site.front, site.door)
      for views in desk.views.members { views.loop.post { views.resume() } }
      desk.loop.post {
        desk.startAccepting()
        door.resume()
      }
    }
    if areLinksSuspended { for link in site.allHosts.flatMap(\.links) { link.resume() } }
    for host in site.allHosts { host.release() }
    site.log("this process keeps the site: \(reason)")
  }

  // MARK: Waiting

  private func askGroups(
    _ complaint: String, heedsNews: Bool = true,
    _ question:
      @escaping @Sendable (Group, @escaping @Sendable (_ problem: String?) -> Void) -> Void
  ) -> HandoverGiver.Event {
    let groups = site.groups
    guard let answers = try? Answers(count: groups.count) else {
      // Who is to go on goes on, though nobody waits for it.
      if !heedsNews { for group in groups { group.loop.post { question(group) { _ in } } } }
      return .failed("out of descriptors")
    }
    for group in groups {
      group.loop.post {
        question(group) { problem in
          answers.add(problem.map { "group \(group.configuration.name): \($0)" })
        }
      }
    }
    while true {
      if let event = answers.event { return event }
      if heedsNews, let news = news() { return news }
      guard SystemClock.monotonicNanoseconds() < deadline else { return .failed(complaint) }
      answers.wakeup.wait(timeoutMilliseconds: 20)
    }
  }

  /// What the other side says while it should say nothing.
  private func news() -> HandoverGiver.Event? {
    guard channel.hasNews else { return nil }
    return awaitMessage(.refused(reason: ""), .failed(""))
  }

  private func awaitMessage(
    _ expected: HandoverMessage, _ event: HandoverGiver.Event
  ) -> HandoverGiver.Event {
    do throws(HandoverError) {
      let message = try channel.receive(deadline: deadline).message
      if case .refused(let reason) = message { return .failed(reason) }
      return message == expected ? event : .failed("the other process spoke out of turn")
    } catch { return .failed("\(error)") }
  }

  private static func event(
    _ body: () throws(HandoverError) -> Void
  ) -> HandoverGiver.Event {
    do throws(HandoverError) {
      try body()
      return .done
    } catch { return .failed("\(error)") }
  }
}

/// The answers of several loops.
private final class Answers: Sendable {
  let wakeup: Wakeup
  private let state: Mutex<(missing: Int, problem: String?)>

  init(count: Int) throws(Errno) {
    wakeup = try Wakeup()
    state = Mutex((count, nil))
  }

  func add(_ problem: String?) {
    state.withLock { state in
      state.missing -= 1
      state.problem = state.problem ?? problem
    }
    wakeup.signal()
  }

  var event: HandoverGiver.Event? {
    state.withLock { state in
      if let problem = state.problem { return .failed(problem) }
      return state.missing == 0 ? .done : nil
    }
  }
}
