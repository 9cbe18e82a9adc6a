import Glibc
import SystemIO

let arguments = CommandLine.arguments
let seed = UInt64(arguments.dropFirst().first ?? "1") ?? 1
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
