import SystemIO

/// One run of a world.
protocol Run: AnyObject {
  var seed: UInt64 { get }
  var trace: Trace { get }
  var simulation: Simulation { get }
  /// What it has exercised.
  var summary: String { get }

  func run() -> Never
}

/// How a run ended.
enum Ending {
  /// Faults ended, the sites found together and everything was right.
  case converged
  case wrong(String)
}

func makeRun(
  seed: UInt64, detail: Trace.Detail, onEnd: @escaping (any Run, Ending) -> Never
) -> any Run {
  seed < FailoverWorld.firstSeed
    ? World(seed: seed, detail: detail, onEnd: onEnd)
    : FailoverWorld(seed: seed, detail: detail, onEnd: onEnd)
}
