import Synchronization
import SystemIO
import Testing

/// Threads end, and whoever waits for that hears of it: also late, again, and beside others.
@Suite struct ThreadTests {
  @Test func anyNumberOfThreadsWaitForTheEndOfOne() {
    let mayEnd = Monitor(false)
    let ended = Atomic(0)
    let thread = Thread(name: "test") {
      mayEnd.wait { $0 ? true : nil }
      ended.add(1, ordering: .releasing)
    }
    let seen = Mutex<[Int]>([])
    let waiting = (0..<4).map { _ in
      Thread(name: "waits") {
        thread.join()
        seen.withLock { $0.append(ended.load(ordering: .acquiring)) }
      }
    }
    mayEnd.update { $0 = true }
    for other in waiting { other.join() }
    thread.join()
    #expect(seen.withLock { $0 } == [1, 1, 1, 1])
  }
}
