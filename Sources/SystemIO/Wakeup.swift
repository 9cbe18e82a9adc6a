import CLinux
import Glibc

/// A counter that wakes a poller (`eventfd`). Any thread may signal it.
public final class Wakeup: Sendable {
  private let descriptor: Descriptor

  public init() throws(Errno) {
    descriptor = Descriptor(owning: try retrying { SystemCalls.makeEvent() })
  }

  public var rawDescriptor: Int32 { descriptor.raw }

  public func signal() { SystemCalls.signalEvent(descriptor.raw) }

  public func clear() { SystemCalls.clearEvent(descriptor.raw) }

  /// Blocks until signalled or until `timeoutMilliseconds` have passed; then clears. Returns
  /// whether it was signalled.
  @discardableResult
  public func wait(timeoutMilliseconds: Int32) -> Bool {
    var entries = [pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)]
    let count = SystemCalls.poll(&entries, timeoutMilliseconds)
    if count > 0 { clear() }
    return count > 0
  }
}
