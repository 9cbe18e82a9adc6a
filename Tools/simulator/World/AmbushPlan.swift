import SystemIO

/// In some worlds ambushes are laid for one kind of moment, again and again, and the world is made
/// so that it comes often. Drawn apart, so that all other worlds stay as they are.
enum AmbushPlan: CaseIterable {
  /// The peer has a segment without a record, and the protected site loses it with its header.
  case forkedSegment
  /// A site that goes back keeps of the first segment in place of what it drops only the header.
  case emptiedSegment
  /// What was acknowledged is lost by a sync that fails, and the site goes on.
  case lostSync
  /// A full copy takes long, while guests write and the peer applies.
  case slowCopy

  /// - Parameter isFrail: its peer is mostly ahead of the protected site.
  init?(seed: UInt64, isFrail: Bool) {
    var random = SimulationRandom(seed: seed ^ 0x616D_6275)
    guard random.chance(isFrail ? 0.3 : 0.5) else { return nil }
    self = isFrail ? .emptiedSegment : random.pick([.forkedSegment, .lostSync, .slowCopy])
  }

  /// From one to the next.
  var interval: UInt64 { self == .emptiedSegment ? .milliseconds(300) : .milliseconds(100) }
}
