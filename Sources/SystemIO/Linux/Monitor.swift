import Glibc

/// State under a lock, with waiting: a POSIX mutex and condition. For what is shared by threads
/// that may block; nothing on a loop's path uses it.
@safe public final class Monitor<State: ~Copyable & Sendable>: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var state: State

  public init(_ state: consuming State) {
    self.state = state
    unsafe pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(condition, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_mutex_destroy(mutex)
    unsafe pthread_cond_destroy(condition)
    unsafe mutex.deallocate()
    unsafe condition.deallocate()
  }

  /// Runs `body` under the lock. It must not block, nor enter this monitor again.
  public func withLock<Result>(_ body: (inout State) -> Result) -> Result {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    return body(&state)
  }

  /// As `withLock`, and wakes every thread in `wait`.
  public func update<Result>(_ body: (inout State) -> Result) -> Result {
    let result = withLock(body)
    unsafe pthread_cond_broadcast(condition)
    return result
  }

  /// As `withLock`, and wakes one thread in `wait`.
  public func updateForOne<Result>(_ body: (inout State) -> Result) -> Result {
    let result = withLock(body)
    unsafe pthread_cond_signal(condition)
    return result
  }

  /// Blocks until `body`, which runs under the lock now and after every `update`, returns a value.
  public func wait<Result>(_ body: (inout State) -> Result?) -> Result {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    while true {
      if let result = body(&state) { return result }
      unsafe pthread_cond_wait(condition, mutex)
    }
  }

  /// As `wait`, but for at most `milliseconds`: then `body` is called with `isLate` once, and what
  /// it returns is the result.
  public func wait<Result>(
    milliseconds: UInt64, _ body: (inout State, _ isLate: Bool) -> Result?
  ) -> Result? {
    var end = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &end)
    let nanoseconds = end.tv_nsec + Int(milliseconds % 1000) * 1_000_000
    end.tv_sec += Int(milliseconds / 1000) + nanoseconds / 1_000_000_000
    end.tv_nsec = nanoseconds % 1_000_000_000
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    while true {
      if let result = body(&state, false) { return result }
      if unsafe pthread_cond_timedwait(condition, mutex, &end) == ETIMEDOUT {
        return body(&state, true)
      }
    }
  }
}
