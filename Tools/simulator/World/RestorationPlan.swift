import SystemIO

/// In some worlds the protected site's machine comes back as it was before, or a clone of it is
/// started in its place, when everything is in step.
struct RestorationPlan {
  enum Taken: CaseIterable {
    case afterStop, afterKill, running
  }

  enum WayOut: CaseIterable {
    /// An operator gives up what the peer has more.
    case discard
    /// The machine whose records the peer has comes back.
    case original
  }

  /// When the copy of its disk was made.
  let taken: Taken
  let wayOut: WayOut

  static func draw(_ random: inout SimulationRandom) -> RestorationPlan? {
    guard random.chance(0.35) else { return nil }
    return RestorationPlan(
      taken: random.pick(Taken.allCases), wayOut: random.pick(WayOut.allCases))
  }
}
