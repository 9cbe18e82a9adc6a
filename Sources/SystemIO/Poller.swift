import CLinux
import Glibc

/// Readiness of many descriptors (`epoll`, level-triggered). One thread waits.
@safe public struct Poller: ~Copyable {
  public struct Interest: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let readable = Interest(rawValue: 1)  // EPOLLIN
    public static let writable = Interest(rawValue: 4)  // EPOLLOUT
    /// Error or hang-up; always reported.
    public static let closed = Interest(rawValue: 0x8 | 0x10)  // EPOLLERR, EPOLLHUP
  }

  /// Events taken from the kernel in one call.
  public static let eventLimit = 256

  private let descriptor: Descriptor
  private let events: UnsafeMutablePointer<epoll_event>

  public init() throws(Errno) {
    descriptor = Descriptor(owning: try retrying { SystemCalls.makePoller() })
    unsafe events = .allocate(capacity: Self.eventLimit)
  }

  deinit { unsafe events.deallocate() }

  /// `token` comes back with each event.
  public func add(_ raw: Int32, token: UInt64, _ interest: Interest) throws(Errno) {
    try control(EPOLL_CTL_ADD, raw, token, interest)
  }

  public func modify(_ raw: Int32, token: UInt64, _ interest: Interest) throws(Errno) {
    try control(EPOLL_CTL_MOD, raw, token, interest)
  }

  public func remove(_ raw: Int32) throws(Errno) {
    try control(EPOLL_CTL_DEL, raw, 0, [])
  }

  private func control(
    _ operation: Int32, _ raw: Int32, _ token: UInt64, _ interest: Interest
  ) throws(Errno) {
    var event = unsafe epoll_event()
    unsafe event.events = interest.rawValue
    unsafe event.data.u64 = token
    _ = try retrying { unsafe SystemCalls.control(descriptor.raw, operation, raw, &event) }
  }

  /// Waits for events, at most `timeoutMilliseconds` (-1: without end; 0: not at all), and returns
  /// how many there are; `event(i)` gives them until the next wait.
  public func wait(timeoutMilliseconds: Int32) throws(Errno) -> Int {
    let room = unsafe UnsafeMutableBufferPointer(start: events, count: Self.eventLimit)
    let count = unsafe SystemCalls.wait(descriptor.raw, room, timeoutMilliseconds)
    if count >= 0 { return Int(count) }
    if errno == EINTR { return 0 }
    throw Errno.current
  }

  public func event(_ index: Int) -> (token: UInt64, ready: Interest) {
    unsafe (events[index].data.u64, Interest(rawValue: events[index].events))
  }
}
