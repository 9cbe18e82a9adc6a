import SystemIO

/// What can go wrong in the world.
enum FaultKind: String, CaseIterable {
  /// `kill -9` of a site's process.
  case kill
  /// Power cut of a site's machine: unsynced writes are lost, torn or reordered.
  case powerCut
  /// Of both machines at once.
  case powerCutOfBoth
  /// An orderly stop, and a start some time later.
  case restart
  /// The connections between the sites break.
  case linkCut
  /// Nothing arrives in one direction, or in both, for a while.
  case partition
  /// Everything between the machines takes long, or little is under way at once.
  case slowNetwork
  /// The clients' connections to a site break.
  case clientCut
  case slowDisk
  case readErrors
  case writeErrors
  case syncErrors
  case fullDisk
  /// A clock jumps, forwards or backwards.
  case clockJump
  /// A bit flips in bytes at rest, somewhere in a journal's folder.
  case bitRot
  /// A write of long ago lies over a sector of a journal's folder that it was not for.
  case misdirectedWrite

  /// The disk gives other bytes than it got. Much may be refused from then on, so this is on in few
  /// worlds.
  var isDamage: Bool { self == .bitRot || self == .misdirectedWrite }
}

/// A kind of fault that a seed has switched on.
struct FaultPlan {
  let kind: FaultKind
  /// From one to the next.
  let meanInterval: UInt64

  /// Few kinds, or many; rare or often.
  static func draw(_ random: inout SimulationRandom) -> [FaultPlan] {
    let share = random.pick([0.0, 0.1, 0.2, 0.35, 0.6])
    return FaultKind.allCases.compactMap { kind in
      guard random.chance(kind.isDamage ? share / 4 : share) else { return nil }
      return FaultPlan(
        kind: kind, meanInterval: random.pick(logarithmic: .milliseconds(100)...(.seconds(4))))
    }
  }
}
