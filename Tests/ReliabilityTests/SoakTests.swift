import Foundation
import TestSupport
import Testing

/// Proves that load, kills, cuts of the link, power cuts and views in any order lose nothing that
/// was promised. `Tools/soak` runs it for as long as one likes; here it is a short one.
@Suite(.scratch, .serialized) struct SoakTests {
  private static func number(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap(UInt64.init)
  }

  /// Which events there are, as many times as they are likely.
  private static let events: [Siege.Event] = [
    .kill, .kill, .powerCut, .powerCut, .linkCut, .linkCut, .view, .agreement,
  ]

  @Test func `everything at once`() throws {
    let seed = Self.number("TAPLINE_SEED") ?? .random(in: 1...999_999)
    let duration = Duration.seconds(Self.number("TAPLINE_SOAK_SECONDS") ?? 10)
    var generator = SeededGenerator(seed: seed)
    let kind = Self.volumes(using: &generator)
    print("soak: seed \(seed), \(kind.map(\.rawValue) ?? "no power cuts")")

    let siege = try Siege(seed: generator.next(), volumes: kind)
    let events = Self.events.filter { kind != nil || $0 != .powerCut }
    let end = ContinuousClock.now + duration
    var trail: [String] = []
    do {
      while ContinuousClock.now < end, siege.lost.isEmpty {
        let event = events.randomElement(using: &generator)!
        trail.append(event.rawValue)
        try siege.happen(event)
      }
      if siege.lost.isEmpty { try siege.happen(.agreement) }
    } catch {
      Issue.record("soak: seed \(seed), after \(trail.suffix(20)): \(error)")
    }
    print("soak: seed \(seed): \(siege.counts)")
    for line in siege.lost { print("soak: lost: \(line)") }
    #expect(siege.lost == [], "seed \(seed), after \(trail.suffix(20))")
  }

  /// A kind of volume for both sites, of those that this machine can have.
  private static func volumes(using generator: inout SeededGenerator) -> LossyVolume.Kind? {
    guard LossyVolume.refusal == nil else { return nil }
    return LossyVolume.Kind.allCases.randomElement(using: &generator)
  }
}
