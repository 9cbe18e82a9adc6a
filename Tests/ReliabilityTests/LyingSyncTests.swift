import TestSupport
import Testing

/// Proves that the tests with power cuts can fail: a site whose syncs lie loses what it promised,
/// and they notice. The lies are told by a library preloaded into the daemon that users run.
@Suite(
  .scratch, .serialized, .mountsVolumes,
  .requires("mke2fs", "mkfs.xfs", "nbdkit", "nbdfuse", "gcc"))
struct LyingSyncTests {
  /// Loss is a matter of chance; with this many rounds it has never been missed.
  private static let limit = 40

  struct Lie: Sendable, CustomTestStringConvertible {
    /// The files whose syncs are skipped.
    let files: String
    let kind: LossyVolume.Kind
    let journal: PoweredSite.Journal
    var testDescription: String { "\(files) on \(kind)" }
  }

  static let lies: [Lie] = LossyVolume.Kind.allCases.flatMap { kind in
    [
      Lie(files: "/segment-", kind: kind, journal: .growing),
      Lie(files: "directories", kind: kind, journal: .growing),
      Lie(files: "/state", kind: kind, journal: .recycling),
      Lie(files: "/disk.raw", kind: kind, journal: .recycling),
    ]
  }

  @Test(arguments: lies) func `a sync that is skipped is noticed`(lie: Lie) throws {
    let library = try ScratchDirectory()
    let object = library.file("lying_sync.so")
    try run(
      "gcc", ["-shared", "-fPIC", "-o", object, "\(projectRoot)/Tests/LyingSync/lying_sync.c"]
    ).checked()
    let site = try PoweredSite(
      lie.kind, lie.journal, seed: testSeed(31),
      environment: ["LD_PRELOAD": object, "LYING_SYNC": lie.files])
    for round in 1...Self.limit {
      let lost = try site.round()
      guard lost.isEmpty else {
        print("\(lie.testDescription): noticed in round \(round): \(lost[0].prefix(200))")
        return
      }
    }
    Issue.record("nothing was lost in \(Self.limit) power cuts")
  }
}
