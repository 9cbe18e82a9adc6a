import Glibc
import SystemIO

// One run: `simulator SEED [--trace] [--mutant NAME]`, or the names of all mutants:
// `simulator --list-mutants`. `Tools/simulate` does the rest.

func usage(_ problem: String) -> Never {
  print("\(problem)\nsimulator SEED [--trace] [--mutant NAME] | --list-mutants")
  exit(2)
}

let arguments = CommandLine.arguments.dropFirst()
if arguments.first == "--list-mutants" {
  for mutant in Mutant.allCases { print(mutant.rawValue) }
  exit(0)
}
guard let seed = arguments.first.flatMap({ UInt64($0) }) else { usage("which seed?") }
if let place = arguments.firstIndex(of: "--mutant") {
  guard let mutant = arguments[(place + 1)...].first.flatMap(Mutant.init(rawValue:)) else {
    usage("which mutant?")
  }
  unsafe Mutant.chosen = mutant
}
let isTraced = arguments.contains("--trace")
let world = World(seed: seed, detail: isTraced ? .full : .tail(60)) { world, ending in
  switch ending {
  case .converged:
    print("seed \(seed): ok, digest \(world.trace.digest), \(world.trace.eventCount) events, ")
    print("\(Trace.time(world.simulation.now)) s, \(world.statistics)")
    exit(0)
  case .wrong(let reason):
    for line in world.trace.tail { print(line) }
    print("seed \(seed): FAILED: \(reason)")
    exit(1)
  }
}
world.run()
