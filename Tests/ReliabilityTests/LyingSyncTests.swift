import TestSupport
import Testing

/// Proves that the tests with power cuts can fail: a site whose syncs lie loses what it promised,
/// and they notice. The lies are told by a library preloaded into the daemon that users run.
@Suite(
  .scratch, .serialized, .mountsVolumes,
  .requires("mke2fs", "mkfs.xfs", "nbdkit", "nbdfuse", "gcc"))
struct LyingSyncTests {
  /// Loss is a matter of chance; so many sites, with so many cuts each, have always had one.
  private static let siteLimit = 20
  private static let roundLimit = 3

  struct Lie: Sendable, CustomTestStringConvertible {
    /// The files whose syncs are skipped.
    let files: String
    let kind: LossyVolume.Kind
    let journal: PoweredSite.Journal
    var testDescription: String { "\(files) on \(kind)" }
  }

  static let lies: [Lie] = LossyVolume.Kind.allCases.flatMap { kind in
    let lies = [
      Lie(files: "/segment-", kind: kind, journal: .growing),
      // The sync of each new file makes the names of those before it durable. So only the last
      // one's can be lost, before the file system commits its log by itself.
      Lie(files: "directories", kind: kind, journal: .recycling),
      Lie(files: "/state", kind: kind, journal: .recycling),
      Lie(files: "/disk.raw", kind: kind, journal: .recycling),
    ]
    // XFS logs a new name together with the file's inode, so that a sync of the file alone does.
    return lies.filter { kind != .xfs || $0.files != "directories" }
  }

  @Test(arguments: lies) func `a sync that is skipped is noticed`(lie: Lie) throws {
    let library = try ScratchDirectory()
    let object = library.file("lying_sync.so")
    try run(
      "gcc", ["-shared", "-fPIC", "-o", object, "\(projectRoot)/Tests/LyingSync/lying_sync.c"]
    ).checked()
    for number in 1...Self.siteLimit {
      let site = try PoweredSite(
        lie.kind, lie.journal, seed: testSeed(31) &+ UInt64(number),
        environment: ["LD_PRELOAD": object, "LYING_SYNC": lie.files])
      for round in 1...Self.roundLimit {
        let lost = try site.round()
        guard lost.isEmpty else {
          print("\(lie.testDescription): noticed by site \(number), round \(round): \(lost[0])")
          return
        }
      }
    }
    Issue.record("nothing was lost in \(Self.siteLimit * Self.roundLimit) power cuts")
  }
}
