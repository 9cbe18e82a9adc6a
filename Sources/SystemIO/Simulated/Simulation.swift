import CFiber
import Glibc

/// A world of machines on one thread: every thread of every simulated process is a fiber, every
/// system call may hand over to another, and time passes only here. Which fiber goes on, how long
/// things take and what fails is drawn from one seed, so one seed is one run.
///
/// Not simulated: two threads at the same instant. Fibers change places at system calls, locks and
/// waits only, so races inside a stretch of code without any are not found.
///
/// Confined to one thread. The actions of `at` run between fibers and must not wait.
@safe public final class Simulation {
  public enum Outcome: Sendable { case finished, deadlock, timeLimit }

  /// The one that this process runs.
  nonisolated(unsafe) private static var current: Simulation?

  static var running: Simulation {
    guard let simulation = unsafe current else {
      fatalError("a system call outside of a simulation")
    }
    return simulation
  }

  public var random: SimulationRandom
  /// Nanoseconds since the start.
  public private(set) var now: UInt64 = 0
  public let network = Network()
  /// What happens to the machines, a line each.
  public var onTrace: ((String) -> Void)?
  /// How often a system call hands over to another fiber.
  public var switchProbability = 0.2

  public private(set) var machines: [Machine] = []
  private(set) var currentFiber: Fiber?
  private var fibers: [Fiber] = []
  private var events = EventQueue()
  private var isFinished = false
  public private(set) var switches = 0
  private let schedulerContext: UnsafeMutableRawPointer
  /// Set by whatever may end a wait.
  private var hasChanged = true
  private var runnable: [Int] = []
  /// Some fiber is done, or its process is.
  private var hasEnded = false

  public init(seed: UInt64) {
    random = SimulationRandom(seed: seed)
    unsafe schedulerContext = .allocate(byteCount: fiber_context_size(), alignment: 64)
    unsafe fiber_make_first(schedulerContext)
    fiber_keep_memory()
    unsafe Self.current = self
  }

  public func addMachine(_ name: String) -> Machine {
    let machine = Machine(name, self)
    machines.append(machine)
    return machine
  }

  /// Calls `action` at that time, or as soon as possible afterwards.
  public func at(_ nanoseconds: UInt64, _ action: @escaping () -> Void) {
    events.add(nanoseconds, action)
  }

  public func finish() { isFinished = true }

  public func trace(_ line: @autoclosure () -> String) { onTrace?(line()) }

  // MARK: The scheduler

  public func run(untilNanoseconds limit: UInt64) -> Outcome {
    while !isFinished {
      while let action = events.takeDue(now) {
        action?()
        hasChanged = true
      }
      sweep()
      findRunnable()
      if runnable.isEmpty {
        guard let next = nextTime() else { return .deadlock }
        if next > limit { return .timeLimit }
        now = max(now, next)
        hasChanged = true
        continue
      }
      if now > limit { return .timeLimit }
      let fiber = fibers[runnable[random.below(runnable.count)]]
      fiber.isWaiting = false
      fiber.condition = nil
      fiber.deadline = nil
      currentFiber = fiber
      switches += 1
      unsafe fiber_switch(schedulerContext, fiber.context)
      currentFiber = nil
    }
    return .finished
  }

  private func sweep() {
    guard hasEnded else { return }
    hasEnded = false
    fibers.removeAll { $0.isDone || !$0.process.isAlive }
  }

  private func findRunnable() {
    runnable.removeAll(keepingCapacity: true)
    for (index, fiber) in fibers.enumerated() {
      if !fiber.isWaiting {
        runnable.append(index)
      } else if let deadline = fiber.deadline, deadline <= now {
        runnable.append(index)
      } else if hasChanged, let condition = fiber.condition, condition() {
        runnable.append(index)
        fiber.isWaiting = false
      }
    }
    hasChanged = false
  }

  private func nextTime() -> UInt64? {
    let deadline = fibers.lazy.compactMap(\.deadline).min()
    guard let event = events.nextTime else { return deadline }
    return deadline.map { min($0, event) } ?? event
  }

  // MARK: For the system calls

  var process: Process {
    guard let fiber = currentFiber else { fatalError("a system call between fibers") }
    return fiber.process
  }

  func add(_ fiber: Fiber) {
    fibers.append(fiber)
    hasChanged = true
  }

  /// What somebody may wait for has happened.
  func noteChange() { hasChanged = true }

  /// A fiber or a process has ended.
  func noteEnd() {
    hasEnded = true
    hasChanged = true
  }

  /// Something will have happened then (bytes arrive).
  func noteChange(at nanoseconds: UInt64) { events.add(nanoseconds, nil) }

  /// A system call takes a moment, and others may go on meanwhile.
  func pass() {
    now &+= UInt64(200 + random.below(2_000))
    if random.chance(switchProbability) { yieldToScheduler() }
  }

  /// Time passes without a chance for others.
  func tick() { now &+= 25 }

  /// Until `condition` holds; false when `deadline` came first. Blocks the fiber.
  func wait(until deadline: UInt64?, _ condition: @escaping () -> Bool) -> Bool {
    while !condition() {
      if let deadline, now >= deadline { return false }
      guard let fiber = currentFiber else { fatalError("waiting between fibers") }
      fiber.condition = condition
      fiber.deadline = deadline
      fiber.isWaiting = true
      yieldToScheduler()
    }
    return true
  }

  func sleep(nanoseconds: UInt64) {
    let end = now + nanoseconds
    while now < end { block(until: end) }
  }

  /// Until somebody calls `wake` for this fiber, which costs nothing meanwhile.
  func block(until deadline: UInt64? = nil) {
    guard let fiber = currentFiber else { fatalError("waiting between fibers") }
    fiber.deadline = deadline
    fiber.isWaiting = true
    yieldToScheduler()
  }

  func wake(_ fiber: Fiber) { fiber.isWaiting = false }

  /// The process was ended by one of its own fibers: it does not come back.
  func yieldToScheduler() {
    guard let fiber = currentFiber else { return }
    unsafe fiber_switch(fiber.context, schedulerContext)
  }

  func endFiber() -> Never {
    currentFiber?.isDone = true
    noteEnd()
    yieldToScheduler()
    fatalError("a fiber went on after its end")
  }
}

/// Actions by time; those of one time in the order of their making.
struct EventQueue {
  private var entries: [(time: UInt64, action: (() -> Void)?)] = []

  var nextTime: UInt64? { entries.last?.time }

  mutating func add(_ time: UInt64, _ action: (() -> Void)?) {
    // Latest first, so that the next one is taken from the end.
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].time > time { low = middle + 1 } else { high = middle }
    }
    entries.insert((time, action), at: low)
  }

  /// Outer nil: none is due.
  mutating func takeDue(_ now: UInt64) -> (() -> Void)?? {
    guard let last = entries.last, last.time <= now else { return nil }
    entries.removeLast()
    return .some(last.action)
  }
}
