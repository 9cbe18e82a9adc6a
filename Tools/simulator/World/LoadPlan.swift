import NBDProtocol
import SystemIO

/// What the clients of a world do.
struct LoadPlan {
  let connectionCount: Int
  /// Requests under way at once on a connection.
  let depth: Int
  /// Between two requests of a connection.
  private(set) var meanPause: UInt64
  /// One request in so many begins a silence.
  let silenceOneIn: Int
  let readShare: Double
  let zeroShare: Double
  private(set) var flushShare: Double
  private(set) var fuaShare: Double
  /// Of requests that have no alignment at all.
  let unalignedShare: Double
  private(set) var largestBytes: Int
  /// Requests fall into so many parts of a disk: few of them overlap more.
  let isHot: Bool

  init(_ random: inout SimulationRandom) {
    connectionCount = random.pick(1...4)
    depth = random.pick([1, 1, 2, 4, 16])
    meanPause = random.pick(logarithmic: 1_000_000...100_000_000)
    silenceOneIn = random.pick([50, 200, 1_000])
    readShare = random.pick([0.1, 0.3, 0.6])
    zeroShare = random.pick([0, 0.05, 0.2])
    flushShare = random.pick([0.01, 0.1, 0.3])
    fuaShare = random.pick([0, 0.05, 0.5])
    unalignedShare = random.pick([0, 0.2, 1])
    largestBytes = random.pick([4 << 10, 16 << 10, 64 << 10])
    isHot = random.chance(0.5)
  }

  /// Segments hold several records.
  mutating func keepSmall() { largestBytes = 4 << 10 }

  /// All is durable before the next write.
  mutating func syncAlways() {
    fuaShare = 1
    keepSmall()
    meanPause = min(meanPause, 20_000_000)
  }

  /// What is acknowledged is often not durable yet, and somebody asks for it to be.
  mutating func syncSometimes() {
    flushShare = 0.1
    fuaShare = 0.05
    meanPause = min(meanPause, 20_000_000)
  }

  /// Clients leave it to the site when anything is synced. They are so slow that the journal is not
  /// always full, which would have them wait for syncs.
  mutating func neverSync() {
    flushShare = 0
    fuaShare = 0
    meanPause = min(max(meanPause, 5_000_000), 30_000_000)
  }
}
