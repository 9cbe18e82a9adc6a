import CLinux
import Glibc
import Synchronization

/// A named operating-system thread that runs one function.
public final class Thread: Sendable {
  /// How the scheduler weighs a thread against the guest's I/O loop.
  public enum Priority: Sendable {
    case normal
    /// Work that may wait but must go on (destaging): lower weight.
    case background
    /// Work that may be left undone (analysis): runs where a processor has nothing else to do, and
    /// leaves at once when something else wakes up there.
    case idle
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

  /// Tells the calling thread from others that run. Not zero.
  public static var current: UInt { UInt(pthread_self()) }

  private let handle: pthread_t
  /// Locked while the end is waited for.
  private let isJoined = Mutex(false)

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
        start.priority.apply()
        start.body()
        return nil
      }, start.toOpaque())
    precondition(code == 0, "cannot start a thread: \(Errno(code))")
    self.handle = handle
  }

  /// Nobody will join it: what it took is given back when its function has returned.
  public func detach() { pthread_detach(handle) }

  /// Blocks until the function has returned, each time that it is called and from whichever
  /// threads. Not after `detach`.
  public func join() {
    // The system forgets a thread that was joined, and may give its handle to another one.
    isJoined.withLock { isJoined in
      if !isJoined { pthread_join(handle, nil) }
      isJoined = true
    }
  }
}

extension Thread.Priority {
  /// To the calling thread.
  fileprivate func apply() {
    switch self {
    case .normal: break
    case .background:
      // On Linux the nice value belongs to the thread, and PRIO_PROCESS with 0 means this one.
      setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
    case .idle:
      var parameters = sched_param()
      _ = unsafe sched_setscheduler(0, Int32(LINUX_SCHED_IDLE), &parameters)
    }
  }
}
