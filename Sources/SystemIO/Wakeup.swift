import CLinux
import Glibc

/// A counter that wakes a poller (`eventfd`). Any thread may signal it.
public final class Wakeup: Sendable {
  private let descriptor: Descriptor

  public init() throws(Errno) {
    descriptor = Descriptor(owning: try retrying { eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) })
  }

  public var rawDescriptor: Int32 { descriptor.raw }

  public func signal() {
    var one: UInt64 = 1
    _ = unsafe write(descriptor.raw, &one, 8)
  }

  public func clear() {
    var count: UInt64 = 0
    _ = unsafe read(descriptor.raw, &count, 8)
  }

  /// Blocks until signalled or until `timeoutMilliseconds` have passed; then clears. Returns
  /// whether it was signalled.
  @discardableResult
  public func wait(timeoutMilliseconds: Int32) -> Bool {
    var poll = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
    let count = unsafe Glibc.poll(&poll, 1, timeoutMilliseconds)
    if count > 0 { clear() }
    return count > 0
  }

  /// As `wait`, but also returns when `socket` has something to receive.
  public func wait(orReadable socket: Socket, timeoutMilliseconds: Int32) {
    let polls = [
      pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0),
      pollfd(fd: socket.rawDescriptor, events: Int16(POLLIN), revents: 0),
    ]
    var entries = polls
    if unsafe Glibc.poll(&entries, 2, timeoutMilliseconds) > 0, entries[0].revents != 0 {
      clear()
    }
  }
}
