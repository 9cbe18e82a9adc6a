import Glibc

/// Threads for what can block: syncs, reads that miss the page cache, writes to backing stores.
///
/// Jobs start in the order of submission. Submitting never blocks; who submits bounds how many
/// jobs it has outstanding. Jobs report by posting to the loop that asked.
public final class WorkerPool: Sendable {
  public typealias Job = @Sendable () -> Void

  private let state: State
  private let threads: [Thread]

  public init(name: String, threadCount: Int, priority: Thread.Priority = .normal) {
    let state = State()
    self.state = state
    threads = (0..<threadCount).map { index in
      Thread(name: "\(name)-\(index)", priority: priority) {
        while let job = state.next() { job() }
      }
    }
  }

  public func submit(_ job: @escaping Job) { state.add(job) }

  /// Runs what was submitted, then ends the threads. Blocks until they have ended.
  public func finish() {
    state.close()
    for thread in threads { thread.join() }
  }

  /// A function alone in generic memory would be wrapped, at the price of an allocation.
  private struct Entry { let job: Job }

  /// A queue under a POSIX mutex and condition: Swift's `Mutex` has no condition to wait on.
  @safe private final class State: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs = Queue<Entry>()
    private var isClosed = false

    init() {
      unsafe pthread_mutex_init(mutex, nil)
      unsafe pthread_cond_init(condition, nil)
    }

    deinit {
      unsafe pthread_mutex_destroy(mutex)
      unsafe pthread_cond_destroy(condition)
      unsafe mutex.deallocate()
      unsafe condition.deallocate()
    }

    func add(_ job: @escaping Job) {
      unsafe pthread_mutex_lock(mutex)
      precondition(!isClosed, "job submitted after finish")
      jobs.append(Entry(job: job))
      unsafe pthread_mutex_unlock(mutex)
      unsafe pthread_cond_signal(condition)
    }

    func close() {
      unsafe pthread_mutex_lock(mutex)
      isClosed = true
      unsafe pthread_mutex_unlock(mutex)
      unsafe pthread_cond_broadcast(condition)
    }

    /// The next job; nil when closed and empty. Blocks.
    func next() -> Job? {
      unsafe pthread_mutex_lock(mutex)
      defer { unsafe pthread_mutex_unlock(mutex) }
      while true {
        if let entry = jobs.popFirst() { return entry.job }
        if isClosed { return nil }
        unsafe pthread_cond_wait(condition, mutex)
      }
    }
  }
}
