import SystemIO

/// Work that a loop gives to a worker again and again, one at a time. What that takes is made once,
/// so giving it away allocates nothing.
///
/// Confined to its loop's thread, but for `work`. The locks of the pool and of the loop's mailbox
/// order what the two threads do with `input` and `output`.
final class RepeatedJob<Input: Sendable, Output: Sendable>: @unchecked Sendable {
  private let loop: EventLoop
  private let workers: WorkerPool
  private let work: @Sendable (Input) -> Output
  private let finished: (Input, Output) -> Void
  private var input: Input?
  private var output: Output?
  private lazy var runs: WorkerPool.Job = { [unowned self] in run() }
  private lazy var reports: EventLoop.Message = { [unowned self] in report() }

  /// - Parameters:
  ///   - work: on a worker; may block.
  ///   - finished: on the loop.
  init(
    loop: EventLoop, workers: WorkerPool, work: @escaping @Sendable (Input) -> Output,
    finished: @escaping (Input, Output) -> Void
  ) {
    self.loop = loop
    self.workers = workers
    self.work = work
    self.finished = finished
  }

  /// - Precondition: what was started before has finished.
  func start(_ input: Input) {
    precondition(self.input == nil, "the job runs already")
    self.input = input
    workers.submit(runs)
  }

  private func run() {
    output = input.map(work)
    loop.post(reports)
  }

  private func report() {
    guard let input, let output else { return }
    self.input = nil
    self.output = nil
    finished(input, output)
  }
}
