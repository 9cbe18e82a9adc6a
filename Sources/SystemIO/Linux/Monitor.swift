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
    unsafe pthread_cond_init(condition, nil)
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
}
