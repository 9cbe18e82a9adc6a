import SystemIO

/// In some worlds people make branches of the groups and write to them. Drawn apart, so that all
/// other worlds stay as they are.
struct BranchPlan {
  /// Each has one branch at a time.
  let brancherCount: Int
  /// Between two requests.
  let meanPause: UInt64
  /// Writes that are under way at once.
  let burst: Int
  let flushShare: Double
  let largestBytes: Int
  /// Of what is written to a branch; nil: as much as its group's journal may take.
  let byteLimits: [UInt64?]
  /// Of branches that end by themselves.
  let timedShare: Double
  /// How many sessions a branch lasts, about.
  let sessions: Int
  /// Of so many writes of what apply saves for a branch, one is followed by a power cut; nil: of
  /// none.
  let cutOneIn: Int?

  init?(seed: UInt64) {
    var random = SimulationRandom(seed: seed ^ 0x6272_616E_6368)
    guard random.chance(0.35) else { return nil }
    brancherCount = random.pick([1, 2, 2, 3, 4])
    meanPause = random.pick(logarithmic: 1_000_000...60_000_000)
    burst = random.pick([1, 2, 4])
    flushShare = random.pick([0.02, 0.1, 0.3])
    largestBytes = random.pick([2 << 10, 8 << 10, 8 << 10, 32 << 10])
    byteLimits = random.pick([[nil], [256 << 10], [256 << 10, 1 << 20, nil], [4 << 20]])
    timedShare = random.pick([0, 0, 0.2, 0.6])
    sessions = random.pick([1, 3, 10])
    cutOneIn = random.pick([nil, nil, 10, 60])
  }
}
