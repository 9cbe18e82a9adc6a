/// Threads for what can block: syncs, reads that miss the page cache, writes to backing stores.
///
/// Jobs start in the order of submission. Submitting never blocks; who submits bounds how many
/// jobs it has outstanding. Jobs report by posting to the loop that asked.
public final class WorkerPool: Sendable {
  public typealias Job = @Sendable () -> Void

  private let queue: Monitor<Pending>
  private let threads: [Thread]

  public init(name: String, threadCount: Int, priority: Thread.Priority = .normal) {
    let queue = Monitor(Pending())
    self.queue = queue
    threads = (0..<threadCount).map { index in
      Thread(name: "\(name)-\(index)", priority: priority) {
        while case .run(let job) = Self.next(queue) { job() }
      }
    }
  }

  public func submit(_ job: @escaping Job) {
    queue.updateForOne { $0.add(job) }
  }

  /// Blocks until there is one, or the pool is closed and has none left.
  private static func next(_ queue: Monitor<Pending>) -> Step {
    queue.wait { queue in
      if let job = queue.takeFirst() { return .run(job) }
      return queue.isClosed ? .end : nil
    }
  }

  /// Runs what was submitted, then ends the threads. Blocks until they have ended.
  public func finish() {
    queue.update { $0.isClosed = true }
    for thread in threads { thread.join() }
  }

  /// A function alone in generic memory would be wrapped, at the price of an allocation.
  private struct Entry: Sendable { let job: Job }

  private struct Pending: ~Copyable, Sendable {
    private var jobs = Queue<Entry>()
    var isClosed = false

    mutating func add(_ job: @escaping Job) {
      precondition(!isClosed, "job submitted after finish")
      jobs.append(Entry(job: job))
    }

    mutating func takeFirst() -> Job? { jobs.popFirst()?.job }
  }

  /// What a thread does next.
  private enum Step {
    case run(Job)
    case end
  }
}
