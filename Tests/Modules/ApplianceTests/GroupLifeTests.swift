import Testing

@testable import Appliance

/// Proves what a group's thread does next, for all that may happen to a group.
@Suite struct GroupLifeTests {
  private static let second: UInt64 = 1_000_000_000

  /// A group that serves since `now`.
  private func serving(at now: UInt64 = 0) -> GroupLife {
    var life = GroupLife()
    #expect(life.next(now: now) == .open)
    life.opened()
    life.serves(now: now)
    return life
  }

  @Test func `it is opened, waits for the site, serves, and stops`() {
    var life = GroupLife()
    #expect(life.next(now: 0) == .open)
    #expect(life.isBusy && life.next(now: 0) == nil)
    life.opened()
    #expect(life.phase == .ready && life.next(now: 0) == nil)
    // Nobody may take the site before it is written down that the group is in use.
    #expect(life.isBusy)
    life.serves(now: 0)
    #expect(life.next(now: 0) == nil && life.dueTime == nil && !life.isBusy)
    life.stop()
    #expect(life.next(now: 0) == .stop)
    #expect(life.next(now: 0) == nil)
    life.stopped()
    #expect(life.next(now: 0) == .leave)
  }

  @Test func `attempts that fail are repeated after pauses that double up to a minute`() {
    var life = GroupLife()
    var now: UInt64 = 0
    var pauses: [UInt64] = []
    for attempt in 1...8 {
      #expect(life.next(now: now) == .open)
      life.refused("why", now: now)
      #expect(life.failedAttempts == attempt && life.reason == "why")
      #expect(life.next(now: now) == nil)
      let due = life.dueTime ?? 0
      #expect(life.next(now: due - 1) == nil)
      pauses.append((due - now) / Self.second)
      now = due
    }
    #expect(pauses == [1, 2, 4, 8, 16, 32, 60, 60])
    life.tryNow()
    #expect(life.next(now: now) == .open)
    life.refused("why", now: now)
    #expect(life.dueTime == now + Self.second)
  }

  /// What a branch is built on may go away just then; who waits for its end would wait for ever.
  @Test(arguments: [false, true])
  func `what fails before it serves ends, too`(isReady: Bool) {
    var life = GroupLife()
    #expect(life.next(now: 0) == .open)
    if isReady { life.opened() }
    life.failed("gone", now: 0)
    if !isReady { life.opened() }
    #expect(life.next(now: 0) == nil)
    life.serves(now: 0)
    #expect(life.phase == .failed && life.reason == "gone" && life.next(now: 0) == .end)
    life.ended(now: 0)
    #expect(life.next(now: Self.second) == .open)
    life.opened()
    life.serves(now: Self.second)
    #expect(life.phase == .serving)
  }

  @Test func `what has failed ends before it is opened again`() {
    var life = serving()
    life.failed("broken", now: Self.second)
    #expect(life.next(now: Self.second) == .end)
    #expect(life.isBusy && life.next(now: .max) == nil)
    life.ended(now: 2 * Self.second)
    #expect(life.reason == "broken")
    #expect(life.next(now: 2 * Self.second) == nil)
    #expect(life.next(now: 3 * Self.second) == .open)
    life.opened()
    life.serves(now: 3 * Self.second)
    #expect(life.reason == nil)
  }

  @Test func `a group that fails again and again is opened less and less often, until it lasts`() {
    var life = serving()
    func pause(after served: UInt64, from now: UInt64) -> UInt64 {
      life.failed("broken", now: now + served)
      _ = life.next(now: now + served)
      life.ended(now: now + served)
      let due = life.dueTime ?? 0
      _ = life.next(now: due)
      life.opened()
      life.serves(now: due)
      return due - now - served
    }
    var now: UInt64 = 0
    for expected in [1, 2, 4] as [UInt64] {
      let found = pause(after: Self.second, from: now)
      #expect(found == expected * Self.second)
      now += Self.second + found
    }
    #expect(pause(after: 60 * Self.second, from: now) == Self.second)
  }

  @Test func `nothing begins while another process may be about to take over`() {
    var life = GroupLife()
    life.hold(true)
    #expect(life.next(now: .max) == nil && life.dueTime == nil)
    life.hold(false)
    #expect(life.next(now: 0) == .open)
    life.refused("why", now: 0)
    life.hold(true)
    life.tryNow()
    #expect(life.next(now: .max) == nil)

    var other = serving()
    other.hold(true)
    other.failed("broken", now: 0)
    #expect(other.next(now: 0) == nil)
    other.hold(false)
    #expect(other.next(now: 0) == .end)
  }

  @Test func `a stop ends what is closed at once, and what is only ready without serving it`() {
    var closed = GroupLife()
    _ = closed.next(now: 0)
    closed.refused("why", now: 0)
    closed.stop()
    #expect(closed.next(now: 0) == .leave)

    var ready = GroupLife()
    _ = ready.next(now: 0)
    ready.opened()
    ready.stop()
    #expect(ready.next(now: 0) == .discard)

    var failed = serving()
    failed.failed("broken", now: 0)
    failed.stop()
    #expect(failed.next(now: 0) == .end)
    failed.ended(now: 0)
    #expect(failed.next(now: 0) == .leave)
  }

  @Test func `a failure while it stops changes nothing`() {
    var life = serving()
    life.stop()
    #expect(life.next(now: 0) == .stop)
    life.failed("broken", now: 0)
    #expect(life.phase == .stopping)
  }
}
