import Foundation
import TestSupport
import Testing

/// Proves that load, kills, cuts of the link, power cuts and views in any order lose nothing that
/// was promised. `Tools/soak` runs it for as long as one likes; here it is a short one.
@Suite(.scratch, .serialized) struct SoakTests {
  /// What happens, and how likely it is beside the others.
  private static let events: [Siege.Event] = [
    .kill, .kill, .powerCut, .powerCut, .linkCut, .linkCut, .view, .agreement,
  ]

  private static func setting(_ name: String) -> String? {
    ProcessInfo.processInfo.environment["TAPLINE_SOAK_\(name)"]
  }

  @Test func `everything at once`() throws {
    let seed = testSeed(.random(in: 1...999_999))
    let duration = Duration.seconds(Self.setting("SECONDS").flatMap(Int.init) ?? 10)
    var generator = SeededGenerator(seed: seed)
    let wanted = Self.setting("EVENTS")?.split(separator: ",").map(String.init)
    var events = Self.events.filter { wanted?.contains($0.rawValue) ?? true }
    var volumes: LossyVolume.Kind?
    if events.contains(.powerCut) {
      volumes = LossyVolume.refusal == nil ? Self.volumes(using: &generator) : nil
      if volumes == nil { events.removeAll { $0 == .powerCut } }
    }
    try #require(!events.isEmpty, "nothing to do: \(LossyVolume.refusal ?? "no such event")")
    print(
      "soak: seed \(seed), \(Set(events.map(\.rawValue)).sorted().joined(separator: ", ")); on "
        + (volumes.map(\.rawValue) ?? "plain files"))

    let siege = try Siege(seed: generator.next(), volumes: volumes)
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
      Issue.record("seed \(seed), after \(trail.suffix(20)): \(error)")
    }
    print("soak: seed \(seed): \(siege.counts)")
    for line in siege.lost { print("soak: lost: \(line)") }
    #expect(siege.lost == [], "seed \(seed), after \(trail.suffix(20))")
  }

  /// A kind of volume for both sites: the one that is wanted, or any.
  private static func volumes(using generator: inout SeededGenerator) -> LossyVolume.Kind {
    setting("VOLUME").flatMap(LossyVolume.Kind.init)
      ?? LossyVolume.Kind.allCases.randomElement(using: &generator)!
  }
}
