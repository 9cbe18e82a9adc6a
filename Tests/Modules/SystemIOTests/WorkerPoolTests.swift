import Synchronization
import TestSupport
import Testing

@testable import SystemIO

/// Proves that a pool runs what it is given, with no more threads than it may have and none for
/// nothing.
@Suite struct WorkerPoolTests {
  @Test func `a pool has no thread before it has a job, and all jobs are run before its end`() {
    let pool = WorkerPool(name: "test", threadLimit: 3)
    #expect(pool.threadCount == 0)
    let jobs = Jobs()
    for _ in 0..<1000 { pool.submit { jobs.add() } }
    #expect((1...3).contains(pool.threadCount))
    pool.finish()
    #expect(jobs.count == 1000 && pool.threadCount == 0)
    // Whoever it was for is gone.
    pool.submit { jobs.add() }
    pool.finish()
    #expect(jobs.count == 1000)
  }

  @Test func `jobs that wait for each other run at the same time`() {
    let pool = WorkerPool(name: "test", threadLimit: 3)
    let together = Monitor(0)
    for _ in 0..<3 {
      pool.submit {
        together.update { $0 += 1 }
        together.wait { $0 >= 3 ? () : nil }
      }
    }
    pool.finish()
    #expect(together.withLock { $0 } == 3)
  }

  @Test func `a wait with a limit ends late, or before with what it waited for`() {
    let monitor = Monitor(0)
    #expect(monitor.wait(milliseconds: 1) { _, isLate in isLate ? "late" : nil } == "late")
    let thread = Thread(name: "test") { monitor.update { $0 = 7 } }
    #expect(monitor.wait(milliseconds: 60_000) { $0 == 7 && !$1 ? $0 : nil } == 7)
    thread.join()
  }
}

private final class Jobs: Sendable {
  private let done = Atomic<Int>(0)
  var count: Int { done.load(ordering: .acquiring) }
  func add() { done.add(1, ordering: .acquiringAndReleasing) }
}
