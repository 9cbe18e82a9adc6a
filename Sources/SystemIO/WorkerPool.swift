/// Threads for what can block: syncs, reads that miss the page cache, writes to backing stores.
///
/// Jobs start in the order of submission. Submitting never blocks; who submits bounds how many
/// jobs it has outstanding. Jobs report by posting to the loop that asked. A thread is started when
/// there is a job and none is free, and ends when it has had nothing to do for a while: a pool that
/// is not used costs nothing.
public final class WorkerPool: Sendable {
  public typealias Job = @Sendable () -> Void

  private static let idleMilliseconds: UInt64 = 10_000

  private let name: String
  private let threadLimit: Int
  private let priority: Thread.Priority
  private let queue = Monitor(Pending())

  /// - Parameter threadLimit: jobs that run at a time at most.
  public init(name: String, threadLimit: Int, priority: Thread.Priority = .normal) {
    self.name = name
    self.threadLimit = threadLimit
    self.priority = priority
  }

  /// After `finish` was called the job is dropped: whoever it was for is gone.
  public func submit(_ job: @escaping Job) {
    let limit = threadLimit
    if let number = queue.updateForOne({ $0.add(job, threadLimit: limit) }) { start(number) }
  }

  private func start(_ number: Int) {
    Thread(name: "\(name)-\(number)", priority: priority) { [self] in
      while let job = next() { job() }
    }.detach()
  }

  /// Blocks until there is one; nil when the thread is to end, which is noted then.
  private func next() -> Job? {
    var isCounted = false
    let step = queue.wait(milliseconds: Self.idleMilliseconds) { queue, isLate -> Step? in
      if !isCounted { queue.idleThreads += 1 }
      isCounted = true
      if let job = queue.takeFirst() {
        queue.idleThreads -= 1
        return .run(job)
      }
      guard queue.isClosed || isLate else { return nil }
      queue.idleThreads -= 1
      queue.threads -= 1
      return .end
    }
    if case .run(let job)? = step { return job }
    queue.update { _ in }
    return nil
  }

  /// Runs what was submitted, then ends the threads. Blocks until they have ended; may be called
  /// again.
  public func finish() {
    queue.update { $0.isClosed = true }
    queue.wait { $0.threads == 0 ? () : nil }
  }

  /// Threads that there are now.
  public var threadCount: Int { queue.withLock { $0.threads } }

  /// Jobs that wait for a thread now.
  public var waitingCount: Int { queue.withLock { $0.count } }

  /// A function alone in generic memory would be wrapped, at the price of an allocation.
  private struct Entry: Sendable { let job: Job }

  private struct Pending: ~Copyable, Sendable {
    private var jobs = Queue<Entry>()
    var threads = 0
    /// Of those, the ones that wait for a job.
    var idleThreads = 0
    private var started = 0
    var isClosed = false

    /// The number of a thread that must be started; nil when none must.
    mutating func add(_ job: @escaping Job, threadLimit: Int) -> Int? {
      if isClosed { return nil }
      jobs.append(Entry(job: job))
      guard jobs.count > idleThreads, threads < threadLimit else { return nil }
      threads += 1
      started += 1
      return started
    }

    var count: Int { jobs.count }

    mutating func takeFirst() -> Job? { jobs.popFirst()?.job }
  }

  /// What a thread does next.
  private enum Step {
    case run(Job)
    case end
  }
}
