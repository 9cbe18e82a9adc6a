import Glibc
import SystemIO

// One run, many, or the names of all mutants. `Tools/simulate` does the rest.

func usage(_ problem: String) -> Never {
  print(
    """
    \(problem)
    simulator SEED [--trace] [--mutant NAME]           one run
    simulator FIRST LAST [--jobs N] [--mutant NAME]    prints the first seed of a run that fails
    simulator --list-mutants
    """)
  exit(2)
}

/// A run's digest and what it has exercised, or what was wrong and the last events before.
func report(_ run: any Run, _ ending: Ending) -> Never {
  switch ending {
  case .converged:
    print("seed \(run.seed): ok, digest \(run.trace.digest), \(run.trace.eventCount) events, ")
    print("\(Trace.time(run.simulation.now)) s, \(run.summary)")
    exit(0)
  case .wrong(let reason):
    for line in run.trace.tail { print(line) }
    print("seed \(run.seed): FAILED: \(reason)")
    exit(1)
  }
}

func runSeed(
  _ seed: UInt64, _ detail: Trace.Detail, onEnd: @escaping (any Run, Ending) -> Never
) -> Never {
  // A run that takes longer has hung: the signal ends it.
  alarm(60)
  makeRun(seed: seed, detail: detail, onEnd: onEnd).run()
}

var seeds: [UInt64] = []
var jobs = 1
var isTraced = false
var arguments = CommandLine.arguments.dropFirst()
while let argument = arguments.popFirst() {
  switch argument {
  case "--list-mutants":
    for mutant in Mutant.allCases { print(mutant.rawValue) }
    exit(0)
  case "--mutant":
    guard let mutant = arguments.popFirst().flatMap(Mutant.init(rawValue:)) else {
      usage("which mutant?")
    }
    unsafe Mutant.chosen = mutant
  case "--jobs":
    guard let count = arguments.popFirst().flatMap({ Int($0) }), count > 0 else {
      usage("how many jobs?")
    }
    jobs = count
  case "--trace": isTraced = true
  default:
    guard let seed = UInt64(argument) else { usage("\(argument) is no seed") }
    seeds.append(seed)
  }
}
switch seeds.count {
case 1: runSeed(seeds[0], isTraced ? .full : .tail(60), onEnd: report)
case 2 where seeds[0] <= seeds[1]:
  var search = SeedSearch(seeds[0]...seeds[1], jobs: jobs)
  guard let failing = search.run() else { exit(0) }
  print(failing)
  exit(1)
default: usage("which seed?")
}
