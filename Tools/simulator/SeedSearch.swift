import CFiber
import Glibc

/// Runs many seeds, each in a process of its own that is forked from this one, which is far
/// quicker than to start a program for each. They say nothing: a seed that fails is run again for
/// that.
struct SeedSearch {
  private let seeds: ClosedRange<UInt64>
  private let jobs: Int
  private var running: [pid_t: UInt64] = [:]
  private var failing: UInt64?

  init(_ seeds: ClosedRange<UInt64>, jobs: Int) {
    self.seeds = seeds
    self.jobs = jobs
  }

  /// The smallest seed that failed of those that had begun when the first one did; nil when none
  /// has.
  mutating func run() -> UInt64? {
    for seed in seeds where failing == nil {
      if running.count == jobs { reap() }
      if failing == nil { begin(seed) }
    }
    while !running.isEmpty { reap() }
    return failing
  }

  private mutating func begin(_ seed: UInt64) {
    let process = fiber_fork()
    guard process >= 0 else { fatalError("fork: \(unsafe String(cString: strerror(errno)))") }
    guard process == 0 else {
      running[process] = seed
      return
    }
    runSeed(seed, .digest) { _, ending in
      if case .wrong = ending { _exit(1) }
      _exit(0)
    }
  }

  private mutating func reap() {
    var status: Int32 = 0
    let process = unsafe waitpid(-1, &status, 0)
    guard let seed = running.removeValue(forKey: process) else {
      fatalError("waitpid: \(unsafe String(cString: strerror(errno)))")
    }
    if status != 0 { failing = min(failing ?? seed, seed) }
  }
}
