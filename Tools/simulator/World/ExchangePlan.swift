import SystemIO

/// In some worlds the sites exchange their roles while everything goes on. Drawn apart, so that all
/// other worlds stay as they are.
struct ExchangePlan {
  /// How each site ends before it.
  enum Ending: CaseIterable {
    case stop, kill, powerCut
  }

  struct Exchange {
    /// From the one before, as a share of the time in which faults happen.
    let after: Double
    /// Of the owner and the follower.
    let endings: [Ending]
    /// The sites lose each other before it, and again find each other only some time later.
    let separates: Bool
    /// The former owner gives up its own records, where it can, and follows with its disks as they
    /// are.
    let yields: Bool
  }

  let exchanges: [Exchange]

  init?(seed: UInt64) {
    var random = SimulationRandom(seed: seed ^ 0x726F_6C65)
    guard random.chance(0.4) else { return nil }
    let count = random.pick([1, 1, 2, 3])
    var yielding = SimulationRandom(seed: seed ^ 0x7969_656C)
    exchanges = (0..<count).map { _ in
      var endings = [random.pick(Ending.allCases), random.pick(Ending.allCases)]
      let separates = random.chance(0.6)
      let yields = yielding.chance(0.4)
      // It applies all that it has.
      if yields { endings[0] = .stop }
      return Exchange(
        after: 0.8 / Double(count), endings: endings, separates: separates, yields: yields)
    }
  }
}
