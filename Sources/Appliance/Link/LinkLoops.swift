import Synchronization
import SystemIO

/// What a site's links send with, and the loops on which they do: at most one a processor, so that
/// compressing for a link keeps no guest waiting, and no more threads than can run. Any thread.
struct LinkLoops: Sendable {
  let loops: [EventLoop]
  /// Asks for the numbers of peers' names, which may take long: a link asks once at a time, and
  /// none waits behind those that get no answer.
  let names: WorkerPool
  let security: LinkSecurity
  private let next = Next()

  private final class Next: Sendable {
    let number = Atomic<Int>(0)
  }

  /// - Parameter links: as many as there will be.
  init(links: Int, _ security: LinkSecurity) throws(Errno) {
    self.security = security
    var loops: [EventLoop] = []
    for number in 0..<max(1, min(links, SystemInfo.processorCount)) {
      loops.append(try EventLoop(name: "links-\(number)"))
    }
    self.loops = loops
    names = WorkerPool(name: "names", threadLimit: max(1, links))
  }

  /// The loop for one more link.
  func take() -> EventLoop {
    loops[next.number.add(1, ordering: .relaxed).oldValue % loops.count]
  }

  func start() { for loop in loops { loop.start() } }

  /// After the links have ended.
  func stop() {
    names.finish()
    for loop in loops { loop.stop() }
  }
}
