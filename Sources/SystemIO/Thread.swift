import CLinux
import Glibc

/// A named operating-system thread that runs one function.
public final class Thread: Sendable {
  /// How the scheduler weighs a thread against the guest's I/O loop.
  public enum Priority: Sendable {
    case normal
    /// Work that may wait (destaging, analysis): lower weight, so it never takes a loop's turn.
    case background
  }

  private final class Start: Sendable {
    let name: String
    let priority: Priority
    let body: @Sendable () -> Void
    init(_ name: String, _ priority: Priority, _ body: @escaping @Sendable () -> Void) {
      self.name = name
      self.priority = priority
      self.body = body
    }
  }

  private let handle: pthread_t

  /// - Parameter name: the first 15 bytes are shown by `top -H` and `ps -L`.
  public init(
    name: String, priority: Priority = .normal, _ body: @escaping @Sendable () -> Void
  ) {
    let start = unsafe Unmanaged.passRetained(Start(name, priority, body))
    var handle = pthread_t()
    let code = unsafe pthread_create(
      &handle, nil,
      { argument in
        let start = unsafe Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
        unsafe pthread_setname_np(pthread_self(), String(start.name.prefix(15)))
        if start.priority == .background {
          // On Linux the nice value belongs to the thread, and PRIO_PROCESS with 0 means this one.
          setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
        }
        start.body()
        return nil
      }, start.toOpaque())
    precondition(code == 0, "cannot start a thread: \(Errno(code))")
    self.handle = handle
  }

  /// Blocks until the function has returned. Call it once.
  public func join() { pthread_join(handle, nil) }
}
