import CLinux
import Glibc

/// The simulated system's calls; see those for Linux.
enum SystemCalls {
  static var simulation: Simulation { Simulation.running }

  static func fail<Result: FixedWidthInteger>(_ code: Int32) -> Result {
    errno = code
    return -1
  }

  static func object<Kind: OpenObject>(_ descriptor: Int32, _ kind: Kind.Type) -> Kind? {
    simulation.process.object(descriptor) as? Kind
  }

  // MARK: Descriptors

  /// Nothing happens outside of a process: what is left over from a killed one ends here.
  static func close(_ descriptor: Int32) -> Int32 {
    guard simulation.currentFiber != nil else { return 0 }
    return simulation.process.close(descriptor) ? 0 : fail(EBADF)
  }

  static func flags(_ descriptor: Int32) -> Int32 {
    simulation.process.object(descriptor)?.flags ?? fail(EBADF)
  }

  static func setFlags(_ descriptor: Int32, _ flags: Int32) -> Int32 {
    simulation.process.object(descriptor)?.flags = flags
    return 0
  }

  static func poll(_ entries: inout [pollfd], _ timeoutMilliseconds: Int32) -> Int32 {
    simulation.pass()
    let process = simulation.process
    let wanted = entries.map { ($0, process.object($0.fd)) }
    func ready(_ entry: pollfd, _ object: OpenObject?) -> Int16 {
      guard let object else { return Int16(POLLNVAL) }
      var ready: Int16 = 0
      if object.isReadable { ready |= Int16(POLLIN) }
      if object.isWritable { ready |= Int16(POLLOUT) }
      return ready & entry.events | (object.isBroken ? Int16(POLLHUP) : 0)
    }
    _ = simulation.wait(until: deadline(timeoutMilliseconds)) {
      wanted.contains { ready($0.0, $0.1) != 0 }
    }
    for (index, (entry, object)) in wanted.enumerated() {
      entries[index].revents = ready(entry, object)
    }
    return Int32(entries.count { $0.revents != 0 })
  }

  static func deadline(_ timeoutMilliseconds: Int32) -> UInt64? {
    timeoutMilliseconds < 0
      ? nil : simulation.now + UInt64(timeoutMilliseconds) * 1_000_000
  }

  // MARK: Events

  static func makePoller() -> Int32 { simulation.process.install(OpenPoller()) }

  static func control(
    _ poller: Int32, _ operation: Int32, _ descriptor: Int32, _ event: inout epoll_event
  ) -> Int32 {
    guard let set = object(poller, OpenPoller.self),
      let object = simulation.process.object(descriptor)
    else { return fail(EBADF) }
    let (token, events) = unsafe (event.data.u64, event.events)
    let index = set.index(descriptor)
    switch (operation, index) {
    case (EPOLL_CTL_ADD, nil):
      set.add(
        .init(descriptor: descriptor, object: object, token: token, events: events))
    case (EPOLL_CTL_ADD, _): return fail(EEXIST)
    case (_, nil): return fail(ENOENT)
    case (EPOLL_CTL_MOD, let index?): set.change(at: index, token, events)
    case (_, let index?): set.remove(at: index)
    }
    simulation.noteChange()
    return 0
  }

  static func wait(
    _ poller: Int32, _ events: UnsafeMutableBufferPointer<epoll_event>,
    _ timeoutMilliseconds: Int32
  ) -> Int32 {
    guard let set = object(poller, OpenPoller.self) else { return fail(EBADF) }
    simulation.pass()
    guard simulation.wait(until: deadline(timeoutMilliseconds), { set.isReadable }) else {
      return 0
    }
    var count = 0
    for interest in set.interests where count < events.count {
      let ready = OpenPoller.ready(interest)
      if ready == 0 { continue }
      unsafe events[count].events = ready
      unsafe events[count].data.u64 = interest.token
      count += 1
    }
    return Int32(count)
  }

  static func makeEvent() -> Int32 { simulation.process.install(OpenEvent()) }

  /// From between fibers too.
  static func signalEvent(_ descriptor: Int32) {
    object(descriptor, OpenEvent.self)?.count += 1
    simulation.noteChange()
    simulation.pass()
  }

  static func clearEvent(_ descriptor: Int32) {
    object(descriptor, OpenEvent.self)?.count = 0
  }

  // MARK: Time, and what else a process asks

  static func nanoseconds(_ clock: clockid_t) -> UInt64 {
    simulation.tick()
    if clock == CLOCK_MONOTONIC { return simulation.now + 1_000_000_000 }
    return simulation.process.machine.realtimeNanoseconds
  }

  /// 2026-01-01.
  static let epochNanoseconds: UInt64 = 1_767_225_600_000_000_000

  static func bootIdentifier() -> UInt64 { simulation.process.machine.bootIdentifier }
  static func processIdentifier() -> Int32 { 1 }
  static func processorCount() -> Int { 2 }
  static func entropy() -> UInt64 { simulation.random.next() }
}
