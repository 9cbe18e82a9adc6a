import BlockModel
import Journal
import SystemIO

/// Everything of one run in which two sites take a group over from each other. Confined to the
/// simulation's thread.
final class FailoverWorld: Run, @unchecked Sendable {
  /// Worlds of this kind have seeds from here on.
  static let firstSeed: UInt64 = 1_000_000

  let seed: UInt64
  let plan: FailoverPlan
  let simulation: Simulation
  let trace: Trace
  let machines: [Machine]
  let clientMachine: Machine
  private(set) var oracle: FailoverOracle!
  private(set) var sites: [FailoverSite] = []
  private let onEnd: (any Run, Ending) -> Never

  /// Clients begin nothing any more.
  var isQuiet = false
  /// Nothing fails any more.
  var isCalm = true
  var clientsLeft = 0
  private var lastRequest: UInt64 = 0
  var statistics = FailoverStatistics()

  init(seed: UInt64, detail: Trace.Detail, onEnd: @escaping (any Run, Ending) -> Never) {
    self.seed = seed
    self.onEnd = onEnd
    plan = FailoverPlan(seed: seed)
    trace = Trace(detail)
    simulation = Simulation(seed: seed)
    simulation.switchProbability = plan.switchProbability
    let simulation = simulation
    machines = FailoverPlan.siteNames.map { simulation.addMachine($0) }
    clientMachine = simulation.addMachine("clients")
    trace.now = { simulation.now }
    let trace = trace
    simulation.onTrace = { line in
      trace.mix(line)
      trace.note(line)
    }
  }

  var summary: String { "\(statistics)" }

  func violation(_ reason: String) -> Never { onEnd(self, .wrong(reason)) }

  func nextRequestNumber() -> UInt64 {
    lastRequest += 1
    return lastRequest
  }

  func run() -> Never {
    var random = SimulationRandom(seed: seed ^ 0x6469_736b)
    let contents = plan.disks.map { World.contents(of: $0, &random) }
    oracle = FailoverOracle(FailoverPlan.siteNames, contents.map { DiskImage($0) }) {
      [unowned self] in violation($0)
    }
    sites = machines.indices.map { FailoverSite($0, self) }
    for (site, machine) in machines.enumerated() {
      machine.clockOffsetNanoseconds = plan.clockOffsets[site]
    }
    clientMachine.start("director") { [self] in
      for site in machines.indices { prepareDisks(of: site, contents) }
      FailoverDirector(self).run()
      onEnd(self, .converged)
    }
    let outcome = simulation.run(untilNanoseconds: .seconds(900))
    violation("the world stands still: \(outcome)")
  }

  /// Blocks.
  private func prepareDisks(of site: Int, _ contents: [[UInt8]]) {
    var isDone = false
    var random = SimulationRandom(seed: seed ^ 0x666f_726d ^ UInt64(site))
    machines[site].start("setup") { [self] in
      do throws(Errno) {
        try Directory.create("/disks")
        try Directory.create("/run")
        for (disk, bytes) in zip(plan.disks, contents) {
          let filler = World.formerContents(of: bytes, &random)
          try World.makeFile(Plan.diskPath(disk.name), site == 0 ? bytes : filler)
        }
        try Directory.sync("/disks")
      } catch { violation("cannot make the disks: \(error)") }
      isDone = true
    }
    while !isDone { Thread.sleep(milliseconds: 1) }
    let host = sites[site]
    machines[site].onWrite = { [trace] path, offset, bytes in
      trace.mix(offset)
      trace.mix(bytes)
      trace.note("\(host.name): writes \(bytes.count) bytes to \(path) at \(offset)")
      host.wrote(path, Int(offset), bytes)
    }
  }

  /// What a state file says of the group's way from hand to hand.
  func count(from old: JournalState?, to new: JournalState) {
    switch (old?.fork?.stage, new.fork?.stage) {
    case (.parking?, .pending?): statistics.failovers += 1
    case (.pending?, nil): statistics.commits += 1
    case (.parking?, nil) where new.ownership.duty == .owning:
      statistics.failovers += 1
      statistics.commits += 1
    case (.returning?, nil): statistics.rollbacks += 1
    case (.yielding?, nil): statistics.parkings += 1
    case (.jumping?, nil): statistics.jumps += 1
    case (.reverting?, nil): statistics.reversions += 1
    case (nil, nil):
      if old?.ownership.duty == .owning, new.ownership.duty == .following {
        statistics.yields += 1
        if new.baseline == .reconciling { statistics.reconciled += 1 }
      }
    default: break
    }
    if new.baseline == .copying, old?.baseline != .copying { statistics.fullCopies += 1 }
  }
}

/// What a run has exercised, for the report.
struct FailoverStatistics {
  var starts = 0
  var requests = 0
  var reads = 0
  var refusedWrites = 0
  var failovers = 0
  var commits = 0
  var rollbacks = 0
  /// Owners that gave way, and those of them whose disks differed.
  var yields = 0
  var reconciled = 0
  var jumps = 0
  /// Sites that were being brought in step, and went back to what they had.
  var reversions = 0
  /// What an owner had, and the next one lacks.
  var parkings = 0
  var fences = 0
  var fullCopies = 0
  var refusedCommands = 0
  /// Sites that ended in the midst of a command.
  var ambushes = 0
  var views = 0
  var parkedViews = 0
  var refusedViews = 0
  var deletions = 0
  /// Of what was parked, by its group.
  var endings = 0
  var appliesChecked = 0
}
